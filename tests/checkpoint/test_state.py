"""States: the newest whole one is found whatever lies about, and a full disk costs nothing that was there."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from braid.checkpoint.saver import Saver
from braid.checkpoint.state import Progress, load_state, newest_state, read_progress, state_writer
from braid.errors import RunDirectoryError

CPU = torch.device("cpu")


def parts(seed: int = 0) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW([{"params": list(model.parameters()), "names": ["weight", "bias"]}])
    model(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    return model, optimizer


def save(run: Path, step: int, *, keep: int = 2) -> tuple[nn.Module, torch.optim.Optimizer]:
    model, optimizer = parts(step)
    write = state_writer(run, model, optimizer, Progress(step=step), keep=keep, device=CPU)
    assert write is not None
    write()
    return model, optimizer


def test_a_state_is_what_it_was_when_it_was_asked_for(tmp_path: Path) -> None:
    """The write comes later, when training has gone on."""
    model, optimizer = parts()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    write = state_writer(tmp_path, model, optimizer, Progress(step=1), keep=2, device=CPU)
    with torch.no_grad():
        model.weight.add_(1.0)
    optimizer.state[model.weight]["exp_avg"].zero_()
    assert write is not None
    write()
    other, its_optimizer = parts(7)
    load_state(tmp_path / "state" / "step-1", other, its_optimizer, device=CPU)
    assert all(torch.equal(tensor, before[name]) for name, tensor in other.state_dict().items())
    assert its_optimizer.state[other.weight]["exp_avg"].abs().sum() > 0


@pytest.mark.parametrize("damage", ["cut", "missing", "no state.json", "half a state.json", "a file of that name"])
def test_the_newest_whole_state_is_found(tmp_path: Path, damage: str) -> None:
    save(tmp_path, 10)
    save(tmp_path, 20)
    newest = tmp_path / "state" / "step-20"
    if damage == "cut":
        path = newest / "optimizer.safetensors"
        path.write_bytes(path.read_bytes()[:-8])
    elif damage == "missing":
        (newest / "weights.safetensors").unlink()
    elif damage == "no state.json":
        (newest / "state.json").unlink()
    elif damage == "half a state.json":
        (newest / "state.json").write_text((newest / "state.json").read_text()[:40])
    else:
        shutil.rmtree(newest)
        newest.write_text("what is this?")
    (tmp_path / "state" / ".step-30.new").mkdir()
    (tmp_path / "state" / "step-x").mkdir()
    found = newest_state(tmp_path)
    assert found == tmp_path / "state" / "step-10"
    assert read_progress(found).step == 10


def test_only_the_newest_states_are_kept(tmp_path: Path) -> None:
    for step in (5, 10, 15, 100):
        save(tmp_path, step, keep=2)
    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == ["step-100", "step-15"]


def test_weights_of_another_recipe_are_named(tmp_path: Path) -> None:
    save(tmp_path, 1)
    model = nn.Linear(3, 5)
    optimizer = torch.optim.AdamW([{"params": list(model.parameters()), "names": ["weight", "bias"]}])
    with pytest.raises(RunDirectoryError, match="2 weights do not fit this recipe: bias, weight"):
        load_state(tmp_path / "state" / "step-1", model, optimizer, device=CPU)


def test_a_full_disk_leaves_the_last_state_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1)

    def full(*given: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(RunDirectoryError, match=r"the disk is full: weights.safetensors needs 0\.0 MB, .* MB are free"):
        save(tmp_path, 2)
    assert newest_state(tmp_path) == tmp_path / "state" / "step-1"
    monkeypatch.undo()
    save(tmp_path, 3)
    assert newest_state(tmp_path) == tmp_path / "state" / "step-3"


def test_what_goes_wrong_while_saving_is_said_at_the_next_save() -> None:
    saver = Saver()

    def broken() -> None:
        raise RunDirectoryError("no room")

    saver.begin(lambda: broken)
    with pytest.raises(RunDirectoryError, match="no room"):
        saver.begin(lambda: None)
    saver.begin(lambda: None)
    saver.wait()
    saver.close()


def test_a_state_says_what_it_holds(tmp_path: Path) -> None:
    save(tmp_path, 4)
    content = json.loads((tmp_path / "state" / "step-4" / "state.json").read_text())
    assert set(content["files"]) == {"weights.safetensors", "optimizer.safetensors", "random.safetensors"}
    assert content["step"] == 4
