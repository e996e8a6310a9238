"""An exported graph in the place of a network: batches in, what heads' `decode` reads out.

Shape legend: B rows, L the longest row's tokens, W the most units that a row owns, R rows that a task is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from braid.data.batch import Batch
from braid.encoders.base import Encoder
from braid.export.graph import Answers
from braid.export.session import Session
from braid.model.network import BraidModel, TaskSpec
from braid.tasks.base import Hidden


class EncoderSizes(nn.Module):
    """What heads ask of an encoder before any text is read. The graph does the reading."""

    leaves_out = False
    pooler = None

    def __init__(self, *, hidden_size: int, n_states: int) -> None:
        super().__init__()
        self.hidden_size, self.n_states = hidden_size, n_states
        self.pretraining: Mapping[str, Tensor] = {}


class ExportedNetwork(BraidModel):
    """Runs a graph once for all tasks that a batch is asked for. Its heads decode; their weights do nothing else.

    *answers_of*: what each task has one answer of; *inputs*: names of those that the graph reads."""

    def __init__(
        self,
        session: Session,
        specs: Mapping[str, TaskSpec],
        sizes: EncoderSizes,
        *,
        inputs: Sequence[str],
        answers_of: Mapping[str, Answers],
    ) -> None:
        super().__init__(cast(Encoder, sizes), specs)
        self.session, self.inputs, self.answers_of = session, tuple(inputs), dict(answers_of)

    def answers(self, batch: Batch, rows: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """See `BraidModel.answers`."""
        wanted = [name for name, index in rows.items() if len(index)]
        counts_B = batch.cu_words.diff().cpu().numpy()
        out = {}
        for name, values in zip(wanted, self.run(batch, wanted), strict=True):
            chosen = rows[name].cpu().numpy()
            found, sizes = _flat(values[chosen], counts_B[chosen], self.answers_of[name])
            out[name] = torch.from_numpy(np.ascontiguousarray(found)), torch.from_numpy(sizes)
        return out

    def run(self, batch: Batch, outputs: Sequence[str]) -> list[np.ndarray]:
        """Outputs of the graph, of all rows of a batch."""
        return self.session.run({name: value for name, value in padded(batch).items() if name in self.inputs}, outputs)

    def encoded(self, batch: Batch, rows: Mapping[str, Tensor] | None = None) -> Hidden:
        """The batch alone: no hidden state leaves the graph."""
        return Hidden(last=batch.ids, batch=batch)

    def forward(self, *given: Any, **more: Any) -> dict[str, Tensor]:
        """Never asked for: nothing is learned here."""
        raise AssertionError("an exported graph has no logits to learn from")


def padded(batch: Batch) -> dict[str, np.ndarray]:
    """The graph's inputs by name: rows [B, L] padded behind their ends, and units [B, W], at least one of each."""
    lengths_B, counts_B = batch.cu_seqlens.diff().cpu().numpy(), batch.cu_words.diff().cpu().numpy()
    real_BL = np.arange(max(1, int(lengths_B.max(initial=0)))) < lengths_B[:, None]
    owned_BW = np.arange(max(1, int(counts_B.max(initial=0)))) < counts_B[:, None]
    ids_BL, segments_BL = np.zeros((2, *real_BL.shape), np.int64)
    words_BW = np.zeros(owned_BW.shape, np.int64)
    ids_BL[real_BL], segments_BL[real_BL] = batch.ids.cpu().numpy(), batch.segments.cpu().numpy()
    words_BW[owned_BW] = batch.words.cpu().numpy() - np.repeat(batch.cu_seqlens[:-1].cpu().numpy(), counts_B)
    return {
        "input_ids": ids_BL,
        "attention_mask": real_BL.astype(np.int64),
        "token_type_ids": segments_BL,
        "unit_tokens": words_BW,
    }


def _flat(values: np.ndarray, counts_R: np.ndarray, kind: Answers) -> tuple[np.ndarray, np.ndarray]:
    """The real answers of R rows end to end, [N, C], and how many each has [R]."""
    if kind == "row":
        return values, np.ones(len(values), np.int64)
    if kind == "units":
        return values[np.arange(values.shape[1]) < counts_R[:, None]], counts_R
    size = values.shape[-1]
    parts = [row[:count, : count + 1].reshape(-1, size) for row, count in zip(values, counts_R.tolist(), strict=True)]
    return np.concatenate(parts), counts_R * (counts_R + 1)
