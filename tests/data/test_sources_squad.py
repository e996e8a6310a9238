"""SQuAD's JSON and its relatives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from braid.config.families import DataConfig
from braid.data.examples import read_split
from braid.data.sources.squad import Squad
from braid.errors import DataError

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
CONTEXT = "Anna went to Rome."


def write(path: Path, *questions: Any, **more: Any) -> str:
    paragraph = {"context": CONTEXT, "qas": list(questions), **more}
    path.write_text(json.dumps({"version": "1", "data": [{"title": "t", "paragraphs": [paragraph]}]}))
    return str(path)


def question(**more: Any) -> dict[str, Any]:
    return {"id": "q1", "question": "who?", "answers": [{"text": "Anna", "answer_start": 0}], **more}


def found(path: str) -> list[tuple[int, dict[str | int, Any]]]:
    return [(row.line, row.fields) for row in Squad(path=path).rows("train")]


def test_each_question_is_a_row(tmp_path: Path) -> None:
    twice = [{"text": "Rome", "answer_start": 13}] * 2
    path = write(tmp_path / "x.json", question(), question(id=7, question="where?", answers=twice))
    assert found(path) == [
        (1, {"text": "who?", "pair": CONTEXT, "query": "q1", "label": [{"start": 0, "text": "Anna"}]}),
        (2, {"text": "where?", "pair": CONTEXT, "query": "7", "label": [{"start": 13, "text": "Rome"}] * 2}),
    ]


def test_no_answer_is_a_label_and_a_missing_one_is_none(tmp_path: Path) -> None:
    plausible = question(is_impossible=True, plausible_answers=[{"text": "Rome", "answer_start": 13}])
    bare = {"question": "why?"}
    path = write(tmp_path / "x.json", plausible, question(answers=[]), question(answers=None), bare)
    assert [fields.get("label", "missing") for _, fields in found(path)] == [[], [], "missing", "missing"]
    read = read_split(DataConfig.model_validate({"train": path, "source": "squad"}), "train", task="qa", seed=1)
    assert [dict(example.labels) for example in read.examples] == [{"qa": []}, {"qa": []}, {}, {}]
    first = read.examples[0]
    assert (first.text, first.pair, first.query, str(first.place)) == ("who?", CONTEXT, "q1", f"{path}:1")


def test_cmrcs_first_layout(tmp_path: Path) -> None:
    questions = [
        {"query_id": "T_1", "query_text": "who?", "answers": ["Anna"]},
        {"query_id": "T_2", "query_text": "where?", "answers": ["Oslo", "Rome"]},
    ]
    path = tmp_path / "x.json"
    path.write_text(json.dumps([{"context_id": "T", "context_text": CONTEXT, "qas": questions, "title": "t"}]))
    assert found(str(path)) == [
        (1, {"text": "who?", "pair": CONTEXT, "query": "T_1", "label": [{"start": 0, "text": "Anna"}]}),
        (
            2,
            {
                "text": "where?",
                "pair": CONTEXT,
                "query": "T_2",
                "label": [{"start": -1, "text": "Oslo"}, {"start": 13, "text": "Rome"}],
            },
        ),
    ]


@pytest.mark.parametrize(
    ("broken", "what"),
    [
        (question(question=3), ":2: the question of question 2 is no string: 3"),
        (question(answers=[{"text": "Anna"}]), ":2: an answer of question 2 is not {text, answer_start}: {'text': 'A"),
        (question(answers=[{"text": "Anna", "answer_start": "0"}]), ":2: an answer of question 2"),
        (question(answers={"text": "Anna"}), ":2: an answer of question 2"),
        ("who?", ":2: question 2 is no record: 'who?'"),
    ],
)
def test_a_broken_question_is_named_by_its_number(tmp_path: Path, broken: Any, what: str) -> None:
    path = write(tmp_path / "x.json", question(), broken, question())
    with pytest.raises(DataError) as caught:
        found(path)
    assert f"{path}{what}" in str(caught.value)


@pytest.mark.parametrize(
    ("document", "what"),
    [
        ({"version": "1"}, "`data` is no list of records: None"),
        ("text", "`data` is no list of records: 'text'"),
        ([3], "data[0] is no record: 3"),
        ({"data": [{"paragraphs": {}}]}, "`data[0].paragraphs` is no list of records"),
        ({"data": [{"paragraphs": [{"context": "x"}]}]}, "data[0].paragraphs[0] has no list of questions `qas`"),
        ({"data": [{"paragraphs": [{"qas": [question()]}]}]}, "the context of question 1 is no string: None"),
    ],
)
def test_what_stands_around_questions_is_looked_at(tmp_path: Path, document: Any, what: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(document))
    with pytest.raises(DataError) as caught:
        found(str(path))
    assert what in str(caught.value)


def test_what_is_no_json(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"data": [\n {"a": }]}')
    with pytest.raises(DataError, match=r"x\.json:2:8: not JSON"):
        found(str(path))


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"there is no {DATA}")
@pytest.mark.parametrize(
    ("path", "n", "empty", "misplaced"),
    [
        ("cmrc2018/trial.json", 1002, 0, 5),
        ("cmrc2018/dev.json.gz", 3219, 0, 200),
        ("drcd/dev.json.gz", 3524, 0, 0),
        ("xquad/xquad.zh.json", 1190, 0, 0),
        ("squad_dev_rebuilt/dev-v1.1.rebuilt.json.gz", 10570, 0, 0),
        ("squad_dev_rebuilt/dev-v2.0.rebuilt.json.gz", 11873, 5945, 0),
    ],
)
def test_real_files_are_read_whole(path: str, n: int, empty: int, misplaced: int) -> None:
    rows = [fields for _, fields in found(str(DATA / path))]
    assert len(rows) == n
    assert sum(fields["label"] == [] for fields in rows) == empty
    wrong = [
        answer
        for fields in rows
        for answer in fields["label"]
        if answer["start"] < 0 or not fields["pair"].startswith(answer["text"], answer["start"])
    ]
    assert len(wrong) == misplaced
