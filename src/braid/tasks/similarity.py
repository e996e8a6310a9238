"""similarity: one vector for each text, close for texts that are alike (sentence embeddings).

`text` and `pair` are encoded apart, by the same encoder; `options` are texts that `text` is not like (hard negatives).
Shape legend: R rows (one for each text), E examples, A anchors (texts whose pair belongs to them), D size of a vector.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from braid.data.batch import Targets
from braid.data.example import Example, Window
from braid.data.windows import Layout
from braid.decoding.base import Need, Together
from braid.decoding.similarity import Similarity as Similarity
from braid.decoding.similarity import SimilarityDecoder
from braid.errors import LabelError
from braid.metrics.similarity import SimilarityMeter
from braid.nn.contrastive import hardest, info_nce, triplet
from braid.nn.divergence import number_divergence
from braid.nn.linear import Linear
from braid.nn.pooling import Pooling, RowFeatures
from braid.tasks.base import Facts, Head, Hidden, LabelledTask, Target
from braid.tasks.regression import number

SIMCSE = ("contrastive", "triplet")
"""Losses that learn from pairs alone: without a label a pair belongs together, without a pair a text with itself."""


class SimilarityTask(LabelledTask):
    """One vector for each text, close for texts that are alike."""

    type: Literal["similarity"] = "similarity"
    hub_task: ClassVar[str] = "sentence-similarity"
    layout: ClassVar[Layout] = "separate"
    together: ClassVar[Together] = "example"
    main_metric: ClassVar[str] = "spearman"
    comparable: ClassVar[bool] = True

    loss: Literal["cosine", "regression", "contrastive", "triplet"] = "cosine"
    """`cosine`: squared error of the cosine and the label, scaled to 0..1. `regression`: a linear layer on
    [u; v; |u - v|] (Sentence-BERT, arXiv 1908.10084). `contrastive`: each text finds its pair among all of the batch
    (InfoNCE); a row without a pair is its own, told apart by dropout alone (SimCSE, arXiv 2104.08821). `triplet`: the
    pair stands nearer than `options`, or than the nearest other pair of the batch. The last two see what one
    (micro-)batch holds, so accumulation changes them."""

    temperature: float = Field(default=0.05, gt=0)
    """For `contrastive`: what cosines are divided by."""

    margin: float = Field(default=0.2, gt=0)
    """For `triplet`: by how much the pair must be nearer, in cosine."""

    pooling: Pooling = "mean"
    """How the tokens of a text become one vector."""

    dimensions: int | None = Field(default=None, ge=2)
    """Size of the vectors, by a linear layer. None: the encoder's hidden size, without such a layer."""

    @property
    def default_label(self) -> Any:
        """A pair without a label belongs together, where the loss learns from such."""
        return 1.0 if self.loss in SIMCSE else None

    @property
    def need(self) -> Need | None:
        """A pair, unless the loss can do without."""
        found = Need("pair", "it needs a `pair`, the text that it is compared with")
        return None if self.loss in SIMCSE else found

    def learn(self, labels: Iterable[Any], examples: Iterable[Example]) -> Facts:
        """`low`, `high`: the range of the labels; `mean`, `std`; `varied`: whether there is more than one label.

        Raises LabelError where there is no label."""
        values = np.array([number(label) for label in labels], dtype=np.float64)
        if not len(values):
            raise LabelError("no training row has a label; check the name of the label column (`data.columns`)")
        varied = bool(len(np.unique(values)) > 1)
        low, high = float(values.min()), float(values.max())
        if not varied:
            low, high = min(0.0, low - 1.0), high
        return {
            "low": low,
            "high": high,
            "mean": float(values.mean()),
            "std": float(values.std()) if varied else 1.0,
            "varied": varied,
        }

    def encode(self, label: Any, example: Example, window: Window, facts: Facts) -> Target | None:
        """`part` [1]: 0 for the text, 1 for its pair, 2 and more for its negatives; `value` [1]: the label, 0..1."""
        value = (number(label) - facts["low"]) / (facts["high"] - facts["low"])
        return {"part": np.array([window.number], dtype=np.int64), "value": np.array([value], dtype=np.float32)}

    def gold(self, label: Any, example: Example, units: np.ndarray, facts: Facts) -> float:
        """The number."""
        return number(label)

    def count(self, target: Target) -> int:
        """1 a pair; where the loss is about pairs that belong together 1 for each of these."""
        return int(target["part"][0] == 0 and (self.loss not in SIMCSE or target["value"][0] > 0.5))

    def make_head(self, facts: Facts, hidden_size: int) -> Head:
        """Pooling, and a linear layer where `dimensions` asks for one."""
        return SimilarityHead(self, facts, hidden_size)

    def meter(self, facts: Facts) -> SimilarityMeter:
        """spearman, pearson; or recall_at_1, recall_at_10, mrr."""
        return SimilarityMeter(varied=facts["varied"])

    def best(self, facts: Facts) -> str:
        """Spearman's correlation; without different labels how often a text finds its pair."""
        return self.metric or ("spearman" if facts["varied"] else "recall_at_1")

    @classmethod
    def specimens(cls, n: int) -> list[dict[str, Any]]:
        """Pairs of things that are more and more alike."""
        things = ("apple", "boat", "cloud", "door", "engine", "flute", "garden", "hat")
        return [
            {"text": f"the {things[k % 8]} {k}", "pair": f"a {things[(k + 3) % 8]} {k}", "label": k / 2}
            for k in range(n)
        ]

    def oracle(self, target: Target, facts: Facts) -> np.ndarray:
        """A vector [1, 2] at the angle whose cosine is the label, scaled; that of the text is at 0."""
        angle = 0.0 if target["part"][0] == 0 else float(np.arccos(np.clip(target["value"][0], -1, 1)))
        return np.array([[np.cos(angle), np.sin(angle)]], dtype=np.float32)

    def describe_label(self, label: Any, facts: Facts | None = None) -> list[str]:
        """The number."""
        return [f"{number(label):g}"]


