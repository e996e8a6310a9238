"""The model: one encoder, one head a task.

Shape legend: T tokens, D hidden size, R rows that a task is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from braid.data.batch import Batch
from braid.encoders.base import Encoder
from braid.nn.pooling import RowFeatures
from braid.nn.scalar_mix import ScalarMix
from braid.tasks.base import Facts, Head, Hidden, LabelledTask, Task

FEW = 0.8
"""The share of tokens below which it pays to leave the others out of the last layer."""


@dataclass(frozen=True)
class TaskSpec:
    """A task as it stands in a model: its config and what it learned from its training labels."""

    task: Task
    facts: Facts

    @property
    def predicts(self) -> bool:
        """Whether it says something of new texts; a task that makes its own targets does not."""
        return isinstance(self.task, LabelledTask)

    @property
    def labelled(self) -> LabelledTask:
        """The task, which must be one whose rows carry labels."""
        assert isinstance(self.task, LabelledTask)
        return self.task


@dataclass(frozen=True)
class Pass:
    """One forward pass over a batch with targets: each task's summed *losses*, in fp32, the *logits* that they come
    from (fp32, of the rows that have a target; a task without such rows is left out), and the encoder's *hidden*."""

    losses: dict[str, Tensor]
    logits: dict[str, Tensor]
    hidden: Hidden


class BraidModel(nn.Module):
    """An encoder with the heads of all tasks."""

    def __init__(self, encoder: Encoder, specs: Mapping[str, TaskSpec]) -> None:
        super().__init__()
        self.encoder = encoder
        self.specs = dict(specs)
        # nn.ModuleDict takes no dots in its keys; task names may have some, but never a per cent sign.
        self._heads = nn.ModuleDict(
            {_key(name): spec.task.make_head(spec.facts, encoder.hidden_size) for name, spec in specs.items()}
        )
        self.training_only = nn.ModuleDict()
        """What training learns beside the model: saved with its state, and not in a run directory."""
        for name, head in self.heads():
            if specs[name].task.mix_layers:
                head.mix = ScalarMix(encoder.n_states)
            head.adopt(encoder.pretraining)
            for module in head.modules():
                if isinstance(module, RowFeatures) and encoder.pooler is not None:
                    module.start_from(*encoder.pooler)

    def head(self, name: str) -> Head:
        """The head of one task."""
        return self._heads[_key(name)]  # type: ignore[return-value]

    def heads(self) -> Iterator[tuple[str, Head]]:
        """Every task's name and head, in the chain's order."""
        return ((name, self.head(name)) for name in self.specs)

    def forward(self, batch: Batch, rows: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Logits by task of the rows asked for (task -> [R]); None: of the rows that have a target.

        A task without rows is left out. The encoder runs once, whatever the number of tasks."""
        if rows is None:
            rows = {name: targets.rows for name, targets in batch.targets.items()}
        return self._logits(self.encoded(batch, rows), rows)

    def _logits(self, hidden: Hidden, rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
        targets = hidden.batch.targets
        return {
            name: self.head(name)(self.head(name).mixed(replace(hidden, targets=targets.get(name))), index)
            for name, index in rows.items()
            if len(index)
        }

    def losses(
        self, batch: Batch, scope: AbstractContextManager[object], present: Iterable[str] = ()
    ) -> dict[str, Tensor]:
        """Each task's summed loss over a batch, in fp32: those of `passed`."""
        return self.passed(batch, scope, present).losses

    def passed(self, batch: Batch, scope: AbstractContextManager[object], present: Iterable[str] = ()) -> Pass:
        """A forward pass and its losses. *scope*: what the logits are computed in (mixed precision).
        *present*: tasks that must have a loss, a zero from which gradients of all trained weights come as zeros where
        the batch has no row of theirs: processes that exchange gradients must have the same ones."""
        with scope:
            hidden = self.encoded(batch, {name: targets.rows for name, targets in batch.targets.items()})
        logits, found = self.judged(hidden, scope, batch.targets)
        for name in present:
            if name not in found:
                weights = [parameter.sum() for parameter in self.head(name).parameters() if parameter.requires_grad]
                found[name] = 0.0 * torch.stack([hidden.last.float().sum(), *weights]).sum()
        return Pass(found, logits, hidden)

    def judged(
        self, hidden: Hidden, scope: AbstractContextManager[object], names: Iterable[str]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What the heads of tasks *names* make of the encoder's hidden states: logits of the rows that have a target,
        in fp32, and summed losses. Tasks without such a row are left out."""
        targets = hidden.batch.targets
        with scope:
            found = self._logits(hidden, {name: targets[name].rows for name in names if name in targets})
        logits = {name: values.float() for name, values in found.items()}
        return logits, {name: self.head(name).loss(values, targets[name]) for name, values in logits.items()}

    def answers(self, batch: Batch, rows: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """As `forward`, but what the heads' `decode` reads, and how much of it belongs to each row."""
        hidden = self.encoded(batch, rows)
        return {
            name: self.head(name).answers(self.head(name).mixed(hidden), index)
            for name, index in rows.items()
            if len(index)
        }

    def encoded(self, batch: Batch, rows: Mapping[str, Tensor] | None = None) -> Hidden:
        """What the encoder makes of a batch. *rows*: what tasks are asked for; None: all states are wanted."""
        read = None if rows is None or not self.encoder.leaves_out else self._read(batch, rows)
        last, layers = self.encoder(batch) if read is None else self.encoder(batch, read)
        return Hidden(last=last, batch=batch, layers=layers, words=self.encoder.word_embeddings)

    def _read(self, batch: Batch, rows: Mapping[str, Tensor]) -> Tensor | None:
        """The tokens that heads read of the last layer, where they are few enough; else None."""
        found = []
        for name, index in rows.items():
            head = self.head(name)
            hidden = Hidden(last=batch.ids, batch=batch, targets=batch.targets.get(name))
            read = None if head.mix is not None else head.reads(hidden, index)
            if read is None:
                return None
            found.append(read)
        wanted = torch.zeros(batch.n_tokens, dtype=torch.bool, device=batch.ids.device)
        for read in found:
            wanted[read] = True
        tokens = wanted.nonzero().squeeze(1)
        return tokens if 0 < len(tokens) < FEW * batch.n_tokens else None


def _key(name: str) -> str:
    return name.replace(".", "%2E")
