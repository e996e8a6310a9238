"""clm: language modelling from left to right (GPT)."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from torch import Tensor

from braid.data.changes import Change, Drawn, Use
from braid.data.corpus.rows import Fill
from braid.errors import LabelError
from braid.metrics.language import LanguageMeter
from braid.nn.language import TokenPredictor
from braid.tasks.base import Facts, Hidden
from braid.tasks.text import TextFacts, TextHead, TextTask, places, targets_of


class Clm(TextTask):
    """Every token is predicted from those before it (GPT-2, recurrent language models)."""

    type: Literal["clm"] = "clm"
    hub_task: ClassVar[str] = "text-generation"
    default_fill: ClassVar[Fill] = "full"

    tied_embeddings: bool = True
    """Whether the output layer's vectors are the encoder's word embeddings."""

    output_bias: bool = False
    """Whether the output layer has a bias for each token, as UER-py's has."""

    def learn_text(self, text: TextFacts) -> Facts:
        """Sizes. Raises LabelError for an encoder that would see what it is to predict."""
        if text.sees != "left":
            raise LabelError(
                "this encoder sees the tokens that `clm` is to predict, so there is nothing to learn; use one that "
                "sees to the left only (gpt, lstm, gru, a causal gatedcnn), or `mlm`"
                + (" or `bilm`" if text.sees == "apart" else "")
            )
        return {"vocab_size": text.vocab_size, "embedding_size": text.embedding_size}

    def change(self, text: TextFacts) -> Change:
        """The row as it is; each token's target is the next."""
        return following

    def make_head(self, facts: Facts, hidden_size: int) -> ClmHead:
        """GPT-2's: the product with the word embeddings."""
        return ClmHead(self, facts, hidden_size)

    def meter(self, facts: Facts) -> LanguageMeter:
        """loss, perplexity, accuracy, bits_per_character."""
        return LanguageMeter()


def following(row: Drawn, use: Use) -> tuple[Drawn, dict[str, np.ndarray] | None]:
    """`places` [N] and the tokens behind them, `labels` [N]; `characters` [1] that these make up."""
    if len(row.ids) < 2:
        return row, None
    places = np.arange(len(row.ids) - 1)
    return row, {"places": places, "labels": row.ids[1:], "characters": np.array([row.characters])}


class ClmHead(TextHead):
    """Predicts every next token."""

    def __init__(self, task: Clm, facts: Facts, hidden_size: int) -> None:
        super().__init__()
        size, vocabulary = int(facts["embedding_size"]), int(facts["vocab_size"])
        self.predictor = TokenPredictor(
            hidden_size, size, vocabulary, tied=task.tied_embeddings, transform=False, bias=task.output_bias
        )

    def forward(self, hidden: Hidden, rows: Tensor) -> Tensor:
        """[N, 2] of every token but each row's first."""
        assert hidden.words is not None
        labels_N = targets_of(hidden).values["labels"]
        found_N2: Tensor = self.predictor(hidden.last[places(hidden, rows)], hidden.words, labels_N)
        return found_N2

    def next_logits(self, last_ND: Tensor, words_VM: Tensor) -> Tensor:
        """Logits [N, V] of what follows hidden states [N, D]."""
        return self.predictor.logits(last_ND, words_VM)
