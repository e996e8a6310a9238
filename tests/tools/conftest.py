"""A small trained run and an unfinished one, which the tests of tools read."""

from __future__ import annotations

from pathlib import Path

import pytest

import braid
from braid.errors import Interrupted
from run.conftest import recipe_data


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the small recipe, trained for a moment."""
    folder = tmp_path_factory.mktemp("trained")
    data = recipe_data(folder)
    data["train"]["epochs"] = 2
    return braid.train(braid.Recipe(**data), say=lambda message: None).directory


@pytest.fixture
def unfinished(tmp_path: Path) -> Path:
    """A run that was stopped after its first step, resumed, and stopped after its second."""
    data = recipe_data(tmp_path)
    data["train"]["max_minutes"] = 0.0001
    for resume in (False, True):
        with pytest.raises(Interrupted):
            braid.train(braid.Recipe(**data), say=lambda message: None, resume=resume)
    return Path(data["out"])
