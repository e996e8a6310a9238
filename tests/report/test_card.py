"""The model card that training writes."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from braid.report.card import card
from braid.report.record import Record, read_record


def test_training_writes_a_card_whose_metadata_the_hub_reads(shipped_run: Path) -> None:
    data = ModelCard.load(shipped_run / "README.md").data
    assert data.library_name == "braid"
    assert data.pipeline_tag == "text-classification"
    assert data.tags == ["braid", "multi-task", "text-classification"]
    figures = json.loads((shipped_run / "metrics.json").read_text(encoding="utf-8"))
    told = {(r.task_name, r.dataset_split, r.metric_type): r.metric_value for r in data.eval_results or []}
    assert told == {
        (task, "dev", metric): value for task, scores in figures["dev"].items() for metric, value in scores.items()
    }


def test_a_card_names_tasks_labels_data_and_how_to_load(shipped_run: Path) -> None:
    text = (shipped_run / "README.md").read_text(encoding="utf-8")
    assert "| mood | classification | bad, good\\|&lt;i&gt; |" in text
    sha256 = hashlib.sha256((shipped_run.parent / "rows.jsonl").read_bytes()).hexdigest()
    assert f"| rows.jsonl | `{sha256}` |" in text
    assert "chain: `mood & score`" in text
    assert 'AutoModel.from_pretrained("PATH/encoder")' in text
    assert "onnxruntime.InferenceSession" in text
    assert "```yaml\nname: shipped" in text


def test_the_card_s_code_runs_as_it_stands(shipped_run: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (shipped_run / "README.md").read_text(encoding="utf-8"), re.S)
    names: dict[str, object] = {}
    for block in blocks[:2]:
        exec(compile(block.replace("PATH", str(shipped_run)), "README.md", "exec"), names)
    assert names["result"]["mood"].label in ("bad", "good|<i>")  # type: ignore[index]


def test_an_encoder_that_transformers_does_not_know_is_not_said_to_load_there(
    shipped_run: Path, tmp_path: Path
) -> None:
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "config.json").write_text('{"model_type": "braid_lstm"}', encoding="utf-8")
    assert "transformers" not in card(Record(tmp_path, tasks=read_record(shipped_run).tasks))


@pytest.mark.parametrize(
    ("pretrained", "expected"),
    [
        ("hfl/chinese-macbert-base", "hfl/chinese-macbert-base"),
        ("package:some/model", None),
        ("../runs/a/encoder", None),
    ],
)
def test_the_base_model_is_a_hub_id_or_nothing(pretrained: str, expected: str | None) -> None:
    record = Record(Path("run"), recipe={"name": "x", "encoder": {"type": "bert", "pretrained": pretrained}})
    assert ModelCard(card(record)).data.base_model == expected


def test_data_sets_of_the_hub_are_named() -> None:
    task = {"type": "classification", "data": {"train": [{"type": "hub", "hub": "clue", "name": "tnews"}]}}
    record = Record(Path("run"), recipe={"name": "x", "tasks": {"topic": task}})
    assert ModelCard(card(record)).data.datasets == ["clue"]


def test_a_recipe_with_backticks_cannot_leave_its_block() -> None:
    text = card(Record(Path("run"), recipe_text="name: x\n# ```\n# [out](there)\n"))
    assert text.rstrip().endswith("````")
    assert "````yaml\nname: x\n# ```\n" in text
