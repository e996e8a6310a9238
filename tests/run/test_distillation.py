"""A teacher's predictions, with their logits, are rows that a student learns from: two commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import braid
from braid.cli import app
from braid.data.example import Example
from braid.errors import BraidError
from braid.predict.inputs import chunked

SIZES: dict[str, Any] = {"hidden_size": 32, "layers": 1, "heads": 2, "intermediate_size": 64, "max_length": 32}


def recipe(path: Path, data: Path, **train: Any) -> braid.Recipe:
    files = {"train": str(data), "dev": str(data)}
    return braid.Recipe(
        name=path.name,
        out=str(path),
        cache=str(path.parent / "cache"),
        encoder=SIZES,
        tasks={
            "mood": {"type": "classification", "data": files, "soft": {"alpha": 0.9}},
            "topics": {"type": "multilabel", "data": files},
            "marks": {"type": "tagging", "crf": True, "data": files},
            "grade": {"type": "regression", "data": files},
        },
        chain="mood & topics & marks & grade",
        train={"epochs": 2, "lr": 3e-3, "batch_rows": 8, "precision": "fp32", **train},
    )


def test_predicted_rows_with_logits_train_a_student(tmp_path: Path) -> None:
    rows = []
    for k in range(24):
        good, food = k % 2 == 0, k % 3 == 0
        words = ["the", "food" if food else "room", "was", "good" if good else "bad"]
        tags = ["O", "B-THING", "O", "O"]
        labels = {"mood": "pos" if good else "neg", "topics": ["food"] if food else [], "grade": 5 if good else 1}
        rows.append({"words": words, "marks": tags, **labels})
    given = tmp_path / "rows.jsonl"
    given.write_text("".join(json.dumps(row) + "\n" for row in rows))
    teacher = braid.train(recipe(tmp_path / "teacher", given), say=lambda message: None)

    taught = tmp_path / "taught.jsonl"
    bare = tmp_path / "bare.jsonl"
    bare.write_text("".join(json.dumps({"words": row["words"]}) + "\n" for row in rows))
    command = ["predict", str(teacher.directory), str(bare), "--logits", "-o", str(taught)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    first = json.loads(taught.read_text().splitlines()[0])
    assert set(first["mood"]) == {"label", "probabilities", "logits"}
    assert len(first["marks"]["logits"]["values"]) == 4
    powers = np.exp(first["mood"]["logits"]["values"])
    np.testing.assert_allclose(powers / powers.sum(), list(first["mood"]["probabilities"].values()), atol=1e-4)

    # A row's own labels stay its own: the teacher's take their place only where there are none.
    own = {"words": rows[0]["words"], "mood": "neg", "marks": ["B-THING", "O", "O", "O"], "topics": ["food", "x"]}
    told = braid.load(teacher.directory)(own, logits=True).to_json()
    assert (told["mood"]["label"], told["marks"]["tags"], told["topics"]["labels"]) == (
        "neg",
        own["marks"],
        own["topics"],
    )
    assert told["mood"]["logits"] == first["mood"]["logits"]
    # Numbers too, and spans, which become a tag for each word as the logits are.
    more = {"words": rows[0]["words"], "grade": 4.5, "marks": [{"start": 4, "end": 8, "label": "THING"}]}
    both = braid.load(teacher.directory)(more, logits=True).to_json()
    assert both["grade"]["value"] == 4.5
    assert both["grade"]["logits"] == pytest.approx(first["grade"]["value"], abs=1e-4)
    assert both["marks"]["tags"] == ["O", "B-THING", "O", "O"]
    cut = {"words": rows[0]["words"], "marks": ["O", "O"]}
    with pytest.raises(BraidError, match="task 'marks': the row's own label cannot be kept: 2 tags for 4 words"):
        braid.load(teacher.directory)(cut, logits=True)
    alone = {"words": rows[0]["words"], "label": "neg"}
    assert braid.load(teacher.directory)(alone, ["mood"], logits=True).to_json()["mood"]["label"] == "neg"

    student = braid.train(recipe(tmp_path / "student", taught, epochs=30), say=lambda message: None)
    model, original = braid.load(student.directory), braid.load(teacher.directory)
    assert model.tasks["mood"].facts["soft"]
    for row in rows[:6]:
        learned, taught_by = model({"words": row["words"]}), original({"words": row["words"]})
        apart = learned["mood"].probabilities["pos"] - taught_by["mood"].probabilities["pos"]
        assert abs(apart) < 0.15
        assert learned["marks"].tags == taught_by["marks"].tags
    report = braid.check(recipe(tmp_path / "again", taught))
    assert report.ok, report.errors


def test_inputs_of_one_query_stay_in_one_chunk() -> None:
    rows = [Example("a"), *(Example("q", str(k), query="q") for k in range(4)), Example("q", "x", query="r")]
    assert [len(chunk) for chunk in chunked(rows, 2)] == [5, 1]
    assert [len(chunk) for chunk in chunked(rows[:1] * 5, 2)] == [2, 2, 1]
