"""The report of a run: one file, everything escaped, for every type of task and every state of a run."""

from __future__ import annotations

import json
import re
import shutil
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import braid
from braid.cli import app
from braid.config.families import TaskConfig
from braid.errors import BraidError
from braid.report.page import report
from braid.tasks.base import LabelledTask

pytest.importorskip("matplotlib")

SIZES: dict[str, Any] = {"hidden_size": 32, "layers": 1, "heads": 2, "intermediate_size": 64, "max_length": 24}
TYPES = {name: kind for name, kind in TaskConfig.variants().items() if issubclass(kind, LabelledTask)}
NASTY = "<script>alert(1)</script> & \"so\" 'on'"


class Reader(HTMLParser):
    """What a page holds: its elements with their attributes, and the text of each kind of element."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "path", "use", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and data.strip():
            self.texts.setdefault(self.open[-1], []).append(data.strip())


def read(page: Path) -> Reader:
    reader = Reader()
    reader.feed(page.read_text(encoding="utf-8"))
    return reader


def sections(reader: Reader) -> list[str]:
    return [str(attributes["id"]) for tag, attributes in reader.elements if tag == "section"]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def all_types(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one task of every type, and of one that makes its own targets."""
    folder = tmp_path_factory.mktemp("types")
    tasks: dict[str, Any] = {}
    for kind in TYPES:
        path = write_rows(folder / f"{kind}.jsonl", TYPES[kind].specimens(8))
        tasks[f"a_{kind}"] = {"type": kind, "data": dict.fromkeys(("train", "dev"), path)}
    corpus = folder / "corpus.txt"
    corpus.write_text("".join(f"Anna saw {k} cups. Bo saw {k + 1}.\n" for k in range(12)), encoding="utf-8")
    tasks["a_mlm"] = {"type": "mlm", "data": dict.fromkeys(("train", "dev"), str(corpus))}
    recipe = braid.Recipe(
        name="types",
        out=str(folder / "run"),
        cache=None,
        encoder=SIZES,
        tasks=tasks,
        train={"epochs": 1, "batch_tokens": 512, "precision": "fp32", "log_every": 1},
    )
    braid.train(recipe, say=lambda message: None)
    return folder / "run"


