"""Exported directories: complete, checked, refused where they would not be as good as the run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import braid
from braid.errors import BraidError, RunDirectoryError
from braid.export.exporting import export
from braid.export.graph import EMBEDDING, INPUTS
from braid.export.model import ExportedModel
from braid.export.parity import TOLERANCE

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

TEXTS = [
    "visit to Paris was good in week 3",
    "visit to 北京 was awful in week 44, and then it was great",
    "Rome",
    "",
    "a " * 60 + "Rome",
]


@pytest.fixture(scope="module")
def exported(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "small"
    export(small_run, out=folder)
    return folder


def test_it_predicts_what_the_run_predicts(small_run: Path, exported: Path) -> None:
    ours, theirs = braid.load(small_run, precision="fp32"), braid.load(exported)
    for one, other in zip(ours(TEXTS), theirs(TEXTS), strict=True):
        assert one["mood"].label == other["mood"].label
        assert one["mood"].probabilities == pytest.approx(other["mood"].probabilities, abs=TOLERANCE)
        assert one["places"].tags == other["places"].tags
        assert [(span.start, span.end, span.text) for span in one["places"].spans] == [
            (span.start, span.end, span.text) for span in other["places"].spans
        ]
        assert one["score"].value == pytest.approx(other["score"].value, abs=1e-3)


def test_all_tasks_come_from_one_run_of_the_graph(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = braid.load(exported)
    session = model.session  # type: ignore[attr-defined]
    runs: list[list[str]] = []
    plain = session.run
    monkeypatch.setattr(session, "run", lambda inputs, outputs: runs.append(list(outputs)) or plain(inputs, outputs))
    assert set(model("a good week in Rome")) == {"mood", "places", "score"}
    assert [sorted(outputs) for outputs in runs] == [["mood", "places", "score"]]


def test_one_text_is_predicted_alike_alone_and_among_longer_ones(exported: Path) -> None:
    model = braid.load(exported)
    together = model(TEXTS)
    for text, among in zip(TEXTS, together, strict=True):
        alone = model(text)
        assert alone["places"].tags == among["places"].tags
        assert alone["mood"].probabilities == pytest.approx(among["mood"].probabilities, abs=1e-5)


def test_figures_are_those_of_the_run(small_run: Path, exported: Path) -> None:
    ours, theirs = braid.load(small_run, precision="fp32").evaluate("test"), braid.load(exported).evaluate("test")
    for task, scores in ours.items():
        assert theirs[task] == pytest.approx(scores, abs=1e-4)


def test_the_manifest_says_what_was_checked(exported: Path) -> None:
    manifest = json.loads((exported / "export.json").read_text())
    assert manifest["answers"] == {"mood": "row", "places": "units", "score": "row"}
    assert manifest["tasks"]["mood"] == {"type": "classification", "labels": ["neg", "pos"]}
    assert manifest["inputs"] == list(INPUTS)
    assert manifest["parity"]["places"]["different"] == 0
    assert manifest["parity"]["mood"]["inputs"] > 0
    before, after = manifest["figures"]["before"], manifest["figures"]["after"]
    assert before["mood"] == pytest.approx(after["mood"], abs=1e-6)
    assert not list(exported.glob("encoder")), "the encoder's weights are in the graph alone"


def test_embeddings_are_the_means_of_the_run(small_run: Path, exported: Path) -> None:
    texts = TEXTS[:3]
    ours, theirs = braid.load(small_run, precision="fp32"), braid.load(exported)
    np.testing.assert_allclose(theirs.embed(texts), ours.embed(texts), atol=1e-4)
    calls: list[Any] = [lambda: theirs.embed(texts, layer=1), lambda: theirs.nearest(["one"])]
    calls += [lambda: theirs.network, lambda: theirs.cloze("one"), lambda: theirs.generate("one")]
    for refused in calls:
        with pytest.raises(BraidError, match="use the run itself"):
            refused()
    with pytest.raises(BraidError, match="use the run itself"):
        list(theirs.embed_tokens(texts))


def test_the_graph_runs_without_braid(exported: Path) -> None:
    import onnxruntime
    from transformers import AutoTokenizer

    session = onnxruntime.InferenceSession(str(exported / "model.onnx"))
    given = AutoTokenizer.from_pretrained(exported / "tokenizer")(["a good week in Rome"], return_tensors="np")
    ids = given["input_ids"].astype(np.int64)
    inputs = {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "token_type_ids": np.zeros_like(ids),
        "unit_tokens": np.zeros((1, 1), np.int64),
    }
    logits, vector = session.run(["mood", EMBEDDING], inputs)
    label = braid.load(exported)("a good week in Rome")["mood"].label
    assert ["neg", "pos"][int(logits[0].argmax())] == label
    assert vector.shape == (1, 32)


def test_it_predicts_without_torch(small_run: Path, exported: Path) -> None:
    """In a process of its own: no module of torch, and none of transformers, is loaded on the way."""
    script = """
