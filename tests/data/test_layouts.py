"""How inputs become rows for tasks that read them in parts, and which rows stay in one batch."""

from __future__ import annotations

import numpy as np
import pytest

from braid.data.bundles import bundle
from braid.data.example import Example, Window
from braid.data.groups import GroupData, drawn_rows
from braid.data.prepare import prepare
from braid.data.tokens import Tokenizer
from braid.data.vocabularies import train_wordpiece
from braid.data.windows import WindowOptions, common_layout, tokenise, units_of
from braid.errors import BraidError

TEXTS = ["who sat on the mat ?", "the cat sat on the mat", "我们在北京的大学学习", "a cat", "a dog"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_wordpiece(TEXTS * 5, size=200, lowercase=True)


def rows_of(example: Example, tokenizer: Tokenizer, **options: object) -> list[Window]:
    return next(tokenise([example], tokenizer, WindowOptions(**{"max_length": 32, "stride": 8, **options})))  # type: ignore[arg-type]


def text_of(tokenizer: Tokenizer, ids: np.ndarray) -> str:
    return str(tokenizer.rust.decode(ids.tolist(), skip_special_tokens=False))


def test_each_option_is_the_pair_of_a_row(tokenizer: Tokenizer) -> None:
    example = Example("the cat sat", "who sat", options=("a cat", "a dog", "我们"))
    rows = rows_of(example, tokenizer, layout="options")
    assert [row.number for row in rows] == [0, 1, 2]
    for row, option in zip(rows, ("who sat a cat", "who sat a dog", "who sat 我们"), strict=True):
        alone = rows_of(Example("the cat sat", option), tokenizer)[0]
        assert row.ids.tolist() == alone.ids.tolist()


def test_parts_stand_alone_and_a_lacking_pair_is_the_text_again(tokenizer: Tokenizer) -> None:
    rows = rows_of(Example("a cat", "a dog", options=("the mat",)), tokenizer, layout="separate")
    assert [row.ids.tolist() for row in rows] == [
        rows_of(Example(text), tokenizer)[0].ids.tolist() for text in ("a cat", "a dog", "the mat")
    ]
    twice = rows_of(Example("a cat"), tokenizer, layout="separate")
    assert len(twice) == 2
    assert twice[0].ids.tolist() == twice[1].ids.tolist()


@pytest.mark.parametrize("length", [3, 40, 400])
def test_windows_of_a_pair_each_begin_with_the_text(tokenizer: Tokenizer, length: int) -> None:
    example = Example("who sat on the mat ?", " ".join(["the cat sat on 北京"] * length))
    rows = rows_of(example, tokenizer, layout="pair_windows", units="pair")
    begin = [*tokenizer.template.prefix, *rows_of(Example(example.text), tokenizer)[0].ids[1:-1]]
    assert all(row.ids[: len(begin)].tolist() == begin for row in rows)
    units = units_of(example, "pair")
    owned = [unit for row in rows for unit in range(row.first_unit, row.last_unit)]
    assert owned == list(range(len(units)))
    for row in rows:
        assert len(row.ids) <= 32
        for unit, token in enumerate(row.unit_tokens.tolist(), row.first_unit):
            assert row.segments[token] == 1
            assert row.offsets[token, 0] == units[unit, 0]


def test_a_long_question_is_cut_so_that_its_context_has_room(tokenizer: Tokenizer) -> None:
    rows = rows_of(Example("the cat " * 40, "a dog " * 40), tokenizer, layout="pair_windows", units="pair")
    assert all(row.truncated for row in rows)
    assert all((row.segments == 1).sum() >= 14 for row in rows)


def test_units_beyond_the_cut_of_a_joint_row_are_owned_by_nobody(tokenizer: Tokenizer) -> None:
    (row,) = rows_of(Example("the cat " * 40), tokenizer, units="words", max_length=16)
    assert row.last_unit == 14
    assert len(set(row.unit_tokens.tolist())) == 14


def test_bundles_keep_examples_or_queries_together(tokenizer: Tokenizer) -> None:
    examples = [Example("q1", "a"), Example("q2", "b"), Example("q1", "c"), Example("x", "d", query="q2")]
    rows = prepare(examples, tokenizer, WindowOptions(max_length=32, stride=8), cache=None)
    found = bundle(examples, rows, "query")
    assert found is not None
    assert [found[k] for k in range(len(found))] == [[0, 2], [1], [3]]
    assert found.lengths.tolist() == [int(rows.lengths[found[k]].sum()) for k in range(3)]
    assert bundle(examples, rows, "row") is None
    apart = prepare(examples, tokenizer, WindowOptions(max_length=32, stride=8, layout="separate"), cache=None)
    parts = bundle(examples, apart, "example")
    assert parts is not None
    assert [parts[k] for k in range(4)] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    group = GroupData(("t",), examples, apart, "none", bundles=parts)
    assert sorted(drawn_rows([group], [(0, 2), (0, 0)])) == [(0, 0), (0, 1), (0, 4), (0, 5)]


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        ([("joint", "none"), ("windows", "words")], ("windows", "words")),
        ([("windows", "words"), ("joint", "characters")], ("windows", "characters")),
        ([("joint", "none"), ("pair_windows", "pair")], ("pair_windows", "pair")),
        ([("options", "none"), ("options", "none")], ("options", "none")),
    ],
)
def test_tasks_that_can_share_rows(tasks: list[tuple[str, str]], expected: tuple[str, str]) -> None:
    assert common_layout(dict(zip("ab", tasks, strict=True))) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "tasks",
    [
        [("joint", "none"), ("options", "none")],
        [("separate", "none"), ("joint", "none")],
        [("windows", "words"), ("pair_windows", "pair")],
        [("joint", "words"), ("pair_windows", "pair")],
    ],
)
def test_tasks_that_need_different_rows_are_told_to_part(tasks: list[tuple[str, str]]) -> None:
    with pytest.raises(BraidError, match=r"`a & b`.*write `a \| b`"):
        common_layout(dict(zip("ab", tasks, strict=True)))  # type: ignore[arg-type]
