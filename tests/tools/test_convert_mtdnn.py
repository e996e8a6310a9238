"""`braid convert` of MT-DNN's files: made by hand from published names, compared with transformers and torch."""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from braid.data.packing import pack_ids
from braid.errors import BraidError
from braid.predict.model import Model
from braid.tasks.base import Hidden
from braid.tools.convert import convert
from foreign import ROBERTA, SIZES, ids, randomise, vocabulary

DEFINITION = """
cola:
  data_format: PremiseOnly
  enable_san: false
  task_type: Classification
  n_class: 2
mnli:
  data_format: PremiseAndOneHypothesis
  labels: [contradiction, neutral, entailment]
  task_type: Classification
  n_class: 3
stsb:
  data_format: PremiseAndOneHypothesis
  task_type: Regression
  n_class: 1
ner:
  data_format: Seqence
  labels: [O, B-PER, I-PER]
  task_type: SeqenceLabeling
  n_class: 3
squad:
  data_format: MRC
  task_type: Span
  n_class: 2
"""
CLASSES = {"cola": 2, "mnli": 3, "stsb": 1, "ner": 3, "squad": 2}


def drawn(*size: int) -> Tensor:
    return 0.2 * torch.randn(size, generator=torch.Generator().manual_seed(2))


def file_of(folder: Path, *, kind: str = "bert", **extra: Any) -> tuple[Path, Any, dict[str, Tensor]]:
    """A `.pt` as MT-DNN's `save` writes it: state and config."""
    torch.manual_seed(1)
    config = transformers.BertConfig(**SIZES) if kind == "bert" else transformers.RobertaConfig(**ROBERTA)
    model = (transformers.BertModel if kind == "bert" else transformers.RobertaModel)(config).eval()
    randomise(model)
    state = {f"bert.{name}": tensor for name, tensor in model.state_dict().items()}
    for number, (_, count) in enumerate(CLASSES.items()):
        state |= {f"scoring_list.{number}.weight": drawn(count, 32), f"scoring_list.{number}.bias": drawn(count)}
    settings = {**config.to_dict(), "encoder_type": 1 if kind == "bert" else 2, "train_datasets": list(CLASSES)}
    settings = {key: value for key, value in settings.items() if isinstance(value, int | float | str | list)}
    torch.save({"state": {**state, **extra}, "optimizer": {"state": {}}, "config": settings}, folder / "model.pt")
    (folder / "tasks.yml").write_text(DEFINITION)
    vocabulary(folder / "vocab.txt")
    return folder / "model.pt", model, {**state, **extra}


def converted(path: Path, out: Path, **more: Any) -> Any:
    given = {"vocab": path.with_name("vocab.txt"), "task_def": path.with_name("tasks.yml")}
    return convert(path, out, **{**given, **more})


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_encoder_and_heads_give_what_transformers_and_torch_give(kind: str, tmp_path: Path) -> None:
    path, reference, state = file_of(tmp_path, kind=kind)
    report = converted(path, tmp_path / "run")
    assert set(report.unmapped) <= {"bert.embeddings.position_ids", "bert.embeddings.token_type_ids"}
    model = Model.load(tmp_path / "run", device="cpu", precision="fp32")
    assert {name: spec.task.type for name, spec in model.tasks.items()} == {
        "cola": "classification",
        "mnli": "classification",
        "stsb": "regression",
        "ner": "tagging",
        "squad": "span",
    }
    assert model.tasks["mnli"].facts["labels"] == ["contradiction", "neutral", "entailment"]
    batch = pack_ids(ids())
    with torch.no_grad():
        last, _ = model.network.encoder(batch)
        expected = [reference(torch.tensor([row])) for row in ids()]
        for out, span in zip(expected, batch, strict=True):
            torch.testing.assert_close(last[span], out.last_hidden_state[0], atol=1e-5, rtol=1e-5)
        pooled = torch.cat([out.pooler_output for out in expected])
        states = torch.cat([out.last_hidden_state[0] for out in expected])
        for number, task in enumerate(CLASSES):
            head: Any = model.network.head(task)
            hidden = Hidden(last=last, batch=batch)
            units = task in ("ner", "squad")
            found = head.classifier(last) if units else head(hidden, torch.arange(3))
            weight, bias = state[f"scoring_list.{number}.weight"], state[f"scoring_list.{number}.bias"]
            logits = (states if units else pooled) @ weight.T + bias
            torch.testing.assert_close(found, logits, atol=1e-5, rtol=1e-5)