import json, sys, braid
model = braid.load(sys.argv[1])
results = [result.to_json() for result in model(json.loads(sys.argv[2]))]
vectors = model.embed(["Rome", "a good week"])
loaded = sorted({name.partition(".")[0] for name in sys.modules} & {"torch", "transformers", "sklearn", "onnxscript"})
print(json.dumps({"results": results, "size": vectors.shape, "loaded": loaded}))
"""
    command = [sys.executable, "-c", script, str(exported), json.dumps(TEXTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["loaded"] == []
    assert found["size"] == [2, 32]
    for one, other in zip(braid.load(small_run, precision="fp32")(TEXTS), found["results"], strict=True):
        assert other["mood"] == {
            "label": one["mood"].label,
            "probabilities": pytest.approx(one["mood"].probabilities, abs=TOLERANCE),
        }
        assert other["places"]["tags"] == one["places"].tags
        assert other["score"]["value"] == pytest.approx(one["score"].value, abs=1e-3)


def test_the_command_predicts_without_torch(exported: Path) -> None:
    """Nor does the command line bring it in; a torch that cannot be imported is never missed."""
    script = "import sys; sys.modules['torch'] = None; from braid.cli import main; main()"
    command = [sys.executable, "-c", script, "predict", str(exported), "--tasks", "mood"]
    done = subprocess.run(command, input="a good week in Rome\n", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["mood"] == braid.load(exported)("a good week in Rome")["mood"].to_json()


def test_a_torch_program_predicts_the_same(small_run: Path, tmp_path: Path) -> None:
    export(small_run, to="torch", out=tmp_path / "program", tasks=["mood"])
    ours, theirs = braid.load(small_run, precision="fp32"), braid.load(tmp_path / "program", trusted=True)
    with pytest.raises(BraidError, match=r"can run code.*trusted=True"):
        braid.load(tmp_path / "program")
    assert set(theirs.tasks) == {"mood"}
    for one, other in zip(ours(TEXTS, ["mood"]), theirs(TEXTS), strict=True):
        assert one["mood"].probabilities == pytest.approx(other["mood"].probabilities, abs=TOLERANCE)
    manifest = json.loads((tmp_path / "program" / "export.json").read_text())
    assert manifest["inputs"] == list(INPUTS[:3]), "no task answers by unit"
    from typer.testing import CliRunner

    from braid.cli import app

    done = CliRunner().invoke(app, ["evaluate", str(tmp_path / "program"), "--json"])
    assert "--trust" in str(done.exception)
    done = CliRunner().invoke(app, ["evaluate", str(tmp_path / "program"), "--trust", "--json"])
    assert json.loads(done.stdout) == {"mood": pytest.approx(ours.evaluate("test")["mood"], abs=1e-4)}


def test_int8_reports_every_figure(small_run: Path, tmp_path: Path) -> None:
    found = export(small_run, out=tmp_path / "small8", int8=True, tolerance=1.0)
    assert set(found.falls()) == {"mood", "places", "score"}
    assert json.loads((tmp_path / "small8" / "export.json").read_text())["precision"] == "int8"
    import onnx

    model = onnx.load(str(tmp_path / "small8" / "model.onnx"))
    products = [node for node in model.graph.node if node.op_type == "MatMulInteger"]
    assert len(products) == 2 * 4, "four products of each layer, and none of the heads"
    scales = [tensor for tensor in model.graph.initializer if tensor.name.endswith("qkv.weight.turned_scale")]
    assert scales
    assert all(list(tensor.dims) == [96] for tensor in scales), "a scale for each output"


def test_a_figure_that_falls_too_far_is_refused(
    small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import braid.export.exporting as exporting

    def saying(true: Any, accuracy: float) -> Any:
        def scores(*given: Any, **more: Any) -> Any:
            found = true(*given, **more)
            return {**found, "mood": {**found["mood"], "accuracy": accuracy}}

        return scores

    monkeypatch.setattr(exporting, "evaluate", saying(exporting.evaluate, 1.0))
    monkeypatch.setattr(ExportedModel, "scores", saying(ExportedModel.scores, 0.98))
    with pytest.raises(BraidError, match=r"task 'mood': accuracy on dev was 1\.0000 and is 0\.9800.*--tolerance"):
        export(small_run, out=tmp_path / "bad", int8=True, tolerance=0.005)
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_differs_is_refused_and_the_older_export_stays(
    small_run: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import braid.export.exporting as exporting

    old = tmp_path / "small"
    shutil.copytree(exported, old)
    plain = exporting._write

    def spoilt(graph: object, *given: object, **more: object) -> object:
        head = graph.network.head("mood")  # type: ignore[attr-defined]
        head.classifier.bias.data[0] += 1.0
        opset = plain(graph, *given, **more)  # type: ignore[arg-type]
        head.classifier.bias.data[0] -= 1.0
        return opset

    monkeypatch.setattr(exporting, "_write", spoilt)
    before = (old / "export.json").read_bytes()
    with pytest.raises(BraidError, match=r"task 'mood'.*numbers differ"):
        export(small_run, out=old, tasks=["mood"], overwrite=True)
    assert (old / "export.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def test_the_commands_take_an_exported_directory(exported: Path, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from braid.cli import app

    (tmp_path / "texts.txt").write_text("a good week in Rome\n", encoding="utf-8")
    done = CliRunner().invoke(app, ["predict", str(exported), str(tmp_path / "texts.txt"), "--tasks", "mood"])
    assert json.loads(done.stdout)["mood"] == braid.load(exported)("a good week in Rome")["mood"].to_json()
    done = CliRunner().invoke(app, ["evaluate", str(exported), "--json"])
    assert set(json.loads(done.stdout)) == {"mood", "places", "score"}
    done = CliRunner().invoke(app, ["export", str(exported.parent / "nowhere")])
    assert isinstance(done.exception, RunDirectoryError)
    assert "there is no run directory" in str(done.exception)


def test_what_is_there_is_replaced_only_if_it_may(small_run: Path, exported: Path, tmp_path: Path) -> None:
    with pytest.raises(BraidError, match="--overwrite"):
        export(small_run, out=exported)
    (tmp_path / "mine").mkdir()
    with pytest.raises(BraidError, match="no export"):
        export(small_run, out=tmp_path / "mine", overwrite=True)
    with pytest.raises(BraidError, match="exported already"):
        export(exported, out=tmp_path / "again")
    with pytest.raises(BraidError, match="int8 needs --to onnx"):
        export(small_run, to="torch", int8=True, out=tmp_path / "again")
    with pytest.raises(BraidError, match="'moods'"):
        export(small_run, tasks=["moods"], out=tmp_path / "again")


def edit(path: Path, **change: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: (d / "model.onnx").write_bytes((d / "model.onnx").read_bytes()[:1000]), "model.onnx is damaged"),
        (lambda d: (d / "model.onnx").unlink(), "model.onnx is missing"),
        (lambda d: (d / "export.json").write_text("{}"), "no manifest"),
        (lambda d: (d / "export.json").write_text('{"format": 99}'), "use a later Braid"),
        (lambda d: (d / "export.json").write_text('{"format": 1}'), "export the run again"),
        (lambda d: (d / "tasks" / "mood" / "decoder.json").write_text("{"), "decoder.json cannot be read"),
        (lambda d: edit(d / "tasks" / "mood" / "decoder.json", kind="moods"), "nothing here decodes a moods task"),
        (lambda d: edit(d / "tasks" / "mood" / "decoder.json", options={"labels": 3}), "decodes nothing.*labels"),
        (lambda d: edit(d / "tasks" / "mood" / "decoder.json", encoder_sha256="x"), "another export"),
        (lambda d: (d / "tasks" / "places" / "decoder.safetensors").write_bytes(b"x"), "decoder.safetensors is damag"),
        (lambda d: (d / "tasks" / "places" / "decoder.safetensors").unlink(), "decoder.safetensors is missing"),
        (lambda d: (d / "tasks" / "mood").rename(d / "tasks" / "moods"), "no task 'moods'"),
    ],
)
def test_a_damaged_directory_says_what_is_wrong(exported: Path, tmp_path: Path, change, message: str) -> None:  # type: ignore[no-untyped-def]
    shutil.copytree(exported, tmp_path / "copy")
    change(tmp_path / "copy")
    with pytest.raises(RunDirectoryError, match=message):
        braid.load(tmp_path / "copy")
