"""The structure holds: imports go down only, files stay small, rooms have names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from conftest import ROOT

SOURCES = sorted((ROOT / "src" / "braid").rglob("*.py"))


def test_imports_go_down_the_floors() -> None:
    command = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([str(command), "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_no_file_has_two_purposes() -> None:
    assert SOURCES
    assert not [path.name for path in SOURCES if len(path.read_text(encoding="utf-8").splitlines()) > 400]


def test_every_room_has_a_name_and_says_what_it_is_for() -> None:
    assert not [path for path in SOURCES if path.stem in ("utils", "util", "common", "helpers", "helper", "misc")]
    silent = [path for path in SOURCES if path.name != "__init__.py" and not path.read_text("utf-8").startswith('"""')]
    assert not silent