@pytest.fixture(scope="module")
def page_of_all(all_types: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report(all_types, output=tmp_path_factory.mktemp("page") / "all.html")


@pytest.fixture(scope="module")
def moods(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose texts and labels are markup and Chinese."""
    folder = tmp_path_factory.mktemp("moods")
    labels = ("<b>好</b>", "差&坏")
    rows = [{"text": f"{NASTY} 第{k}天很{'好' if k % 2 else '差'}", "mood": labels[k % 2]} for k in range(24)]
    path = write_rows(folder / "rows.jsonl", rows)
    recipe = braid.Recipe(
        name="moods",
        out=str(folder / "run"),
        cache=None,
        encoder={**SIZES, "max_length": 12},
        tasks={"mood": {"type": "classification", "data": dict.fromkeys(("train", "dev", "test"), path)}},
        train={"epochs": 2, "batch_tokens": 128, "precision": "fp32", "log_every": 1},
    )
    braid.train(recipe, say=lambda message: None)
    return folder / "run"


def test_a_report_of_every_type_holds_every_section(page_of_all: Path) -> None:
    page = read(page_of_all)
    assert sections(page) == [
        *("overview", "scores", "curves", "classes", "calibration", "hardest"),
        *("lengths", "mixture", "speed", "environment", "recipe"),
    ]
    assert {f"a_{kind}" for kind in TYPES} <= set(page.texts["h3"])
    assert "a_mlm" in page.texts["h3"]
    assert not [text for text in page.texts["p"] if "Nothing was predicted" in text]


def test_a_page_asks_for_nothing_from_elsewhere(page_of_all: Path) -> None:
    for tag, attributes in read(page_of_all).elements:
        assert tag not in ("script", "link", "img", "iframe", "object", "embed"), tag
        for name in ("src", "href"):
            assert not attributes.get(name) or str(attributes[name]).startswith("#"), attributes
    text = page_of_all.read_text(encoding="utf-8")
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)


def test_ids_on_a_page_are_unique_and_every_reference_has_its_target(page_of_all: Path) -> None:
    ids = [str(attributes["id"]) for _, attributes in read(page_of_all).elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    text = page_of_all.read_text(encoding="utf-8")
    targets = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text))
    assert targets
    assert targets <= set(ids)


def test_markup_in_texts_and_labels_is_shown_and_never_read(moods: Path, tmp_path: Path) -> None:
    page = read(report(moods, output=tmp_path / "moods.html", examples=30))
    assert "script" not in dict(page.elements)
    assert "b" not in dict(page.elements)
    assert "<b>好</b>" in page.texts["th"]
    assert "差&坏" in page.texts["th"]


def test_cut_texts_are_counted_by_split(moods: Path, tmp_path: Path) -> None:
    facts = json.loads((moods / "data.json").read_text(encoding="utf-8"))
    train = facts["groups"][0]["splits"]["train"]
    assert facts["max_length"] == train["longest"] == 12
    assert train["truncated"] == train["examples"] == train["rows"] == sum(train["counts"]) == 24
    assert train["labels"] == {"mood": {"差&坏": 12, "<b>好</b>": 12}}
    page = read(report(moods, output=tmp_path / "moods.html"))
    assert "100.0 %" in page.texts["td"]


def test_the_mixture_is_what_the_steps_held(all_types: Path) -> None:
    lines = [json.loads(line) for line in (all_types / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = [line["rows"] for line in lines if "rows" in line]
    assert len(rows) > 1
    for before, after in pairwise(rows):
        assert all(before[task] <= after[task] for task in before)
    facts = json.loads((all_types / "data.json").read_text(encoding="utf-8"))
    there = {task: n for group in facts["groups"] for task, n in group["splits"]["train"]["targets"].items()}
    assert set(there) == set(rows[-1])
    assert rows[-1] == there  # one epoch: each row once


def test_two_runs_stand_side_by_side_with_their_differences(moods: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(moods, other)
    recipe = (other / "recipe.yaml").read_text(encoding="utf-8")
    (other / "recipe.yaml").write_text(recipe.replace("seed: 1", "seed: 2"), encoding="utf-8")
    path = report(moods, other)
    assert path == moods / "report-with-other.html"
    page = read(path)
    assert page.texts["title"] == ["run and other · Braid report"]
    assert "+0.0000" in page.texts["td"]
    assert "seed" in page.texts["td"]
    assert "Both recipes are the same." not in page.texts["p"]
    path.unlink()


def test_runs_in_folders_of_one_name_are_told_apart_by_the_folders_above(moods: Path, tmp_path: Path) -> None:
    shutil.copytree(moods, tmp_path / "second" / "run")
    page = read(report(moods, tmp_path / "second" / "run", output=tmp_path / "two.html"))
    assert "second/run" in page.texts["h1"][0]
    assert f"{moods.parent.name}/run" in page.texts["h1"][0]


def test_without_its_data_a_run_still_has_a_report_that_says_so(moods: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(moods, copy)
    recipe = (copy / "recipe.yaml").read_text(encoding="utf-8")
    (copy / "recipe.yaml").write_text(recipe.replace("rows.jsonl", "gone.jsonl"), encoding="utf-8")
    page = read(report(copy))
    assert not {"classes", "calibration", "hardest"} & set(sections(page))
    assert {"scores", "curves", "lengths", "mixture"} <= set(sections(page))
    assert [text for text in page.texts["p"] if "Nothing was predicted" in text and "gone.jsonl" in text]


def test_an_unfinished_run_shows_what_there_is(moods: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(moods, copy)
    for name in ("encoder", "tasks"):
        shutil.rmtree(copy / name)
    (copy / "metrics.json").unlink()
    (copy / "best").unlink()
    log = (copy / "metrics.jsonl").read_bytes()
    (copy / "metrics.jsonl").write_bytes(log + b'{"step": 99, "lo')
    page = read(report(copy))
    text = " ".join([*page.texts["p"], *page.texts["td"]])
    assert "not finished; the log ends at step" in text
    assert "no weights yet" in text
    assert "1 damaged lines of metrics.jsonl are left out" in text


def test_examples_0_leaves_all_texts_out(moods: Path, tmp_path: Path) -> None:
    path = report(moods, output=tmp_path / "none.html", examples=0)
    assert "hardest" not in sections(read(path))
    assert "alert(1)" not in path.read_text(encoding="utf-8")


def test_the_command_writes_into_the_run_and_says_where(moods: Path) -> None:
    done = CliRunner().invoke(app, ["report", str(moods), "--split", "test"])
    assert done.exit_code == 0, done.output
    assert "report.html" in done.stderr
    assert "of the test split (24 rows)" in (moods / "report.html").read_text(encoding="utf-8")


def test_what_cannot_be_written_is_said_before_a_model_judges(
    moods: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("braid.report.page.view_of", lambda *args, **options: pytest.fail("it judges"))
    (tmp_path / "file").touch()
    for output, message in ((tmp_path, "is a folder"), (tmp_path / "file" / "x" / "page.html", "file is a file")):
        with pytest.raises(BraidError, match=message):
            report(moods, output=output)
    with pytest.raises(BraidError, match="there is no run directory"):
        report(moods, tmp_path / "nowhere")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(BraidError, match=r"braid-nlp\[report\]"):
        report(moods)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BraidError, match="no run directory"):
        report(tmp_path)
    with pytest.raises(BraidError, match="there is no run directory"):
        report(tmp_path / "nowhere")


def test_a_page_is_the_same_whenever_it_is_written(moods: Path, tmp_path: Path) -> None:
    first = report(moods, output=tmp_path / "a.html").read_bytes()
    assert report(moods, output=tmp_path / "b.html").read_bytes() == first