def test_heads_with_a_pooler_of_their_own_keep_it(tmp_path: Path) -> None:
    own = {"scoring_list.1.0.dense.weight": drawn(32, 32), "scoring_list.1.0.dense.bias": drawn(32)}
    last = {"scoring_list.1.2.weight": drawn(3, 32), "scoring_list.1.2.bias": drawn(3)}
    path, _, state = file_of(tmp_path, **own, **last)
    state = {
        name: tensor for name, tensor in state.items() if name not in ("scoring_list.1.weight", "scoring_list.1.bias")
    }
    content = torch.load(path, weights_only=True)
    torch.save({**content, "state": state}, path)
    converted(path, tmp_path / "run")
    head: Any = Model.load(tmp_path / "run", device="cpu").network.head("mnli")
    assert torch.equal(head.features.dense.weight, own["scoring_list.1.0.dense.weight"])
    assert torch.equal(head.classifier.bias, last["scoring_list.1.2.bias"])


def test_a_stochastic_answer_network_is_listed_and_the_others_are_converted(tmp_path: Path) -> None:
    path, _, state = file_of(tmp_path)
    del state["scoring_list.1.weight"], state["scoring_list.1.bias"]
    state |= {"scoring_list.1.rnn.weight_ih": drawn(96, 32), "scoring_list.1.classifier.proj.weight": drawn(3, 64)}
    torch.save({"state": state, "config": {"num_attention_heads": 4}}, path)
    report = converted(path, tmp_path / "run")
    left = {name: why for name, why in report.unmapped.items() if name.startswith("scoring_list")}
    assert left.keys() == {"scoring_list.1.rnn.weight_ih", "scoring_list.1.classifier.proj.weight"}
    assert all("task mnli: a stochastic answer network" in why for why in left.values())
    assert "mnli" not in Model.load(tmp_path / "run", device="cpu").tasks


def test_the_order_of_the_heads_must_be_known(tmp_path: Path) -> None:
    path, _, state = file_of(tmp_path)
    torch.save({"state": state, "config": {"num_attention_heads": 4}}, path)
    (tmp_path / "tasks.yml").write_text(DEFINITION + "rte: {task_type: Classification}\n")
    with pytest.raises(BraidError, match=r"has 5 heads, .* found 6 names"):
        converted(path, tmp_path / "run")
    converted(path, tmp_path / "run", tasks=list(CLASSES))
    with pytest.raises(BraidError, match="the definition lacks sst"):
        converted(path, tmp_path / "other", tasks=["sst", "mnli", "stsb", "ner", "squad"])
    with pytest.raises(BraidError, match="the head of mnli has 2 classes, the definition names 3 labels"):
        converted(path, tmp_path / "other", tasks=["mnli", "cola", "stsb", "ner", "squad"])


def test_without_a_definition_the_encoder_is_converted_and_the_heads_are_listed(tmp_path: Path) -> None:
    path, _, _ = file_of(tmp_path)
    report = converted(path, tmp_path / "hf", task_def=None, to="transformers")
    left = [name for name, why in report.unmapped.items() if "--task-def" in why]
    assert len(left) == 2 * len(CLASSES)
    (tmp_path / "tasks.yml").write_text("mnli: 3\n")
    with pytest.raises(BraidError, match="expected MT-DNN's tasks, each with a task_type; wrong: mnli"):
        converted(path, tmp_path / "other")


class TaskType(IntEnum):
    """As MT-DNN keeps in its config."""

    Classification = 1


def test_a_file_with_objects_of_mtdnn_says_which_and_how_to_save_it_without(tmp_path: Path) -> None:
    path, _, state = file_of(tmp_path)
    torch.save({"state": state, "config": {"task_types": [TaskType.Classification]}}, path)
    with pytest.raises(BraidError) as error:
        converted(path, tmp_path / "run")
    assert "holds the Python object" in str(error.value)
    assert "TaskType" in str(error.value)
    assert 'state.get("state", state)' in str(error.value)
    # What the message advises can be read.
    torch.save(dict(state), tmp_path / "new.pt")
    report = convert(tmp_path / "new.pt", tmp_path / "run", vocab=tmp_path / "vocab.txt")
    assert "num_attention_heads" in report.missing
