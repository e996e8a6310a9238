"""bilm: language modelling in both directions, each by its own half of the encoder (ELMo, arXiv 1802.05365)."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from braid.data.changes import Change, Drawn, Use
from braid.errors import LabelError
from braid.metrics.language import LanguageMeter
from braid.nn.language import TokenPredictor
from braid.tasks.base import Facts, Hidden
from braid.tasks.text import TextFacts, TextHead, TextTask, places, targets_of


class Bilm(TextTask):
    """Every token is predicted from those before it, and from those after it (ELMo)."""

    type: Literal["bilm"] = "bilm"

    tied_embeddings: bool = True
    """Whether the output layer's vectors are the encoder's word embeddings. Both directions share them in any case."""

    output_bias: bool = False
    """Whether the output layer has a bias for each token, as UER-py's has."""

    def learn_text(self, text: TextFacts) -> Facts:
        """Sizes. Raises LabelError for an encoder whose directions are not apart."""
        if text.sees != "apart":
            raise LabelError(
                "`bilm` needs an encoder that reads two directions apart (bilstm or bigru with `directions: apart`); "
                + ("this one sees the left only: `clm`" if text.sees == "left" else "this one mixes them: `mlm`")
            )
        return {"vocab_size": text.vocab_size, "embedding_size": text.embedding_size}

    def change(self, text: TextFacts) -> Change:
        """The row as it is; each token's targets are its neighbours."""
        return neighbours

    def make_head(self, facts: Facts, hidden_size: int) -> BilmHead:
        """One output layer for both directions."""
        return BilmHead(self, facts, hidden_size)

    def meter(self, facts: Facts) -> LanguageMeter:
        """loss, perplexity, accuracy, bits_per_character, each of both directions together."""
        return LanguageMeter(directions=2)


def neighbours(row: Drawn, use: Use) -> tuple[Drawn, dict[str, np.ndarray] | None]:
    """`places` [N] and the tokens behind them, then places and the tokens before them; `ahead` [1]: how many of the
    first kind; `characters` [1]."""
    size = len(row.ids) - 1
    if size < 1:
        return row, None
    return row, {
        "places": np.arange(size),
        "labels": np.concatenate([row.ids[1:], row.ids[:-1]]),
        "back_places": np.arange(1, size + 1),
        "ahead": np.arange(2 * size) < size,
        "characters": np.array([row.characters]),
    }


class BilmHead(TextHead):
    """Predicts the next token by the first half of the hidden state, the one before by the second."""

    def __init__(self, task: Bilm, facts: Facts, hidden_size: int) -> None:
        super().__init__()
        size, vocabulary = int(facts["embedding_size"]), int(facts["vocab_size"])
        self.width = hidden_size // 2
        self.predictor = TokenPredictor(
            self.width, size, vocabulary, tied=task.tied_embeddings, transform=False, bias=task.output_bias
        )

    def forward(self, hidden: Hidden, rows: Tensor) -> Tensor:
        """[N, 2], in the order of the targets' `labels`."""
        assert hidden.words is not None
        targets = targets_of(hidden)
        ahead_N = targets.values["ahead"].bool()
        labels_N = targets.values["labels"]
        states_ND = torch.cat(
            [
                hidden.last[places(hidden, rows), : self.width],
                hidden.last[places(hidden, rows, "back_places"), self.width :],
            ]
        )
        found_N2: Tensor = self.predictor(states_ND, hidden.words, torch.cat([labels_N[ahead_N], labels_N[~ahead_N]]))
        order_N = torch.cat([ahead_N.nonzero().squeeze(1), (~ahead_N).nonzero().squeeze(1)])
        return torch.empty_like(found_N2).index_copy(0, order_N, found_N2)
