"""Uploads to the hub, against a hub that is a folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import LocalTokenNotFoundError, OfflineModeIsEnabled
from typer.testing import CliRunner

import braid
from braid.cli import app
from braid.errors import BraidError, RunDirectoryError
from braid.report.push import push, uploaded

WHAT_GOES_UP = {
    *("README.md", "recipe.yaml", "environment.json", "metrics.json", "data.json"),
    *("encoder/braid.json", "encoder/config.json", "encoder/model.safetensors"),
    *("tasks/mood/task.json", "tasks/mood/head.safetensors", "tasks/score/task.json", "tasks/score/head.safetensors"),
}


class Folder:
    """A hub in a folder: what `create_commit` is given lies there afterwards."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.repositories: dict[str, bool] = {}
        self.commits: list[str] = []

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> None:
        assert exist_ok
        self.repositories.setdefault(repo_id, private)

    def create_commit(self, repo_id: str, operations: Any, *, commit_message: str) -> str:
        assert repo_id in self.repositories
        self.commits.append(commit_message)
        for operation in operations:
            target = self.root / repo_id / operation.path_in_repo
            target.parent.mkdir(parents=True, exist_ok=True)
            with operation.as_file() as file:
                target.write_bytes(file.read())
        return f"folder:{repo_id}"


@pytest.fixture
def run(shipped_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shipped_run, tmp_path / "run"))


def test_what_was_pushed_predicts_as_the_run_does(run: Path, tmp_path: Path) -> None:
    hub = Folder(tmp_path / "hub")
    done = push(run, "someone/moods", hub=lambda: hub)
    assert done.url == "folder:someone/moods"
    assert hub.repositories == {"someone/moods": True}
    assert hub.commits == ["Upload shipped, trained with Braid"]
    fetched = tmp_path / "hub" / "someone" / "moods"
    assert braid.load(fetched)("day 3 was good").to_json() == braid.load(run)("day 3 was good").to_json()


def test_nothing_but_the_model_and_its_papers_goes_up(run: Path) -> None:
    (run / "state" / "step-3").mkdir(parents=True)
    (run / "state" / "step-3" / "weights.safetensors").write_bytes(b"x")
    for name in ("report.html", "rows.jsonl", "notes.txt", ".env"):
        (run / name).write_text("private", encoding="utf-8")
    (run / "tasks" / "mood" / "rows.jsonl").write_text("private", encoding="utf-8")
    (run / "encoder" / ".hidden").write_text("private", encoding="utf-8")
    names = set(uploaded(run))
    assert names >= WHAT_GOES_UP
    assert {name for name in names - WHAT_GOES_UP if not name.startswith("encoder/")} == set()
    assert not [name for name in names if "hidden" in name or "state" in name]


def test_a_dry_run_lists_files_with_sizes_and_asks_no_hub(run: Path) -> None:
    def never() -> Any:
        raise AssertionError("a dry run has no use for a hub")

    done = push(run, "someone/moods", dry_run=True, hub=never)
    assert done.url is None
    assert done.files["encoder/model.safetensors"] == (run / "encoder" / "model.safetensors").stat().st_size
    assert done.size == sum((run / name).stat().st_size for name in done.files)


def test_the_command_prints_the_list(run: Path) -> None:
    done = CliRunner().invoke(app, ["push", str(run), "someone/moods", "--dry-run"])
    assert done.exit_code == 0, done.output
    assert {line.split()[0] for line in done.stdout.splitlines()} >= WHAT_GOES_UP
    assert "nothing was sent" in done.stderr
    as_json = CliRunner().invoke(app, ["push", str(run), "someone/moods", "--dry-run", "--json", "--public"])
    told = json.loads(as_json.stdout)
    assert told["private"] is False
    assert set(told["files"]) >= WHAT_GOES_UP


def test_public_is_said_to_the_hub(run: Path, tmp_path: Path) -> None:
    hub = Folder(tmp_path / "hub")
    push(run, "someone/moods", private=False, message="First", hub=lambda: hub)
    assert hub.repositories == {"someone/moods": False}
    assert hub.commits == ["First"]


def test_a_run_without_a_card_gets_one(run: Path) -> None:
    (run / "README.md").unlink()
    assert "README.md" in uploaded(run)
    assert (run / "README.md").read_text(encoding="utf-8").startswith("---\n")


def test_an_unfinished_run_is_not_pushed(run: Path) -> None:
    (run / "metrics.json").unlink()
    with pytest.raises(RunDirectoryError, match="not finished"):
        push(run, "someone/moods", dry_run=True)


def test_a_task_without_its_head_is_not_pushed(run: Path) -> None:
    (run / "tasks" / "mood" / "head.safetensors").unlink()
    with pytest.raises(RunDirectoryError, match=r"tasks/mood/head.safetensors is missing"):
        uploaded(run)


def test_heads_of_another_encoder_are_not_pushed(run: Path) -> None:
    path = run / "tasks" / "mood" / "task.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "encoder_sha256": "0" * 64}))
    with pytest.raises(RunDirectoryError, match="mood was trained on another encoder"):
        push(run, "someone/moods", dry_run=True)


@pytest.mark.parametrize("name", ["a/b/c", "some one/x", "someone/--", ""])
def test_names_that_the_hub_does_not_allow_are_refused(run: Path, name: str) -> None:
    with pytest.raises(BraidError, match="USER/NAME"):
        push(run, name, dry_run=True)


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (OfflineModeIsEnabled("offline"), "HF_HUB_OFFLINE"),
        (LocalTokenNotFoundError("no token"), "hf auth login"),
        (ConnectionError("no route"), "Is there a network"),
    ],
)
def test_what_the_hub_says_is_told_with_what_to_do(run: Path, error: Exception, advice: str) -> None:
    class Refusing(Folder):
        def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> None:
            raise error

    with pytest.raises(BraidError, match=advice):
        push(run, "someone/moods", hub=lambda: Refusing(run))


def test_without_a_network_the_real_hub_is_an_error_and_no_traceback(run: Path) -> None:
    with pytest.raises(BraidError, match="someone/moods could not be pushed"):
        push(run, "someone/moods")
