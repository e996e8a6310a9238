"""What every process of a test's `torchrun` runs: train a tiny model of three tasks and say what became of it.

python worker.py '{"out": ..., "parallel": "fsdp", "accumulate": 2, ...}'
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch.distributed.tensor import DTensor

from braid.checkpoint.state import newest_state, read_progress
from braid.data.groups import make_batch
from braid.data.plan import split_step
from braid.errors import BraidError, Interrupted
from braid.model.network import BraidModel
from braid.optim.groups import named_parameters
from braid.parallel.join import joined
from braid.parallel.world import World
from braid.training.distillation.objective import Distillation
from braid.training.engine import padded
from braid.training.trainer import Trainer
from training.distillation.test_objective import made, teacher_of
from training.test_exactness import Silent, mixed_data, trainer_of

STEP = [(0, row) for row in range(24)] + [(1, row) for row in range(24)] + [(2, 0)]
"""One row of the third task: it falls to one process."""


class Stopper(Silent):
    """Sends a signal to this process after a step."""

    def __init__(self, at: int, number: int) -> None:
        self.at, self.number = at, number

    def step(self, info: Any) -> None:
        if info.step == self.at:
            os.kill(os.getpid(), self.number)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().clone()


def gradient(trainer: Trainer, world: World, accumulate: int) -> dict[str, torch.Tensor]:
    """The gradient of STEP, however it is divided."""
    parts = split_step(STEP, trainer.plan.lengths, world.size * accumulate)
    mine, ghosts = padded(parts, world)
    trainer.backward([make_batch(trainer.groups, part) for part in mine], ghosts=ghosts)
    norm = trainer.engine.norm(float("inf"))
    found = {
        name: whole(parameter.grad)
        for name, parameter in [
            *named_parameters(trainer.model.encoder, trainer.heads),
            *trainer.model.training_only.named_parameters(),
        ]
        if parameter.grad is not None
    }
    trainer.optimizer.zero_grad(set_to_none=True)
    return {**found, "norm": torch.tensor(norm)}


def taught(model: BraidModel) -> Distillation:
    """Two teachers, one of which one process has no row for; hidden states are mapped to other widths."""
    mixed = mixed_data()
    teachers = [teacher_of(mixed, ["label", "tags"]), teacher_of(mixed, ["score"], seed=8, hidden_size=24)]
    return made(mixed, model, teachers, hidden="uniform")


def work(options: dict[str, Any]) -> None:
    out = Path(options.pop("out"))
    resume, stop = options.pop("resume", False), options.pop("stop", None)
    fail = options.pop("fail", None)
    if options.pop("teach", False):
        options["distilled_of"] = taught
    with joined() as world:
        if fail == world.rank:
            raise BraidError("this process has had enough")
        trainer = trainer_of(mixed_data(), out / "run", world=world, **options)
        if not resume:
            gradients = gradient(trainer, world, trainer.config.accumulate)
            torch.manual_seed(1 + world.rank)
        else:
            state = newest_state(out / "run")
            assert state is not None
            trainer.resume(state, read_progress(state))
        if stop is not None and stop["rank"] == world.rank:
            trainer.display = Stopper(stop["at"], stop["number"])
        result = trainer.train()
        weights = {name: whole(tensor) for name, tensor in trainer.model.state_dict().items()}
        if world.first:
            if not resume:
                save_file(gradients, out / "gradients.safetensors")
            save_file(weights, out / "weights.safetensors")
            told = {"history": result.history, "tokens": result.tokens, "steps": result.steps}
            (out / "told.json").write_text(json.dumps(told))


if __name__ == "__main__":
    torch.set_num_threads(1)
    try:
        work(json.loads(sys.argv[1]))
    except Interrupted as stopped:
        sys.exit(stopped.code)
    except BraidError as error:
        print(f"braid: {error}", file=sys.stderr)
        sys.exit(2)
