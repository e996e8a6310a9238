"""mlm: masked language modelling (BERT, arXiv 1810.04805, section 3.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from braid.data.batch import Targets
from braid.data.changes import Change, Drawn, Use
from braid.data.masking import Mask, MaskOptions, Vocabulary, masked
from braid.errors import LabelError
from braid.metrics.language import LanguageMeter
from braid.nn.language import TokenPredictor
from braid.tasks.base import Facts, Hidden
from braid.tasks.soft import Soft, Translate, share_of
from braid.tasks.text import TextFacts, TextHead, TextTask, adopt, places, targets_of

NEVER = -1e4
"""The logit of a token that a teacher does not know."""


class Mlm(TextTask):
    """Tokens are masked; the encoder says which they were (BERT, RoBERTa, ALBERT, SpanBERT)."""

    type: Literal["mlm"] = "mlm"
    hub_task: ClassVar[str] = "fill-mask"
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

    soft: Soft = Soft()
    """How a teacher's logits over the vocabulary are learned from (DistilBERT, arXiv 1910.01108)."""

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

    def translation(self, theirs: Facts, ours: Facts) -> Translate:
        """None is needed: both have one vocabulary. What one of them has beyond it stays out."""
        size = int(ours["vocab_size"])
        return lambda logits_NV: F.pad(logits_NV[:, :size], (0, max(0, size - logits_NV.shape[1])), value=NEVER)

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
        self.soft = task.soft
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
        """[N, 2] of the predicted tokens; all others meet no vocabulary. [N, 3] where there is a teacher: its soft loss
        stands last."""
        assert hidden.words is not None
        values, at = targets_of(hidden).values, places(hidden, rows)
        answer_N2: Tensor = self.predictor(hidden.last[at], hidden.words, values["labels"])
        if "teacher" not in values:
            return answer_N2
        teacher_NV = values["teacher"].view(len(at), -1)
        soft_N = self.predictor.soft_loss(
            hidden.last[at], hidden.words, teacher_NV, self.soft.loss, self.soft.temperature
        )
        return torch.cat([answer_N2, soft_N[:, None]], dim=1)

    def soft_targets(self, hidden: Hidden, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [N, V] of the predicted tokens."""
        return self.logits(hidden, places(hidden, rows)), targets_of(hidden).cu["labels"].diff()

    def loss(self, logits: Tensor, targets: Targets) -> Tensor:
        """The cross-entropies' sum, and the soft losses'."""
        if "teacher" not in targets.values:
            return super().loss(logits, targets)
        # One share for all: the vocabulary's gradient is computed before anyone knows what a token's is multiplied by.
        share = share_of(self.soft.alpha, targets, logits).reshape(-1)[:1].squeeze()
        return (1 - share) * logits[:, 0].sum() + share * logits[:, 2].sum()

    def logits(self, hidden: Hidden, at: Tensor) -> Tensor:
        """Logits [N, V] of the batch's tokens `at` [N]."""
        assert hidden.words is not None
        return self.predictor.logits(hidden.last[at], hidden.words)
