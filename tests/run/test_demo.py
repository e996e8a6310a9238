"""`demo`: what it says when it is stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from braid.errors import Interrupted
from braid.run.demo import demo


def test_a_demo_that_was_stopped_says_how_to_go_on(tmp_path: Path) -> None:
    with pytest.raises(Interrupted) as stopped:
        demo(tmp_path / "demo", ["train.max_minutes=0.0001", "train.precision=fp32"])
    command = f"train {tmp_path}/demo/recipe.yaml train.max_minutes=0.0001 train.precision=fp32 --resume"
    assert str(stopped.value).endswith(command)
