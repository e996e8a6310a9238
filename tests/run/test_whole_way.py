"""From a recipe to predictions, through Python and through the command line."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from typer.testing import CliRunner

import braid
from braid.cli import app
from braid.config.recipe import Recipe
from braid.errors import BraidError, DataError, RunDirectoryError

Recipes = Callable[..., dict[str, Any]]


def command(*arguments: str, text: str | None = None, timeout: int = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "braid", *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def test_every_task_is_learned(small_run: Path) -> None:
    metrics = json.loads((small_run / "metrics.json").read_text())
    assert metrics["test"]["mood"]["accuracy"] > 0.9
    assert metrics["test"]["places"]["f1"] > 0.9
    assert metrics["test"]["score"]["pearson"] > 0.9
    assert list(metrics["test"]["mood"]) == ["accuracy", "macro_f1", "micro_f1", "mcc"]
    assert metrics["train"]["tokens_per_second"] > 0


def test_the_run_directory_is_as_designed(small_run: Path) -> None:
    found = {path.name for path in small_run.iterdir()}
    assert found >= {"encoder", "tasks", "recipe.yaml", "environment.json", "metrics.json", "metrics.jsonl", "best"}
    assert {path.name for path in (small_run / "tasks").iterdir()} == {"mood", "places", "score"}
    task = json.loads((small_run / "tasks" / "mood" / "task.json").read_text())
    assert task["type"] == "classification"
    assert task["facts"]["labels"] == ["neg", "pos"]
    environment = json.loads((small_run / "environment.json").read_text())
    assert environment["seed"] == 1
    assert len(environment["data_sha256"]) == 3
    lines = [json.loads(line) for line in (small_run / "metrics.jsonl").read_text().splitlines()]
    assert any("loss" in line for line in lines)
    assert any("dev" in line for line in lines)
    assert not list(small_run.rglob("*.bin")) + list(small_run.rglob("*.pt")) + list(small_run.rglob("*.pkl"))


def test_transformers_reads_encoder_and_tokenizer(small_run: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(small_run / "encoder")
    model = transformers.AutoModel.from_pretrained(small_run / "encoder").eval()
    ours = braid.load(small_run, precision="fp32")
    text = "visit to 北京 was good in week 3"
    with torch.no_grad():
        states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
    np.testing.assert_allclose(ours.embed([text])[0], states.mean(dim=0).numpy(), atol=1e-5)


def test_typed_results_point_into_the_users_string(small_run: Path) -> None:
    model = braid.load(small_run)
    result = model("visit to 上海 was great in week 8")
    assert result["mood"].label == "pos"
    assert sum(result["mood"].probabilities.values()) == pytest.approx(1.0, abs=1e-3)
    (span,) = result["places"].spans
    assert (span.text, span.label) == ("上海", "PLACE")
    assert result.text[span.start : span.end] == "上海"
    assert 0 < span.score <= 1
    assert isinstance(result["score"].value, float)
    json.dumps(result.to_json())


def test_lists_tasks_and_rows(small_run: Path) -> None:
    model = braid.load(small_run)
    texts = ["visit to Rome was bad in week 1", "visit to Paris was fine in week 2"]
    together = model(texts)
    assert [result["mood"].label for result in together] == ["neg", "pos"]
    only = model(texts, tasks=["mood"])
    assert list(only[0]) == ["mood"]
    assert model(["a", ("a", "b"), {"text": "a"}, {"words": ["a", "b"]}])[3].words == ("a", "b")
    assert model([]) == []
    with pytest.raises(BraidError, match="did you mean 'mood'"):
        model("x", tasks=["moods"])
    with pytest.raises(BraidError, match="cannot predict on int"):
        model([3])


def test_one_pass_equals_each_alone(small_run: Path) -> None:
    model = braid.load(small_run, precision="fp32")
    texts = [f"visit to Rome was {'good' if k % 3 else 'bad'} in week {k} " + "really " * (k % 7) for k in range(40)]
    together = model(texts)
    for text, result in zip(texts, together, strict=True):
        alone = model(text)
        assert alone["mood"].label == result["mood"].label
        assert alone["mood"].probabilities == pytest.approx(result["mood"].probabilities, abs=1e-4)
        assert alone["places"].tags == result["places"].tags


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\n",
        "\x00",
        "\ud800 lone",
        "🙂" * 50,
        "ｆｕｌｌ　ｗｉｄｔｈ",
        "a" * 100_000,
        "北京" * 50_000,
        "[SEP] [MASK]",
    ],
)
def test_odd_texts_give_clean_results(small_run: Path, text: str) -> None:
    result = braid.load(small_run)(text)
    assert result.text == text
    assert result["mood"].label in ("pos", "neg")
    for span in result["places"].spans:
        assert result.text[span.start : span.end] == span.text


def test_data_that_changed_since_training_is_named(small_run: Path, tmp_path: Path) -> None:
    model = braid.load(small_run)
    assert repr(model).startswith(f"<Model {small_run}: mood (classification)")
    assert model.changed_files("test") == []
    dev = Path(json.loads((small_run / "environment.json").read_text())["data_sha256"].popitem()[0]).with_name(
        "dev.jsonl"
    )
    before = dev.read_text(encoding="utf-8")
    dev.write_text(before + before.splitlines()[0] + "\n", encoding="utf-8")
    try:
        assert model.changed_files("dev") == [str(dev)]
        done = CliRunner().invoke(app, ["evaluate", str(small_run), "--split", "dev"])
        assert f"{dev} is no longer what it was when this run was trained" in done.output
    finally:
        dev.write_text(before, encoding="utf-8")


def test_evaluate_gives_the_figures_of_training(small_run: Path) -> None:
    metrics = json.loads((small_run / "metrics.json").read_text())
    found = braid.evaluate(small_run, "test", precision="fp32")
    for task, figures in metrics["test"].items():
        assert found[task] == pytest.approx(figures, abs=1e-4)


def test_streaming_reads_no_further_than_it_must(small_run: Path) -> None:
    model = braid.load(small_run)
    taken = []

    def endless() -> Any:
        for k in range(10**9):
            taken.append(k)
            yield f"visit {k}"

    results = model.stream(endless(), chunk=8)
    for _ in range(3):
        next(results)
    assert len(taken) == 8


def test_commands(small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    runner = CliRunner()
    shown = runner.invoke(app, ["evaluate", str(small_run), "--split", "dev", "--json"])
    assert set(json.loads(shown.stdout)) == {"mood", "places", "score"}
    file = tmp_path / "in.jsonl"
    file.write_text(
        '{"text": "visit to Rome was bad in week 5", "id": 7}\n{"words": ["visit", "Paris"]}\n', encoding="utf-8"
    )
    out = tmp_path / "out.jsonl"
    done = runner.invoke(app, ["predict", str(small_run), str(file), "--tasks", "mood,places", "-o", str(out)])
    assert done.exit_code == 0
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert lines[0]["mood"]["label"] == "neg"
    assert lines[0]["places"]["spans"][0]["text"] == "Rome"
    assert "score" not in lines[0]
    assert lines[1]["words"] == ["visit", "Paris"]
    listed = json.loads(runner.invoke(app, ["list", "--json"]).stdout)
    assert {row[0] for row in listed["tasks"]} >= {"classification", "regression", "tagging"}
    schema = json.loads(runner.invoke(app, ["schema"]).stdout)
    assert "tasks" in schema["properties"]


def test_standard_input_to_output_in_order(small_run: Path) -> None:
    texts = "".join(f"visit to Rome was {('good', 'bad')[k % 2]} in week {k}\n" for k in range(30)) + "\n"
    done = command("predict", str(small_run), "--tasks", "mood", text=texts)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["text"] for line in lines] == texts.split("\n")[:31]


def test_wrong_input_ends_with_code_2_and_no_traceback(small_run: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"text": "fine"}\n{"text": \n', encoding="utf-8")
    cases = [
        (["predict", str(tmp_path / "nowhere"), "-"], "no run directory"),
        (["predict", str(small_run), str(broken)], f"{broken}:2"),
        (["predict", str(small_run), str(tmp_path / "nofile.txt")], "nofile.txt"),
        (["predict", str(small_run), "--tasks", "mod"], "did you mean 'mood'"),
        (["train", str(tmp_path / "no.yaml")], "no.yaml"),
        (["list", "task"], "did you mean 'tasks'"),
        (["evaluate", str(small_run), "--split", "tset"], "use train, dev or test"),
    ]
    for arguments, expected in cases:
        done = command(*arguments, text="x\n")
        assert done.returncode == 2, (arguments, done.stderr)
        assert expected in done.stderr, (arguments, done.stderr)
        assert "Traceback" not in done.stderr


def test_a_run_is_not_overwritten_unasked(recipe_of: Recipes) -> None:
    recipe = Recipe(**{**recipe_of(), "train": {"max_steps": 2, "precision": "fp32"}})
    run = braid.train(recipe, say=lambda message: None)
    before = (run.directory / "metrics.json").read_bytes()
    with pytest.raises(RunDirectoryError, match="already holds a finished run"):
        braid.train(recipe, say=lambda message: None)
    assert (run.directory / "metrics.json").read_bytes() == before
    with pytest.raises(RunDirectoryError, match="nothing to resume"):
        braid.train(recipe, resume=True, say=lambda message: None)
    braid.train(recipe, overwrite=True, say=lambda message: None)


def test_a_run_is_the_same_every_time(recipe_of: Recipes, tmp_path: Path) -> None:
    hashes = []
    for name in ("a", "b"):
        recipe = Recipe(**{**recipe_of(), "out": str(tmp_path / name), "train": {"max_steps": 6, "precision": "fp32"}})
        braid.train(recipe, say=lambda message: None)
        hashes.append((tmp_path / name / "encoder" / "model.safetensors").read_bytes())
    assert hashes[0] == hashes[1]


def test_dev_is_not_measured_again_after_training(recipe_of: Recipes, monkeypatch: pytest.MonkeyPatch) -> None:
    import braid.run.train as module

    plain, seen = module.evaluate, []

    def counting(model: Any, groups: Any, **options: Any) -> Any:
        seen.append(groups[0].examples[0].place.file)
        return plain(model, groups, **options)

    monkeypatch.setattr(module, "evaluate", counting)
    given = recipe_of()
    given["train"] |= {"epochs": 3}
    run = braid.train(braid.Recipe(**given))
    assert [Path(path).name for path in seen] == ["test.jsonl"]
    best = json.loads((run.directory / "best").read_text(encoding="utf-8"))
    lines = [json.loads(line) for line in (run.directory / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert run.scores("dev") == next(line["dev"] for line in lines if "dev" in line and line["step"] == best["step"])
    for task, figures in braid.evaluate(run.directory, "dev", precision="fp32").items():
        assert run.scores("dev")[task] == pytest.approx(figures, abs=1e-4)


def test_a_run_can_be_the_start_of_another(small_run: Path, recipe_of: Recipes, tmp_path: Path) -> None:
    data = recipe_of()
    data["encoder"] = {"pretrained": str(small_run), "max_length": 32}
    data["train"] = {"max_steps": 3, "lr": 1e-3, "precision": "fp32", "freeze": {"encoder": True}}
    run = braid.train(Recipe(**data), say=lambda message: None)
    ours = (run.directory / "encoder" / "model.safetensors").read_bytes()
    assert ours == (small_run / "encoder" / "model.safetensors").read_bytes(), "a frozen encoder does not move"


def test_heads_move_between_runs_of_one_encoder_only(small_run: Path, recipe_of: Recipes, tmp_path: Path) -> None:
    import shutil

    data = recipe_of()
    data["train"] = {"max_steps": 3, "precision": "fp32"}
    run = braid.train(Recipe(**data), say=lambda message: None)
    copy = tmp_path / "copy"
    shutil.copytree(small_run, copy)
    shutil.rmtree(copy / "tasks" / "score")
    assert list(braid.load(copy).tasks) == ["mood", "places"]
    shutil.copytree(run.directory / "tasks" / "score", copy / "tasks" / "score")
    with pytest.raises(RunDirectoryError, match="trained on another encoder"):
        braid.load(copy)
    assert "score" in braid.load(copy, force=True).tasks


def test_damaged_runs_are_named(small_run: Path, tmp_path: Path) -> None:
    import shutil

    def damaged(change: Callable[[Path], Any]) -> Path:
        copy = tmp_path / "damaged"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(small_run, copy)
        change(copy)
        return copy

    cases: list[tuple[Callable[[Path], Any], str]] = [
        (lambda p: (p / "encoder" / "config.json").unlink(), "config.json"),
        (lambda p: (p / "encoder" / "model.safetensors").write_bytes(b"x" * 100), "safetensors"),
        (lambda p: (p / "tasks" / "mood" / "head.safetensors").write_bytes(b""), "safetensors"),
        (lambda p: (p / "tasks" / "mood" / "task.json").write_text("{"), "task.json"),
        (lambda p: (p / "tasks" / "mood" / "task.json").write_text("[]"), "task.json"),
        (lambda p: (p / "encoder" / "tokenizer.json").write_text("{}"), "tokenizer.json"),
        (lambda p: (p / "encoder" / "braid.json").write_text("{}"), "max_length"),
        (lambda p: shutil.rmtree(p / "encoder"), "encoder"),
    ]
    for change, expected in cases:
        with pytest.raises(BraidError, match=expected):
            braid.load(damaged(change))


@pytest.mark.parametrize(
    ("row", "task", "expected"),
    [
        ({"text": "x", "mood": ["a"]}, "mood", "train.jsonl:49"),
        ({"text": "x", "score": "high"}, "score", "train.jsonl:49"),
        ({"text": "x", "score": float("nan")}, "score", "train.jsonl:49"),
        ({"text": "x", "places": ["O", "O", "O"]}, "places", "train.jsonl:49"),
        ({"text": "x", "places": [{"start": 0, "end": 9, "label": "P"}]}, "places", "train.jsonl:49"),
    ],
)
def test_bad_labels_are_named_before_training(
    recipe_of: Recipes, tmp_path: Path, row: dict[str, Any], task: str, expected: str
) -> None:
    data = recipe_of()
    with open(tmp_path / "train.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    with pytest.raises(DataError) as caught:
        braid.train(Recipe(**data), say=lambda message: None)
    assert expected in str(caught.value)
    assert task in str(caught.value)
    assert not (tmp_path / "run" / "encoder").exists()


def test_tasks_that_share_no_input_cannot_be_joined(recipe_of: Recipes, tmp_path: Path) -> None:
    from conftest_rows import write_other  # type: ignore[import-not-found]

    data = recipe_of()
    data["tasks"]["mood"]["data"] = {"train": str(write_other(tmp_path))}
    with pytest.raises(DataError, match=r"\|"):
        braid.train(Recipe(**data), say=lambda message: None)


def test_an_interrupted_run_resumes(recipe_of: Recipes, tmp_path: Path) -> None:
    import os
    import signal
    import time

    data = recipe_of()
    data["train"] |= {"epochs": 400, "max_steps": 3000}
    recipe = Recipe(**data)
    recipe.save(tmp_path / "r.yaml")
    process = subprocess.Popen(
        [sys.executable, "-m", "braid", "train", str(tmp_path / "r.yaml")], stderr=subprocess.PIPE, text=True
    )
    log = tmp_path / "run" / "metrics.jsonl"
    for _ in range(600):
        if log.is_file() and log.read_text():
            break
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "--resume" in errors
    assert list((tmp_path / "run" / "state").glob("step-*"))
    with pytest.raises(RunDirectoryError, match="--resume"):
        braid.train(recipe, say=lambda message: None)
    changed = Recipe(**{**data, "seed": 2})
    with pytest.raises(RunDirectoryError, match="another recipe or other data"):
        braid.train(changed, resume=True, say=lambda message: None)


def test_help_needs_no_heavy_imports() -> None:
    heavy = ("torch", "transformers", "pyarrow", "pydantic")
    code = f"import sys, braid.cli; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_check_reports_without_training(recipe_of: Recipes, tmp_path: Path) -> None:
    data = recipe_of()
    leaked = json.loads((tmp_path / "train.jsonl").read_text().splitlines()[0])
    with open(tmp_path / "test.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps({**leaked, "mood": "meh"}, ensure_ascii=False) + "\n")
        file.write('{"text": ""}\n')
    report = braid.check(Recipe(**data))
    assert report.ok
    assert report.labels["mood"]["train"] == {"pos": 24, "neg": 24}
    what = {(finding.task, finding.split, finding.what.split(",")[0]): finding for finding in report.findings}
    assert ("mood", "test", "labels never seen in training") in what
    leak = next(f for f in report.findings if "training data" in f.what and f.split == "test")
    assert leak.severe
    assert "test.jsonl:17 = " in leak.places[0]
    assert any("empty text" in f.what for f in report.findings)
    assert report.plan["rows_by_group_in_first_epoch"] == {"mood & places": 48, "score": 48}
    assert report.memory["total"] > 0
    assert not (tmp_path / "run").exists()
    json.dumps(report.to_json())


def test_standard_input_is_decoded_strictly(monkeypatch: pytest.MonkeyPatch) -> None:
    from braid.predict.inputs import read_inputs

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"fine\n\xff\xfe\n")))
    with pytest.raises(DataError, match="standard input:2"):
        list(read_inputs("-"))


def test_predictions_never_cost_a_file(small_run: Path, tmp_path: Path) -> None:
    rows = '{"text": "visit to Rome was good"}\n'
    given, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    given.write_text(rows)
    out.write_text("old\n")
    refused = command("predict", str(small_run), str(given), "-o", str(given))
    assert refused.returncode == 2
    assert "is the file that is read" in refused.stderr
    assert given.read_text() == rows
    for arguments in (
        (str(tmp_path / "nothing.jsonl"), "-o", str(out)),
        (str(given), "-o", str(tmp_path / "no" / "x")),
    ):
        failed = command("predict", str(small_run), *arguments)
        assert failed.returncode == 2, failed.stderr
        assert "Traceback" not in failed.stderr
    assert out.read_text() == "old\n"
    given.write_text(rows + '{"words": 3}\n')
    assert command("predict", str(small_run), str(given), "-o", str(out)).returncode == 2
    assert out.read_text() == "old\n"
    given.write_text(rows)
    assert command("predict", str(small_run), str(given), "-o", str(out)).returncode == 0
    assert json.loads(out.read_text())["text"] == "visit to Rome was good"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "rows.jsonl"]
