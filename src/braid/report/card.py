"""The model card: `README.md` of a run directory, with the metadata that the Hugging Face hub reads."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from braid.checkpoint.files import read_mapping, write_bytes
from braid.config.families import TaskConfig
from braid.errors import BraidError
from braid.report.blocks import number
from braid.report.record import Record, read_record

CARD = "README.md"
LABELS = 40
"""Labels of a task that are named."""

HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)?")


def write_card(directory: Path) -> Path:
    """Write the card of a finished run. Raises RunDirectoryError for what is none."""
    path = directory / CARD
    write_bytes(path, card(read_record(directory)).encode("utf-8", "backslashreplace"))
    return path


def card(record: Record) -> str:
    """The card as Markdown: front matter, tasks with labels and figures, how to load, data with hashes, training,
    recipe."""
    parts = [
        f"---\n{_front_matter(record)}\n---\n\n# {record.name}",
        _tasks(record),
        _figures(record),
        _loading(record),
        _training(record),
        _data(record),
        _fenced(record.recipe_text, "yaml", "## Recipe"),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def hub_task(record: Record, task: str) -> str:
    """What the hub calls a task; nothing for types that it, or we, do not know."""
    try:
        return str(getattr(TaskConfig.lookup(record.task_type(task)), "hub_task", ""))
    except BraidError:
        return ""


def base_model(record: Record) -> str | None:
    """The hub id of what training started from, where it was one."""
    pretrained = (record.recipe.get("encoder") or {}).get("pretrained")
    if not isinstance(pretrained, str) or not HUB_ID.fullmatch(pretrained) or Path(pretrained).exists():
        return None
    return pretrained


def _front_matter(record: Record) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    tasks = record.task_names()
    kinds = list(dict.fromkeys(kind for task in tasks if (kind := hub_task(record, task))))
    results = [
        EvalResult(
            task_type=kind,
            task_name=task,
            dataset_type=task,
            dataset_name=f"{record.name}: {task}",
            dataset_split=split,
            metric_type=metric,
            metric_value=value,
        )
        for task in tasks
        if (kind := hub_task(record, task))
        for split in ("dev", "test")
        for metric, value in record.scores(split).get(task, {}).items()
    ]
    data = ModelCardData(
        base_model=base_model(record),
        library_name="braid",
        pipeline_tag=kinds[0] if kinds else None,
        tags=["braid", *(["multi-task"] if len(tasks) > 1 else []), *kinds],
        datasets=_hub_datasets(record) or None,
        metrics=list(dict.fromkeys(result.metric_type for result in results)) or None,
        model_name=record.name if results else None,
        eval_results=results or None,
    )
    return data.to_yaml().rstrip()


def _hub_datasets(record: Record) -> list[str]:
    """Hub ids of data sets that the recipe names, wherever they stand in it."""
    found: list[str] = []

    def look(value: Any) -> None:
        if isinstance(value, Mapping):
            if isinstance(value.get("hub"), str):
                found.append(value["hub"])
            for item in value.values():
                look(item)
        elif isinstance(value, list | tuple):
            for item in value:
                look(item)

    for task in (record.recipe.get("tasks") or {}).values():
        look(task.get("data") if isinstance(task, Mapping) else None)
    return list(dict.fromkeys(found))


def _tasks(record: Record) -> str:
    rows = []
    for name in [name for name in record.task_names() if not record.tasks or name in record.tasks]:
        facts = record.tasks.get(name, {}).get("facts", {})
        labels = [str(label) for label in facts.get("labels", [])] if isinstance(facts, Mapping) else []
        shown = ", ".join(labels[:LABELS]) + (f" and {len(labels) - LABELS} more" if len(labels) > LABELS else "")
        rows.append([name, record.task_type(name), shown])
    number_ = len(rows)
    heads = f"{number_} tasks in one pass" if number_ != 1 else "one task"
    intro = f"One text encoder that does {heads}, trained with Braid."
    return f"{intro}\n\n## Tasks\n\n{_table(['task', 'type', 'labels'], rows)}"


def _figures(record: Record) -> str:
    splits = [split for split in ("dev", "test") if record.scores(split)]
    rows = []
    for task in record.task_names():
        found = [record.scores(split).get(task, {}) for split in splits]
        for metric in dict.fromkeys(name for scores in found for name in scores):
            rows.append([task, metric, *(number(scores.get(metric)) for scores in found)])
    if not rows:
        return "## Figures\n\nThe model was not evaluated: its recipe names no dev or test data."
    best = (record.metrics or {}).get("train", {}).get("best") or {}
    note = f"\n\nThe weights are those of step {best['step']:,}, the best on dev." if best.get("step") else ""
    return f"## Figures\n\n{_table(['task', 'metric', *splits], rows)}{note}"


def _loading(record: Record) -> str:
    parts = [
        "## How to load it",
        "All tasks, with Braid:",
        '```python\nimport braid\n\nmodel = braid.load("PATH")  # the folder of this file\n'
        'result = model("some text")\nresult.to_json()  # what every task says that can read it\n```',
    ]
    if _in_transformers(record):
        parts += [
            "The encoder alone, with transformers:",
            "```python\nfrom transformers import AutoModel, AutoTokenizer\n\n"
            'encoder = AutoModel.from_pretrained("PATH/encoder")\n'
            'tokenizer = AutoTokenizer.from_pretrained("PATH/encoder")\n```',
        ]
    parts += [
        "Without PyTorch's modules, with ONNX Runtime: `braid export PATH --to onnx --out EXPORTED` writes encoder and "
        "heads as a graph. `braid.load` runs it with the same results, and so can anything that runs ONNX:",
        '```python\nimport onnxruntime\n\nsession = onnxruntime.InferenceSession("EXPORTED/model.onnx")\n'
        "[tensor.name for tensor in session.get_inputs()]\n```",
    ]
    return "\n\n".join(parts)


def _in_transformers(record: Record) -> bool:
    """Whether transformers can load the encoder by itself."""
    path = record.directory / "encoder" / "config.json"
    if not path.is_file():
        return False
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return read_mapping(path).get("model_type") in CONFIG_MAPPING_NAMES


def _training(record: Record) -> str:
    found = (record.metrics or {}).get("train", {})
    encoder = record.recipe.get("encoder") or {}
    start = encoder.get("pretrained") or "random weights"
    versions = record.environment.get("versions", {})
    lines = [
        ("chain", f"`{record.recipe['chain']}`" if record.recipe.get("chain") else ""),
        ("encoder", _text(f"{encoder.get('type', '')} from {start}") if encoder else ""),
        ("steps", number(found["steps"]) if "steps" in found else ""),
        ("tokens", number(found["tokens"]) if "tokens" in found else ""),
        ("minutes", number(found["seconds"] / 60, 1) if "seconds" in found else ""),
        ("seed", str(record.environment.get("seed", ""))),
        ("date", str(record.environment.get("date", ""))),
        ("versions", ", ".join(f"{key} {value}" for key, value in {**_braid(record), **versions}.items())),
    ]
    return "## Training\n\n" + "\n".join(f"- {key}: {value}" for key, value in lines if value)


def _braid(record: Record) -> dict[str, str]:
    return {"braid": str(record.environment["braid"])} if "braid" in record.environment else {}


def _data(record: Record) -> str:
    parts = []
    rows = [
        [
            " & ".join(group["tasks"]),
            split,
            number(found["examples"]),
            number(found["tokens"]),
            number(found["truncated"]),
        ]
        for group in record.data.get("groups", [])
        for split, found in group["splits"].items()
    ]
    if rows:
        parts.append(_table(["tasks", "split", "examples", "tokens", "cut"], rows))
    hashes = record.environment.get("data_sha256") or {}
    if hashes:
        # Names of files, not of the folders of somebody's machine.
        parts.append(_table(["file", "sha256"], [[PurePath(path).name, f"`{sha}`"] for path, sha in hashes.items()]))
    return "## Data\n\n" + "\n\n".join(parts) if parts else ""


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *([_text(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(text: str) -> str:
    """Text that Markdown shows as it is: no markup, one line. What stands in backticks stays."""
    if re.fullmatch(r"`[0-9a-f]+`", text):
        return text
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]|#])", r"\\\1", " ".join(escaped.split()))


def _fenced(text: str, language: str, title: str) -> str:
    """A block of code whose fence no line of the text can close."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{title}\n\n{fence}{language}\n{text.rstrip()}\n{fence}" if text else ""
