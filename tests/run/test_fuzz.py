"""Mangled input: a small helping of what `benchmarks/fuzz.py` does by the ten thousand."""

from __future__ import annotations

import importlib.util
import json
import random
import sys
from pathlib import Path
from types import ModuleType

import pytest

import braid
from braid.data.patience import check_patience
from braid.data.vocabularies import load_tokenizer
from braid.errors import BraidError, RunDirectoryError

FUZZ = Path(__file__).resolve().parents[2] / "benchmarks" / "fuzz.py"


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    spec = importlib.util.spec_from_file_location("braid_benchmark_fuzz", FUZZ)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def run(fuzz: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fuzz._trained(tmp_path_factory.mktemp("run"))


def test_every_outcome_is_a_result_or_an_error_of_ours(fuzz: ModuleType, tmp_path: Path) -> None:
    found = fuzz.fuzz(400, 7, tmp_path)
    kept = {path.name: (path / "TRACEBACK").read_text() for path in tmp_path.iterdir()}
    assert not kept
    assert found["tracebacks"] == found["over 10 s"] == 0
    assert found["results"] > 40, "some damage does no harm"
    assert found["errors"] > 40


def test_what_is_mangled_was_sound(fuzz: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "mangled", lambda content, chance: content)
    monkeypatch.setattr(fuzz, "_edited", lambda content, chance: None)
    made = fuzz.Fuzz(tmp_path, 1, None)
    every, chance = list(made.files), random.Random(0)
    for case in every:
        made.files, made.chance = [case], chance
        folder = tmp_path / "case"
        folder.mkdir(exist_ok=True)
        made._data(folder)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("encoder/config.json", {"num_hidden_layers": 10**9}, "layers 1,000,000,000"),
        ("encoder/config.json", {"vocab_size": 10**12}, "vocabulary"),
        ("encoder/config.json", {"max_position_embeddings": 10**9}, "do not fit"),
        ("encoder/braid.json", {"max_length": 10**9}, "max_length 1,000,000,000 is more than"),
        ("tasks/topic/task.json", {"type": "../../evil"}, "there is no task type"),
        ("tasks/topic/task.json", {"facts": {"labels": 5}}, "labels must be a list of strings"),
        ("tasks/topic/task.json", {"facts": []}, "must be mappings"),
    ],
)
def test_a_run_of_a_stranger_is_refused(
    run: Path, tmp_path: Path, name: str, change: dict[str, object], message: str
) -> None:
    import shutil

    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    content = json.loads((copy / name).read_text())
    (copy / name).write_text(json.dumps({**content, **change}))
    with pytest.raises(BraidError, match=message):
        braid.load(str(copy))


def changed_tokenizer(run: Path, tmp_path: Path, **change: object) -> Path:
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    content = json.loads((run / "encoder" / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps({**content, **change}))
    return folder


@pytest.mark.parametrize("pattern", ["(a+)+$", "((a|b)|(a|b))*$"])
def test_a_pattern_that_never_ends_is_refused(run: Path, tmp_path: Path, pattern: str) -> None:
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    with pytest.raises(BraidError, match=r"the tokenizer failed on a text|take more than 5 seconds"):
        load_tokenizer(changed_tokenizer(run, tmp_path, pre_tokenizer=split))


def test_an_id_out_of_all_proportion_is_refused(run: Path, tmp_path: Path) -> None:
    model = json.loads((run / "encoder" / "tokenizer.json").read_text())["model"]
    vocabulary = {**model["vocab"], "far": 10**8}
    with pytest.raises(BraidError, match="it has an id 100,000,000 though it has only"):
        load_tokenizer(changed_tokenizer(run, tmp_path, model={**model, "vocab": vocabulary}))


def test_usual_tokenizers_are_patient(run: Path, minilm: Path) -> None:
    for folder in (run / "encoder", minilm):
        check_patience(load_tokenizer(folder).rust, folder)


def test_pickled_weights_are_not_read(run: Path, tmp_path: Path) -> None:
    import pickle
    import shutil

    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / "encoder" / "model.safetensors").unlink()
    (copy / "encoder" / "pytorch_model.bin").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises((BraidError, RunDirectoryError), match="can run code and are not loaded"):
        braid.load(str(copy))
