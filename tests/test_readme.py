"""What the README says is so: its recipe loads, its Python runs as it stands."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from braid.config.recipe import Recipe
from conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", README, re.S)
    assert found is not None
    return found[1]


def test_the_recipe_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for name in ("train.tsv", "dev.tsv", "test.tsv", "ner.conll"):
        (tmp_path / "data" / name).write_text("label\ttext\npos\tfine\n")
    (tmp_path / "reviews.yaml").write_text(block("yaml"), encoding="utf-8")
    recipe = Recipe.load("reviews.yaml", ["train.lr=3e-5", "out=runs/slow"])
    assert recipe.out == "runs/slow"
    assert str(recipe.parsed_chain) == "sentiment | entities"


def test_the_python_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [
        {
            "text": f"{mood} day {k} in Paris",
            "mood": mood,
            "places": [{"start": len(f"{mood} day {k} in "), "end": len(f"{mood} day {k} in Paris"), "label": "PLACE"}],
        }
        for k, mood in enumerate(["good", "bad"] * 20)
    ]
    Path("train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code = block("python").replace('chain="mood & places",', 'chain="mood & places", train={"epochs": 1},')
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert os.path.isfile("runs/reviews/metrics.json")
    assert names["result"]["mood"].label in ("good", "bad")  # type: ignore[index]


def test_every_command_exists() -> None:
    from braid.cli import app

    known = {command.name or command.callback.__name__ for command in app.registered_commands}  # type: ignore[union-attr]
    known |= {str(group.name) for group in app.registered_groups}
    used = set(re.findall(r"^    (?:.*\| )?braid (\w+)", README, re.M))
    assert used
    assert used <= known


def test_every_recipe_file_is_named(tmp_path: Path) -> None:
    text = (ROOT / "recipes" / "README.md").read_text(encoding="utf-8")
    for path in (ROOT / "recipes").glob("*.yaml"):
        assert path.name in text
