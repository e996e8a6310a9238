"""Families of variants: registration, choice by type, clashes."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from pydantic import Field, ValidationError

from braid.config.families import DataConfig, SamplerConfig, SourceConfig, TaskConfig
from braid.config.plugins import import_plugin
from braid.config.variant import Config, Variant, file_of
from braid.errors import BraidError, PluginError


class Shape(Variant):
    """A family of this file."""

    family: ClassVar[str] = "shapes"
    default: ClassVar[str | None] = "disc"
    shorthand: ClassVar[str | None] = "type"
    type: str


class Disc(Shape):
    """Round."""

    type: Literal["disc"] = "disc"
    radius: float = Field(default=1.0, gt=0)


class Drawing(Config):
    """Holds shapes."""

    main: Shape
    others: list[Shape] = Field(default_factory=list)


PLUGIN = '''
from typing import Literal
from braid.config.families import SamplerConfig

class Mine(SamplerConfig):
    """Mine."""
    type: Literal["mine_all_mine"] = "mine_all_mine"
    level: int = 3
'''


@pytest.fixture
def clean_registry() -> Iterator[None]:
    """What a test registers or imports is gone after it."""
    SamplerConfig.variants()
    registry, modules = dict(SamplerConfig.registry), set(sys.modules)
    yield
    SamplerConfig.registry.clear()
    SamplerConfig.registry.update(registry)
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def test_a_value_is_chosen_by_type_default_or_shorthand() -> None:
    drawing = Drawing.model_validate({"main": {"radius": 2}, "others": ["disc", {"type": "disc"}, Disc(radius=3)]})
    assert drawing == Drawing(main=Disc(radius=2), others=[Disc(), Disc(), Disc(radius=3)])


def test_a_variant_registered_later_is_found_and_dumped_with_all_its_fields() -> None:
    Drawing.model_validate({"main": "disc"})

    class Box(Shape):
        type: Literal["box"] = "box"
        width: int = 2

    drawing = Drawing.model_validate({"main": "box"})
    assert drawing.model_dump() == {"main": {"type": "box", "width": 2}, "others": []}
    assert Drawing.model_validate_json(drawing.model_dump_json()) == drawing


def test_errors_inside_a_variant_name_no_tag() -> None:
    with pytest.raises(ValidationError) as caught:
        Drawing.model_validate({"main": {"radius": 0}, "others": ["disk"]})
    assert [error["loc"] for error in caught.value.errors()] == [("main", "radius"), ("others", 0, "type")]
    assert "unknown shape type 'disk': did you mean 'disc'?" in str(caught.value)


@pytest.mark.parametrize("value", [True, False])
def test_true_is_no_number(value: bool) -> None:
    with pytest.raises(ValidationError):
        Disc(radius=value)


def test_an_unknown_type_is_looked_up_with_the_nearest_spelling() -> None:
    with pytest.raises(BraidError, match=r"there is no sampler type 'unifrom': did you mean 'uniform'\?"):
        SamplerConfig.lookup("unifrom")


@pytest.mark.usefixtures("clean_registry")
def test_two_variants_with_one_name_are_an_error_that_names_both_files(tmp_path: Path) -> None:
    first, second = tmp_path / "first.py", tmp_path / "second.py"
    for file in (first, second):
        file.write_text(PLUGIN)
    import_plugin(str(first))
    with pytest.raises(PluginError) as caught:
        import_plugin(str(second))
    assert str(caught.value) == f"two samplers are called 'mine_all_mine': {first} and {second}. Rename one of them."
    assert file_of(SamplerConfig.lookup("mine_all_mine")) == str(first)


@pytest.mark.usefixtures("clean_registry")
def test_one_file_imported_by_path_and_as_module_is_no_clash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my_sampler_plugin.py").write_text(PLUGIN)
    import_plugin("my_sampler_plugin.py")
    import_plugin("my_sampler_plugin.py")
    import_plugin("my_sampler_plugin")
    spec = importlib.util.spec_from_file_location("once_more", "my_sampler_plugin.py")
    assert spec is not None
    assert spec.loader is not None
    sys.modules["once_more"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["once_more"])
    assert "mine_all_mine" in SamplerConfig.variants()


@pytest.mark.usefixtures("clean_registry")
def test_a_plugin_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    file.write_text(PLUGIN + "\n1 / 0\n")
    with pytest.raises(
        PluginError, match=r"broken.py cannot be imported: line 10: ZeroDivisionError: division by zero"
    ):
        import_plugin(str(file))
    assert "mine_all_mine" not in SamplerConfig.variants()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module", "there is no module 'no_such_module'"),
        ("nowhere/no_such.py", "there is no file "),
    ],
)
def test_a_plugin_that_is_not_there(name: str, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        import_plugin(name)


@pytest.mark.parametrize(
    ("written", "split", "expected"),
    [
        ("a.tsv", "train", [{"type": "tsv", "path": "a.tsv"}]),
        (["a.tsv", "b.jsonl.gz"], "train", [{"type": "tsv", "path": "a.tsv"}, {"type": "jsonl", "path": "b.jsonl.gz"}]),
        ({"dev": "10%"}, "dev", [{"type": "cut", "share": 0.1}]),
        ({"dev": "7.5 %"}, "dev", [{"type": "cut", "share": 0.075}]),
        ({"test": {"hub": "clue", "name": "tnews"}}, "test", [{"type": "hub", "hub": "clue", "name": "tnews"}]),
        ({"test": {"python": "m:f"}}, "test", [{"type": "python", "python": "m:f"}]),
        ({"test": "x", "source": "conll"}, "test", [{"type": "conll", "path": "x"}]),
        (
            {"test": [{"path": "x.tsv", "header": True}, "y.tsv"], "source": {"header": False}},
            "test",
            [{"type": "tsv", "path": "x.tsv", "header": True}, {"type": "tsv", "path": "y.tsv", "header": False}],
        ),
        ({"dev": "10%", "source": "conll"}, "dev", [{"type": "cut", "share": 0.1}]),
        ({"dev": None}, "dev", []),
    ],
)
def test_every_way_to_write_a_split(written: Any, split: str, expected: list[dict[str, Any]]) -> None:
    data = DataConfig.model_validate(written)
    assert getattr(data, split) == [SourceConfig.lookup(item["type"])(**item) for item in expected]
    assert DataConfig.model_validate(data.model_dump(mode="json")) == data


def test_importing_the_recipe_imports_no_torch() -> None:
    import subprocess

    code = "import sys, braid.config.recipe, braid.config.schema; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_family_knows_its_base() -> None:
    assert TaskConfig.lookup("classification").family_base() is TaskConfig
    assert TaskConfig.kind() == "task type"
