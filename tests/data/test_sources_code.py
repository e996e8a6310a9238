"""Sources that are no files of ours: the hub and Python functions; and that every source is registered."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from braid.config.families import DataConfig, SourceConfig
from braid.data.sources.base import Source
from braid.data.sources.cut import Cut
from braid.data.sources.hub import Hub
from braid.data.sources.python_function import PythonFunction
from braid.errors import DataError

TYPES = (
    "arrow cluener conll conllu csv cut hub json jsonl lines parquet python segmented tsv uer_ner".split()  # noqa: SIM905
)


def error(source: Source, split: str = "train") -> str:
    with pytest.raises(DataError) as caught:
        list(source.rows(split))
    return str(caught.value)


def test_all_sources_are_registered_and_say_what_they_are() -> None:
    variants = SourceConfig.variants()
    assert set(TYPES) <= set(variants)
    assert all(variants[name].__doc__ for name in TYPES)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ("x.tsv", "tsv"), ("x.csv.gz", "csv"), ("x.jsonl", "jsonl"), ("x.json", "json"), ("x.txt", "lines"),
        ("x.conllu.gz", "conllu"), ("x.bmes", "conll"), ("x.pq", "parquet"), ("x.feather", "arrow"), ("10%", "cut"),
        ({"hub": "clue", "name": "tnews"}, "hub"), ({"python": "m:f"}, "python"), ("/", "hub"),
    ],
)  # fmt: skip
def test_a_split_tells_its_source(given: object, kind: str) -> None:
    [source] = DataConfig.model_validate({"train": given}).train
    assert source.type == kind
    assert SourceConfig.lookup(kind).model_validate(source.model_dump()) == source


def test_a_cut_has_no_rows_of_its_own() -> None:
    with pytest.raises(AssertionError):
        Cut(share=0.1).rows("dev")


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    code = (
        "number = 3\n"
        "def rows(split):\n    yield {'text': split, 'label': 1}\n    yield {'text': 'b'}\n"
        "def fails(split):\n    yield {'text': 'a'}\n    raise KeyError('oh')\n"
        "def pairs(split):\n    return [('a', 1)]\n"
        "def nothing(split):\n    pass\n"
    )
    (tmp_path / "rows_of_a_user.py").write_text(code)
    (tmp_path / "broken_of_a_user.py").write_text("1/0")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "rows_of_a_user"
    sys.modules.pop("rows_of_a_user", None)


def test_a_function_yields_rows(module: str) -> None:
    source = PythonFunction(python=f"{module}:rows")
    assert [(row.line, row.fields) for row in source.rows("dev")] == [
        (1, {"text": "dev", "label": 1}),
        (2, {"text": "b"}),
    ]
    assert source.fingerprint("dev") is None


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("rows_of_a_user:fails", "rows_of_a_user:fails:2: the function failed after 1 rows: KeyError: 'oh'"),
        ("rows_of_a_user:pairs", "rows_of_a_user:pairs:1: expected a mapping, found ('a', 1)"),
        ("rows_of_a_user:nothing", "TypeError"),
        ("rows_of_a_user:row", "has no function 'row'\n    did you mean 'rows'?"),
        ("rows_of_a_user:number", "has no function 'number'"),
        ("broken_of_a_user:f", "cannot import 'broken_of_a_user': ZeroDivisionError"),
        ("no_such_module_anywhere:f", "cannot import"),
    ],
)
def test_a_function_that_fails(module: str, name: str, part: str) -> None:
    assert part in error(PythonFunction(python=name))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    datasets = pytest.importorskip("datasets")
    tags = datasets.ClassLabel(names=["O", "B-X"])
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["neg", "pos"]),
            "tags": datasets.Sequence(tags),
        }
    )
    rows = {"text": ["a", "b"], "label": [1, -1], "tags": [[0, 1], []]}
    data = datasets.Dataset.from_dict(rows, features=features)
    path = tmp_path_factory.mktemp("hub") / "saved"
    datasets.DatasetDict({"train": data, "validation": data.select([0])}).save_to_disk(str(path))
    data.save_to_disk(str(path.parent / "one"))
    return str(path)


def test_a_saved_data_set_gives_class_names(saved: str) -> None:
    found = [row.fields for row in Hub(hub=saved).rows("train")]
    assert found == [
        {"text": "a", "label": "pos", "tags": ["O", "B-X"]},
        {"text": "b", "label": None, "tags": []},
    ]
    assert len(list(Hub(hub=saved).rows("dev"))) == 1
    assert len(list(Hub(hub=str(Path(saved).parent / "one")).rows("test"))) == 2


def test_a_missing_split_lists_those_there_are(saved: str) -> None:
    message = error(Hub(hub=saved), "test")
    assert "there is no split 'test', only 'train', 'validation'" in message
    assert "did you mean 'train'?" in error(Hub(hub=saved, split="trian"))


def test_a_directory_given_as_path_is_a_hub_source(saved: str) -> None:
    [source] = DataConfig.model_validate({"train": saved}).train
    assert isinstance(source, Hub)
    assert source.hub == saved


def test_a_folder_of_data_files(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    (tmp_path / "train.jsonl").write_text('{"text": "a", "label": "x"}\n')
    (tmp_path / "dev.jsonl").write_text('{"text": "b", "label": "x"}\n')
    assert [row.fields["text"] for row in Hub(hub=str(tmp_path)).rows("dev")] == ["b"]


def test_an_unreachable_hub_is_said_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    message = error(Hub(hub="nobody/no-such-data-set"))
    assert message.startswith("nobody/no-such-data-set: ")
    assert "HF_HUB_OFFLINE" in message


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "pip install 'braid-nlp[hub]'" in error(Hub(hub="clue"))
