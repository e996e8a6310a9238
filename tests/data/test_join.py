"""`a & b`: tasks that label the same inputs."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braid.data.example import Example
from braid.data.join import join
from braid.errors import DataError, Place


def row(text: str, task: str | None = None, label: object = 1, **more: object) -> Example:
    return Example(text=text, labels={task: label} if task else {}, **more)  # type: ignore[arg-type]


def test_equal_inputs_carry_both_labels_in_order_of_first_appearance() -> None:
    joined = join({"a": [row("x", "a", 1), row("y", "a", 2)], "b": [row("z", "b", 3), row("y", "b", 4)]})
    assert [(e.text, e.labels) for e in joined.examples] == [("x", {"a": 1}), ("y", {"a": 2, "b": 4}), ("z", {"b": 3})]
    assert joined.overlap == {("a", "b"): 1}


def test_the_kth_copy_of_an_input_meets_the_kth_copy_of_the_other_task() -> None:
    joined = join({"a": [row("x", "a", k) for k in (1, 2)], "b": [row("x", "b", k) for k in (3, 4, 5)]})
    assert [e.labels for e in joined.examples] == [{"a": 1, "b": 3}, {"a": 2, "b": 4}, {"b": 5}]


def test_pair_and_options_are_part_of_the_input() -> None:
    joined = join({"a": [row("x", "a"), row("x", "a", pair="p")], "b": [row("x", "b", pair="p")]})
    assert [sorted(e.labels) for e in joined.examples] == [["a"], ["a", "b"]]
    joined = join({"a": [row("x", "a"), row("x", "a", options=("p", "q"))], "b": [row("x", "b", options=("p", "q"))]})
    assert [sorted(e.labels) for e in joined.examples] == [["a"], ["a", "b"]]


def test_words_are_compared_only_where_both_have_words() -> None:
    joined = join({"a": [row("ab", "a")], "b": [row("ab", "b", words=("a", "b"))]})
    assert [(e.words, sorted(e.labels)) for e in joined.examples] == [(("a", "b"), ["a", "b"])]
    with pytest.raises(DataError):
        join({"a": [row("ab", "a", words=("ab",))], "b": [row("ab", "b", words=("a", "b"))]})


def test_a_row_without_its_label_still_counts_as_the_same_input() -> None:
    joined = join({"a": [row("x", "a")], "b": [row("x")]})
    assert joined.overlap == {("a", "b"): 1}
    assert [e.labels for e in joined.examples] == [{"a": 1}]


def test_no_common_input_is_an_error_that_suggests_the_bar() -> None:
    place = Place(file="b.tsv", line=2)
    with pytest.raises(DataError) as caught:
        join({"a": [row("first of a", "a")], "b": [row("first of b", "b", place=place)]})
    message = str(caught.value)
    for part in ("share none of 1 and 1", "'first of a'", "'first of b' (b.tsv:2)", "write `a | b`"):
        assert part in message


def test_an_empty_task_is_no_error() -> None:
    assert len(join({"a": [row("x", "a")], "b": []}).examples) == 1
    assert join({}).examples == []


texts = st.lists(st.sampled_from("uvwxyz"), max_size=12)


@given(texts, texts, texts)
def test_no_label_is_lost_and_no_input_is_doubled(a: list[str], b: list[str], c: list[str]) -> None:
    per_task = {
        name: [row(text, name, (text, k)) for k, text in enumerate(["shared", *rows])]
        for name, rows in (("a", a), ("b", b), ("c", c))
    }
    joined = join(per_task)
    for name, rows in per_task.items():
        labels = [e.labels[name] for e in joined.examples if name in e.labels]
        assert sorted(labels) == sorted(e.labels[name] for e in rows)
        assert all(e.labels[name][0] == e.text for e in joined.examples if name in e.labels)
    counts = [Counter(e.text for e in rows) for rows in per_task.values()]
    expected = Counter({text: max(count[text] for count in counts) for text in set().union(*counts)})
    assert Counter(e.text for e in joined.examples) == expected


def test_many_copies_of_one_input_are_joined_in_linear_time() -> None:
    n = 20_000
    joined = join({"a": [row("x", "a", k) for k in range(n)], "b": [row("x", "b", k) for k in range(n)]})
    assert joined.overlap == {("a", "b"): n}
