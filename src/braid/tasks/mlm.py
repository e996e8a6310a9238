"""mlm: masked language modelling (BERT, arXiv 1810.04805, section 3.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator
from torch import Tensor

from braid.data.changes import Change, Drawn, Use
from braid.data.masking import Mask, MaskOptions, Vocabulary, masked
from braid.errors import LabelError
from braid.metrics.language import LanguageMeter
from braid.nn.language import TokenPredictor
from braid.tasks.base import Facts, Hidden
from braid.tasks.text import TextFacts, TextHead, TextTask, adopt, places, targets_of


class Mlm(TextTask):
    """Tokens are masked; the encoder says which they were (BERT, RoBERTa, ALBERT, SpanBERT)."""

    type: Literal["mlm"] = "mlm"
    changes_input: ClassVar[bool] = True

    rate: float = Field(default=0.15, gt=0, lt=1)
    """Share of tokens that are predicted."""

    masked: float = Field(default=0.8, ge=0, le=1)
    """Share of these that are replaced by the mask."""

    random: float = Field(default=0.1, ge=0, le=1)
    """Share of these that are replaced by a random token. The rest is kept."""

    mask: Mask = "token"
    """What is masked at once: a token, a whole word, or a span of words (SpanBERT, arXiv 1907.10529)."""

    span_p: float = Field(default=0.2, gt=0, lt=1)
    """For `span`: lengths are geometric with this success probability."""

    span_longest: int = Field(default=10, ge=1)
    """For `span`: most words of one."""

    masking: Literal["dynamic", "static"] = "dynamic"
    """`dynamic`: other tokens each time a row is drawn (RoBERTa). `static`: each row has `duplicates` fixed versions,
    which epochs use in turn (BERT)."""

    duplicates: int = Field(default=10, ge=1)
    """For `static`: versions of a row."""

    tied_embeddings: bool = True
    """Whether the output layer's vectors are the encoder's word embeddings."""

    @model_validator(mode="after")
    def _shares(self) -> Self:
        if self.masked + self.random > 1:
            raise ValueError(f"`masked` {self.masked:g} and `random` {self.random:g} are more than 1 together")
        return self

    def learn_text(self, text: TextFacts) -> Facts:
        """Sizes. Raises LabelError for a vocabulary without a mask and for encoders that see to the left only."""
        if text.vocabulary.mask < 0:
            raise LabelError("the vocabulary has no [MASK] token, so nothing can be masked; `clm` needs none")
        if text.sees == "left":
            raise LabelError(
                "this encoder sees only what stands before a token, so it cannot use what stands behind a masked one; "
                "use `clm`, or an encoder that sees both sides"
            )
        sizes = {"vocab_size": text.vocab_size, "embedding_size": text.embedding_size}
        return {**sizes, "activation": text.activation, "norm_eps": text.norm_eps}

    def change(self, text: TextFacts) -> Change:
        """Masks."""
        options = MaskOptions(
            rate=self.rate,
            masked=self.masked,
            random=self.random,
            units=self.mask,
            span_p=self.span_p,
            span_longest=self.span_longest,
        )
        return _Masking(self, text.vocabulary, options)

    def make_head(self, facts: Facts, hidden_size: int) -> MlmHead:
        """BERT's: dense, GELU, norm, vocabulary."""
        return MlmHead(self, facts, hidden_size)

    def meter(self, facts: Facts) -> LanguageMeter:
        """loss, perplexity and accuracy over the predicted tokens."""
        return LanguageMeter()


class _Masking:
    """The change: `places` [N] in the row and `labels` [N], the tokens that stood there."""

    def __init__(self, task: Mlm, vocabulary: Vocabulary, options: MaskOptions) -> None:
        self.task, self.vocabulary, self.options = task, vocabulary, options

    def __call__(self, row: Drawn, use: Use) -> tuple[Drawn, dict[str, np.ndarray] | None]:
        if self.task.masking == "static":
            rng = use.draw.fixed(use.group, use.row, "mlm", duplicates=self.task.duplicates)
        else:
            rng = use.draw.rng(use.group, use.row, "mlm")
        ids, chosen = masked(row.ids, row.starts, self.vocabulary, self.options, rng)
        if len(chosen) == 0:
            return row, None
        return row.fed(ids), {"places": chosen, "labels": row.ids[chosen]}


class MlmHead(TextHead):
    """Predicts tokens at the places that targets name."""

    def __init__(self, task: Mlm, facts: Facts, hidden_size: int) -> None:
        super().__init__()
        self.predictor = TokenPredictor(
            hidden_size,
            int(facts["embedding_size"]),
            int(facts["vocab_size"]),
            tied=task.tied_embeddings,
            transform=True,
            bias=True,
            activation=str(facts["activation"]),
            norm_eps=float(facts["norm_eps"]),
        )

    def adopt(self, weights: Mapping[str, Tensor]) -> None:
        """BERT's own head, so that pre-training goes on where the checkpoint ended."""
        adopt(self.predictor, "mlm.", weights)

    def reads(self, hidden: Hidden, rows: Tensor) -> Tensor | None:
        """The masked ones."""
        return places(hidden, rows)

    def forward(self, hidden: Hidden, rows: Tensor) -> Tensor:
        """[N, 2] of the predicted tokens; all others meet no vocabulary."""
        assert hidden.words is not None
        return self.predictor(hidden.last[places(hidden, rows)], hidden.words, targets_of(hidden).values["labels"])

    def logits(self, hidden: Hidden, at: Tensor) -> Tensor:
        """Logits [N, V] of the batch's tokens `at` [N]."""
        assert hidden.words is not None
        return self.predictor.logits(hidden.last[at], hidden.words)
