"""All regularisers of a run together: what the trainer talks to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

from torch import Tensor

from braid.config.families import RegulariserConfig
from braid.data.batch import Batch
from braid.errors import RunDirectoryError
from braid.model.network import BraidModel
from braid.training.objective import Objective, plain
from braid.training.regularisers.base import PlainPass, Regulariser, Running


class Regularised:
    """The regularisers *configs* at work on a model.

    *scales*: what the summed losses of the global batch at hand are multiplied by; the trainer says so before each."""

    def __init__(self, model: BraidModel, configs: Sequence[RegulariserConfig]) -> None:
        self.scales: Mapping[str, float] = {}
        self.running: dict[str, Running] = {}
        for config in configs:
            assert isinstance(config, Regulariser)
            if (running := config.begin(model)) is not None:
                self.running[config.type] = running
        self._adding = [running for running in self.running.values() if running.adds]

    @property
    def objective(self) -> Objective:
        """What a step minimises."""
        return self._losses if self._adding else plain

    def _losses(
        self, model: BraidModel, batch: Batch, scope: AbstractContextManager[object], present: Iterable[str] = ()
    ) -> dict[str, Tensor]:
        shift = None
        if any(running.attacks for running in self._adding):
            table = model.encoder.word_embeddings
            shift = table.new_zeros(batch.n_tokens, table.shape[1]).requires_grad_()
        with nullcontext() if shift is None else model.encoder.shifted(shift):
            done = model.passed(batch, scope, present)
        losses = dict(done.losses)
        seen = PlainPass(model, batch, scope, done, shift, self.scales)
        for running in self._adding:
            for name, value in running.added(seen).items():
                losses[name] = losses[name] + value
        return losses

    def stepped(self) -> None:
        """After a step of the optimiser."""
        for running in self.running.values():
            running.stepped()

    @contextmanager
    def evaluated(self) -> Iterator[None]:
        """Around evaluation and the saving of what was evaluated."""
        with ExitStack() as stack:
            for running in self.running.values():
                stack.enter_context(running.evaluated())
            yield

    def finish(self) -> None:
        """Training is over: leave the model as it is to be used."""
        for running in self.running.values():
            running.finish()

    def state(self) -> dict[str, Tensor]:
        """What must be saved to resume."""
        states = {kind: running.state() for kind, running in self.running.items()}
        return {f"{kind}/{name}": tensor for kind, state in states.items() for name, tensor in state.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave. Raises RunDirectoryError where something is missing."""
        for kind, running in self.running.items():
            prefix = f"{kind}/"
            own = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
            if running.state().keys() != own.keys():
                raise RunDirectoryError(
                    f"the saved state lacks what the regulariser {kind!r} must remember: leave it out as before, or "
                    "start the run anew (--overwrite)"
                )
            running.load(own)
