"""What a sweep varies."""

from __future__ import annotations

import pytest

from braid.config.axes import full_key, parse_axes
from braid.errors import RecipeError


def test_lists_ranges_and_what_is_fixed() -> None:
    axes = parse_axes(["lr=1e-5,3e-5", "seed=1..3", "train.epochs=2", "tasks.ner.crf=true,false"])
    assert axes.fixed == ("train.epochs=2",)
    assert axes.keys == ["train.lr", "seed", "tasks.ner.crf"]
    assert axes.choices[1].values == ("1", "2", "3")
    assert len(axes.grid) == 12
    assert axes.grid[0] == {"train.lr": "1e-5", "seed": "1", "tasks.ner.crf": "true"}
    assert axes.grid[1] == {"train.lr": "1e-5", "seed": "1", "tasks.ner.crf": "false"}


def test_commas_in_brackets_and_quotes_divide_nothing() -> None:
    axes = parse_axes(["train.best=[a,b],[c]", "chain=a & b | c,a | b & c", "x={p: 1, q: 2},'3,4'"])
    assert [axis.values for axis in axes.choices] == [
        ("[a,b]", "[c]"),
        ("a & b | c", "a | b & c"),
        ("{p: 1, q: 2}", "'3,4'"),
    ]
    assert parse_axes(["train.best=[a,b]", "seed=1,2"]).fixed == ("train.best=[a,b]",)


def test_what_is_drawn() -> None:
    axes = parse_axes(["lr=log(1e-5, 1e-3)", "train.warmup=uniform(0,0.2)", "encoder.layers=int(2,6)", "seed=1,2"])
    assert [(axis.key, axis.kind, axis.low, axis.high) for axis in axes.drawn] == [
        ("train.lr", "log", 1e-5, 1e-3),
        ("train.warmup", "uniform", 0.0, 0.2),
        ("encoder.layers", "int", 2.0, 6.0),
    ]
    assert axes.drawn[0].text(1.23456789e-5) == "1.23457e-05"
    assert axes.drawn[2].text(3.0) == "3"
    corners = list(axes.corners())
    assert len(corners) == 4
    assert corners[0] == {"seed": "1", "train.lr": "1e-05", "train.warmup": "0", "encoder.layers": "2"}
    assert corners[1] == {"seed": "1", "train.lr": "0.001", "train.warmup": "0.2", "encoder.layers": "6"}


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("lr", "train.lr"),
        ("seed", "seed"),
        ("chain", "chain"),
        ("batch_tokens", "train.batch_tokens"),
        ("max_length", "encoder.max_length"),
        ("tasks.ner.lr", "tasks.ner.lr"),
        ("nothing", "nothing"),
    ],
)
def test_short_keys(short: str, full: str) -> None:
    assert full_key(short) == full


def test_all_problems_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        parse_axes(
            [
                "seed=3..1",
                "lr=log(0,1)",
                "train.warmup=uniform(1,0)",
                "encoder.layers=int(1.5,2)",
                "x=1,,2",
                "y=1,1",
                "z=log(a,b)",
                "out=a,b",
                "train.epochs=1,2",
                "epochs=3,4",
            ]
        )
    said = str(caught.value)
    for part in (
        "3..1 is no range",
        "a logarithm needs numbers greater than 0",
        "the first number must be the smaller one",
        "both ends are whole numbers",
        "an empty value between commas",
        "1 is there twice",
        "both ends are numbers",
        "out cannot vary",
        "train.epochs varies twice",
    ):
        assert part in said


def test_something_must_vary() -> None:
    with pytest.raises(RecipeError, match="nothing varies"):
        parse_axes(["train.lr=1e-5"])
    with pytest.raises(RecipeError, match="more than 100,000 points"):
        parse_axes(["seed=1..1000", "train.epochs=1..1000"])
