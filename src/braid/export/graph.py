"""A model as one module on plain padded tensors, which can be traced into a graph: the encoder and every head.

Shape legend: B rows, L the longest row's tokens, W the most units (words) that a row owns, D hidden size, C values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from braid.data.packing import rectangle
from braid.encoders.base import Encoder
from braid.errors import BraidError
from braid.export.rows import EMBEDDING as EMBEDDING
from braid.export.rows import INPUTS as INPUTS
from braid.export.rows import AnswerOf
from braid.model.network import BraidModel, TaskSpec
from braid.nn.pooling import Pooler
from braid.tasks.base import Head, Hidden

ROWS, LONGEST, WORDS = 2, 11, 5
"""Sizes of the example that a graph is traced with: all different, so that none is taken for another."""


class Graph(nn.Module):
    """`(input_ids, attention_mask, token_type_ids, unit_tokens)` -> each task's answers, in the order of `tasks`, and
    the embedding. What stands at units that a row does not have means nothing."""

    def __init__(self, network: BraidModel, tasks: Iterable[str]) -> None:
        super().__init__()
        _require_traceable(network.encoder)
        self.network = network.eval()
        self.tasks = list(tasks)
        self.answers: dict[str, AnswerOf] = {}
        self.pool = Pooler("mean", network.encoder.hidden_size)
        example = self.example()
        with torch.no_grad():
            self._shapes(*example)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs that it reads."""
        return INPUTS if any(kind != "row" for kind in self.answers.values()) else INPUTS[:3]

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs."""
        return [*self.tasks, EMBEDDING]

    def example(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Inputs that the graph may be traced with: two rows, one of them padded."""
        longest = min(LONGEST, self.network.encoder.max_positions or LONGEST)
        mask = torch.ones(ROWS, longest, dtype=torch.int64)
        mask[1, longest - 2 :] = 0
        segments = torch.zeros_like(mask)
        segments[:, longest // 2 :] = 1
        ids = torch.arange(ROWS * longest).view(ROWS, longest) % self.network.encoder.vocab_size
        return ids, mask, segments * mask, torch.arange(WORDS).expand(ROWS, WORDS).contiguous()

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor, unit_tokens: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """See the class. *unit_tokens*: only where some task answers by unit."""
        if unit_tokens is None:
            unit_tokens = torch.zeros_like(input_ids[:, :1])
        rows, words = unit_tokens.shape
        out = []
        for task, flat in self._flat(input_ids, attention_mask, token_type_ids, unit_tokens).items():
            size = flat.shape[-1]
            kind = self.answers.get(task, "row")
            if kind == "units":
                flat = flat.view(rows, words, size)
            elif kind == "pairs":
                flat = flat.view(rows, words, words + 1, size)
            out.append(flat.float())
        return tuple(out)

    def _flat(self, ids_BL: Tensor, mask_BL: Tensor, segments_BL: Tensor, words_BW: Tensor) -> dict[str, Tensor]:
        """What every head gives of all rows, and the embedding."""
        batch = rectangle(ids_BL, segments_BL, mask_BL == 1, words_BW)
        rows_B = torch.arange(ids_BL.shape[0], device=ids_BL.device)
        last, layers = self.network.encoder(batch)
        hidden = Hidden(last=last, batch=batch, layers=layers, words=self.network.encoder.word_embeddings)
        out = {name: self.network.head(name)(self.network.head(name).mixed(hidden), rows_B) for name in self.tasks}
        return {**out, EMBEDDING: self.pool(last, batch, rows_B)}

    def _shapes(self, *example: Tensor) -> None:
        """Find out what each task has one answer of."""
        words = example[3].shape[1]
        known: dict[int, AnswerOf] = {ROWS: "row", ROWS * words: "units", ROWS * words * (words + 1): "pairs"}
        for task, flat in self._flat(*example).items():
            if flat.ndim != 2 or flat.shape[0] not in known:
                raise BraidError(f"task {task!r} answers in a shape that no graph can hold: {list(flat.shape)}")
            if task != EMBEDDING:
                self.answers[task] = known[flat.shape[0]]


def _require_traceable(encoder: Encoder) -> None:
    if not encoder.traceable:
        module = type(encoder).__module__.rpartition(".")[2].removesuffix("_module")
        kind = getattr(getattr(encoder, "variant", None), "type", module)
        raise BraidError(
            f"the encoder ({kind}: {type(encoder).__name__}) cannot be exported: what its layers do hangs on how long "
            "each single row is, which no graph for rows of any length can hold. Those that can: bert (with all its "
            "kinds), modernbert, gpt, attn"
        )


def refusals(specs: Mapping[str, TaskSpec], heads: Mapping[str, Head]) -> dict[str, str]:
    """The tasks that cannot go into a graph of one pass, and why."""
    out = {}
    for name, spec in specs.items():
        if not spec.predicts:
            out[name] = f"a {spec.task.type} task makes its own targets and says nothing of new texts"
        elif type(heads[name]).answers is not Head.answers:
            out[name] = f"a {spec.task.type} task writes its answer piece by piece, which takes more than one pass"
        elif name in (EMBEDDING, *INPUTS):
            out[name] = f"{name!r} is what the graph calls something else; give the task another name"
    return out
