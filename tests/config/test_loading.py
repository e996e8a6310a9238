"""Recipes as YAML: what is read, and what is said of files that are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braid.config.loading import dump, read_document, read_text
from braid.errors import RecipeError


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def message(content: str | bytes, name: str = "r.yaml") -> str:
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(RecipeError) as caught:
        read_document(name)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5e-5", 5e-5),
        ("1e3", 1000.0),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("2024-05-01", "2024-05-01"),
        ("012", 12),
        ("10%", "10%"),
        ("~", None),
        ("", None),
        ("a & b | c*2", "a & b | c*2"),
        ("{2024: 1, no: 2, 1.0: 3}", {"2024": 1, "no": 2, "1.0": 3}),
        ("{a: &x {b: 1, c: 2}, d: {<<: *x, b: 3}}", {"a": {"b": 1, "c": 2}, "d": {"c": 2, "b": 3}}),
    ],
)
def test_yaml_1_2_values(text: str, value: Any) -> None:
    assert read_text(text, "x").data == value


def test_every_key_and_item_knows_its_line() -> None:
    lines = read_text("a:\n  b:\n  - 1\n\n  - c: 2\n'd': 3\n", "x").lines
    assert lines == {("a",): 1, ("a", "b"): 2, ("a", "b", 0): 3, ("a", "b", 1): 5, ("a", "b", 1, "c"): 5, ("d",): 6}


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["a", "b", "no", "1", "2024-01-01", "~", "<<", "x y"]), PLAIN, max_size=4))
def test_what_is_dumped_is_read_back(data: dict[str, Any]) -> None:
    assert read_text(dump(data), "x").data == data


def test_a_syntax_error_shows_line_column_and_place() -> None:
    assert message("name: x\ntasks: {a: [1, 2}\n") == (
        "r.yaml:2:17: this is not YAML: expected ',' or ']', but got '}'\n    tasks: {a: [1, 2}\n                    ^"
    )


def test_a_tab_is_named() -> None:
    assert "a tab; YAML indents with spaces" in message("a:\n\tb: 1\n")


def test_all_duplicate_keys_are_named() -> None:
    assert message("a: 1\nb: {c: 1,\n c: 2}\na: 2\n") == (
        "r.yaml:3:2: b.c: key 'c' occurs twice; first in line 2\nr.yaml:4:1: a: key 'a' occurs twice; first in line 1"
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "r.yaml: the file is empty"),
        ("# only a comment\n", "r.yaml: the file is empty"),
        ("- a\n", "r.yaml:1: a recipe is a mapping"),
        ("hello", "r.yaml:1: a recipe is a mapping"),
        ("a: 1\n---\nb: 2\n", "there is a second YAML document"),
        (b"PK\x03\x04\x00\x00", "r.yaml: this is a binary file"),
        ("a: 1\nb: caf\xe9\n".encode("latin-1"), "r.yaml:2: byte e9 is not UTF-8"),
        ("a: &a [*a]\n", "an alias stands inside its own anchor"),
        ("a: !!python/object:os.system {}\n", "tag !!python/object:os.system is not allowed"),
        ("{[1]: 2}", "a key must be text"),
        ("a: " + "[" * 5000, "nested too deeply"),
        ("a: " + "[" * 5000 + "]" * 5000, "nested too deeply"),
        (b"#" * 10_000_001, "more than 10,000,000 bytes"),
    ],
)
def test_what_is_no_recipe(content: str | bytes, expected: str) -> None:
    assert expected in message(content)


def test_an_alias_bomb_is_refused() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    assert "more than 100,000 values" in message(bomb)


def test_a_missing_file_gets_the_nearest_name() -> None:
    Path("recipe.yaml").write_text("a: 1")
    with pytest.raises(RecipeError, match=r"there is no file .*recipee.yml\n    did you mean 'recipe.yaml'\?"):
        read_document("recipee.yml")


def test_a_folder_is_no_recipe() -> None:
    Path("run").mkdir()
    Path("run/recipe.yaml").write_text("a: 1")
    with pytest.raises(RecipeError, match=r"run: this is a folder, not a recipe\n    it holds recipe\.yaml"):
        read_document("run")


def test_a_byte_order_mark_is_skipped() -> None:
    Path("r.yaml").write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_document("r.yaml").data == {"a": 1}