class SimilarityHead(Head):
    """Pooling and, by option, a projection: the vectors of texts."""

    def __init__(self, task: SimilarityTask, facts: Facts, hidden_size: int) -> None:
        super().__init__()
        self.task, self.facts = task, facts
        self.features = RowFeatures(task.pooling, hidden_size, dense=False, dropout=0.0)
        self.projection = Linear(hidden_size, task.dimensions) if task.dimensions else None
        size = task.dimensions or hidden_size
        self.output = Linear(3 * size, 1) if task.loss == "regression" else None

    def reads(self, hidden: Hidden, rows: Tensor) -> Tensor | None:
        """What its pooling reads."""
        return self.features.pool.reads(hidden.batch, rows)

    def forward(self, hidden: Hidden, rows: Tensor) -> Tensor:
        """Vectors [R, D], of any length."""
        vectors_RD: Tensor = self.features(hidden.last, hidden.batch, rows)
        return vectors_RD if self.projection is None else self.projection(vectors_RD)

    def embed(self, hidden: Hidden, rows: Tensor) -> Tensor:
        """The vectors of texts, for `model.embed`."""
        vectors_RD: Tensor = self(hidden, rows)
        return vectors_RD

    def loss(self, logits: Tensor, targets: Targets) -> Tensor:
        """In fp32, summed over pairs (or over those that belong together)."""
        vectors_RD, part_R = logits.float(), targets.values["part"]
        n = int(targets.examples.max()) + 1
        place_E2 = _places(targets)
        value_E = targets.values["value"][place_E2[:, 0]]
        first_ED, second_ED = vectors_RD[place_E2[:, 0]], vectors_RD[place_E2[:, 1]]
        if self.task.loss == "cosine":
            return F.mse_loss(F.cosine_similarity(first_ED, second_ED), value_E, reduction="sum")
        if self.output is not None:
            label_E = value_E * (self.facts["high"] - self.facts["low"]) + self.facts["low"]
            scaled_E = (label_E - self.facts["mean"]) / self.facts["std"]
            return F.mse_loss(self.output(_compared(first_ED, second_ED)).squeeze(1), scaled_E, reduction="sum")
        anchors_A = (value_E > 0.5).nonzero().squeeze(1)
        if not len(anchors_A):
            return 0.0 * vectors_RD.sum()
        others = part_R >= 2
        candidates_KD = torch.cat([second_ED, vectors_RD[others]])
        if self.task.loss == "contrastive":
            return info_nce(first_ED[anchors_A], candidates_KD, anchors_A, temperature=self.task.temperature).sum()
        owner_K = torch.cat([torch.arange(n, device=logits.device), targets.examples[others]])
        return self._triplets(first_ED, second_ED, candidates_KD, owner_K, anchors_A)

    def divergence(self, first: Tensor, second: Tensor, targets: Targets) -> Tensor:
        """Squared differences of what is said of each pair, the cosine or the scaled value; summed over pairs (or over
        those that belong together, where the loss is)."""
        place_E2 = _places(targets)
        said_2E = [self._said(vectors.float(), place_E2) for vectors in (first, second)]
        apart_E = number_divergence(said_2E[0], said_2E[1])
        if self.task.loss in ("cosine", "regression"):
            return apart_E.sum()
        return (apart_E * (targets.values["value"][place_E2[:, 0]] > 0.5)).sum()

    def _said(self, vectors_RD: Tensor, place_E2: Tensor) -> Tensor:
        """[E]: what the vectors say of each pair."""
        first_ED, second_ED = vectors_RD[place_E2[:, 0]], vectors_RD[place_E2[:, 1]]
        if self.output is None:
            return F.cosine_similarity(first_ED, second_ED)
        return self.output(_compared(first_ED, second_ED)).squeeze(1)

    def _triplets(
        self, first_ED: Tensor, second_ED: Tensor, candidates_KD: Tensor, owner_K: Tensor, anchors_A: Tensor
    ) -> Tensor:
        """Each anchor against the nearest of its own negatives, or, without any, of the other pairs' seconds."""
        n = len(first_ED)
        own_AK = owner_K == anchors_A[:, None]
        own_AK[:, :n] = False
        other_AK = owner_K != anchors_A[:, None]
        other_AK[:, n:] = False
        allowed_AK = torch.where(own_AK.any(dim=1, keepdim=True), own_AK, other_AK)
        worst_A, has_A = hardest(first_ED[anchors_A], candidates_KD, allowed_AK)
        loss_A = triplet(first_ED[anchors_A], second_ED[anchors_A], candidates_KD[worst_A], margin=self.task.margin)
        return (loss_A * has_A).sum()

    def decoding(self) -> SimilarityDecoder:
        """Cosines, and what they or the linear layer say in the labels' units."""
        low, high, mean, std = (float(self.facts[key]) for key in ("low", "high", "mean", "std"))
        if self.output is None:
            return SimilarityDecoder(self.task.loss == "cosine", low, high, mean, std)
        weight_3D = self.output.weight.detach().float().cpu().numpy()[0]
        return SimilarityDecoder(False, low, high, mean, std, float(self.output.bias.detach()[0]), weight_3D)


def _compared(first_ED: Tensor, second_ED: Tensor) -> Tensor:
    """[u; v; |u - v|]: [E, 3 D]."""
    return torch.cat([first_ED, second_ED, (first_ED - second_ED).abs()], dim=1)


def _places(targets: Targets) -> Tensor:
    """The places [E, 2] of each pair's two texts among the rows with a target."""
    part_R = targets.values["part"]
    place_E2 = torch.zeros((int(targets.examples.max()) + 1, 2), dtype=torch.int64, device=part_R.device)
    for part in (0, 1):
        of_part = (part_R == part).nonzero().squeeze(1)
        place_E2[targets.examples[of_part], part] = of_part
    return place_E2
