"""`braid convert` between transformers' directories, Braid's and UER-py's: nothing changes on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from braid.data.packing import pack_ids
from braid.errors import BraidError
from braid.predict.model import Model
from braid.tools.convert import convert
from foreign import assert_same, ids, transformers_directory, weights

TAGS = {"id2label": {0: "O", 1: "B-PER", 2: "I-PER"}, "label2id": {"O": 0, "B-PER": 1, "I-PER": 2}}
MODELS: list[tuple[str, dict[str, Any]]] = [
    ("BertModel", {}),
    ("BertForPreTraining", {}),
    ("BertForMaskedLM", {}),
    ("BertForSequenceClassification", {"num_labels": 3}),
    ("BertForTokenClassification", TAGS),
    ("BertForQuestionAnswering", {}),
    ("RobertaModel", {}),
    ("RobertaForMaskedLM", {}),
    ("RobertaForSequenceClassification", {"num_labels": 3}),
    ("AlbertModel", {}),
    ("AlbertForPreTraining", {}),
    ("AlbertForMaskedLM", {}),
    ("AlbertForTokenClassification", TAGS),
    ("GPT2Model", {}),
    ("GPT2LMHeadModel", {}),
]
NAMES = [name for name, _ in MODELS]
CASES = pytest.mark.parametrize(("architecture", "more"), MODELS, ids=NAMES)


def asked(architecture: str) -> dict[str, Any]:
    """What UER-py's files do not say."""
    if architecture.endswith("TokenClassification"):
        return {"labels": ["O", "B-PER", "I-PER"]}
    return {"task_type": "span"} if architecture.endswith("QuestionAnswering") else {}


@CASES
@pytest.mark.parametrize("by", ["uer", "braid"])
def test_a_round_trip_is_bitwise_equal(architecture: str, more: dict[str, Any], by: str, tmp_path: Path) -> None:
    transformers_directory(tmp_path / "a", architecture, **more)
    between = tmp_path / ("b.bin" if by == "uer" else "b")
    first = convert(tmp_path / "a", between)
    last = convert(between, tmp_path / "c", to="transformers", **(asked(architecture) if by == "uer" else {}))
    assert {*first.unmapped.values(), *last.unmapped.values()} <= {"computed anew, no weight"}
    assert_same(weights(tmp_path / "c"), weights(tmp_path / "a"))
    before, after = (json.loads((tmp_path / k / "config.json").read_text()) for k in ("a", "c"))
    assert after["architectures"] == [architecture]
    for key in ("layer_norm_eps", "hidden_act", "activation_function", "type_vocab_size", "pad_token_id"):
        assert after.get(key) == before.get(key)


MORE: list[tuple[str, dict[str, Any]]] = [
    ("ElectraForMaskedLM", {}),
    ("ElectraForTokenClassification", TAGS),
    ("DistilBertForMaskedLM", {}),
    ("DistilBertForQuestionAnswering", {}),
    ("BertForNextSentencePrediction", {}),
    ("BertForMultipleChoice", {}),
    ("BertForSequenceClassification", {"num_labels": 3, "problem_type": "multi_label_classification"}),
    ("BertForSequenceClassification", {"num_labels": 1, "problem_type": "regression"}),
]


@pytest.mark.parametrize(("architecture", "more"), MORE)
def test_other_heads_come_back_as_they_were(architecture: str, more: dict[str, Any], tmp_path: Path) -> None:
    transformers_directory(tmp_path / "a", architecture, **more)
    assert convert(tmp_path / "a", tmp_path / "b").unmapped == {}
    convert(tmp_path / "b", tmp_path / "c")
    assert_same(weights(tmp_path / "c"), weights(tmp_path / "a"))
    before, after = (json.loads((tmp_path / k / "config.json").read_text()) for k in ("a", "c"))
    assert after["architectures"] == [architecture]
    assert after.get("problem_type") in (before.get("problem_type"), "single_label_classification")


@pytest.mark.parametrize("stem", ["Bert", "Roberta", "Albert"])
def test_an_output_layer_of_its_own_keeps_the_bias_that_is_added(stem: str, tmp_path: Path) -> None:
    """Untied, transformers has two biases of which it adds one."""
    architecture = f"{stem}ForMaskedLM"
    model = transformers_directory(tmp_path / "a", architecture, tie_word_embeddings=False)
    report = convert(tmp_path / "a", tmp_path / "b")
    assert list(report.unmapped.values()) == ["not added: the output layer has a bias of its own"]
    head, hidden, batch = logits_of(tmp_path / "b", "mlm")
    convert(tmp_path / "b", tmp_path / "c")
    again = getattr(transformers, architecture).from_pretrained(tmp_path / "c").eval()
    with torch.no_grad():
        found = head.logits(hidden, torch.arange(batch.n_tokens))
        for row, span in zip(ids(), batch, strict=True):
            expected = model(torch.tensor([row])).logits
            torch.testing.assert_close(found[span], expected[0], atol=1e-5, rtol=1e-5)
            assert torch.equal(again(torch.tensor([row])).logits, expected)


@CASES
def test_transformers_gives_the_same_of_what_came_back(architecture: str, more: dict[str, Any], tmp_path: Path) -> None:
    model = transformers_directory(tmp_path / "a", architecture, **more)
    convert(tmp_path / "a", tmp_path / "b")
    convert(tmp_path / "b", tmp_path / "c")
    again = getattr(transformers, architecture).from_pretrained(tmp_path / "c").eval()
    for row in ids():
        with torch.no_grad():
            expected, found = (one(torch.tensor([row])).to_tuple() for one in (model, again))
        for a, b in zip(expected, found, strict=True):
            if isinstance(a, torch.Tensor):
                assert torch.equal(a, b)


def logits_of(run: Path, task: str) -> Any:
    """The logits of Braid's own head on every row, by batch."""
    from braid.tasks.base import Hidden

    model = Model.load(run, device="cpu", precision="fp32")
    batch = pack_ids(ids())
    with torch.no_grad():
        last, layers = model.network.encoder(batch)
    hidden = Hidden(last=last, batch=batch, layers=layers, words=model.network.encoder.word_embeddings)
    return model.network.head(task), hidden, batch


@pytest.mark.parametrize("stem", ["Bert", "Roberta", "Albert"])
def test_braid_computes_the_logits_of_a_classifier(stem: str, tmp_path: Path) -> None:
    model = transformers_directory(tmp_path / "a", f"{stem}ForSequenceClassification", num_labels=3)
    convert(tmp_path / "a", tmp_path / "run")
    head, hidden, _ = logits_of(tmp_path / "run", "classification")
    with torch.no_grad():
        found = head(hidden, torch.arange(3))
        for row, values in zip(ids(), found, strict=True):
            torch.testing.assert_close(values[None], model(torch.tensor([row])).logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("stem", ["Bert", "Roberta", "Albert"])
def test_braid_computes_the_logits_of_tags_answers_and_masked_words(stem: str, tmp_path: Path) -> None:
    for ending, task, part in (
        ("TokenClassification", "tagging", "logits"),
        ("QuestionAnswering", "span", "start_logits"),
        ("MaskedLM", "mlm", "logits"),
    ):
        model = transformers_directory(tmp_path / task, f"{stem}For{ending}", **(TAGS if task == "tagging" else {}))
        convert(tmp_path / task, tmp_path / f"{task}-run")
        head, hidden, batch = logits_of(tmp_path / f"{task}-run", task)
        with torch.no_grad():
            if task == "mlm":
                found = head.logits(hidden, torch.arange(batch.n_tokens))
            else:
                found = head.classifier(hidden.last)
            for row, span in zip(ids(), batch, strict=True):
                expected = getattr(model(torch.tensor([row])), part)[0]
                values = found[span] if expected.dim() == 2 else found[span][:, 0]
                torch.testing.assert_close(values, expected, atol=1e-5, rtol=0)


def test_labels_come_along_and_predict(tmp_path: Path) -> None:
    names = {"id2label": {0: "bad", 1: "good"}, "label2id": {"bad": 0, "good": 1}}
    transformers_directory(tmp_path / "a", "BertForSequenceClassification", **names)
    convert(tmp_path / "a", tmp_path / "run")
    result = Model.load(tmp_path / "run", device="cpu")("a b good")
    assert set(result["classification"].probabilities) == {"bad", "good"}
    convert(tmp_path / "a", tmp_path / "named", labels=["no", "yes"])
    result = Model.load(tmp_path / "named", device="cpu")("a b good")
    assert set(result["classification"].probabilities) == {"no", "yes"}
    with pytest.raises(BraidError, match="has 2 classes, --labels names 3"):
        convert(tmp_path / "a", tmp_path / "wrong", labels=["a", "b", "c"])


def test_weights_of_a_pickle_are_read_without_running_it(tmp_path: Path) -> None:
    model = transformers_directory(tmp_path / "a", "BertForMaskedLM")
    (tmp_path / "a" / "model.safetensors").rename(tmp_path / "kept.safetensors")
    torch.save(model.state_dict(), tmp_path / "a" / "pytorch_model.bin")
    report = convert(tmp_path / "a", tmp_path / "run")
    assert report.unmapped == {} or set(report.unmapped.values()) == {"computed anew, no weight"}
    convert(tmp_path / "run", tmp_path / "c")
    found = weights(tmp_path / "c")
    assert torch.equal(found["bert.embeddings.word_embeddings.weight"], model.bert.embeddings.word_embeddings.weight)


def test_a_head_that_braid_does_not_have_is_listed_with_its_names(tmp_path: Path) -> None:
    transformers_directory(tmp_path / "a", "DistilBertForSequenceClassification", num_labels=3)
    report = convert(tmp_path / "a", tmp_path / "run")
    left = {name for name, reason in report.unmapped.items() if "head of another class" in reason}
    assert left == {"classifier.bias", "classifier.weight", "pre_classifier.bias", "pre_classifier.weight"}
    assert "not mapped: classifier.bias, classifier.weight, pre_classifier.bias" in "\n".join(report.lines())


def test_of_several_tasks_one_is_chosen(tmp_path: Path) -> None:
    transformers_directory(tmp_path / "a", "BertForPreTraining")
    convert(tmp_path / "a", tmp_path / "run")
    report = convert(tmp_path / "run", tmp_path / "mlm", tasks=["mlm"])
    assert report.unmapped["tasks/nsp"] == "not asked for"
    assert json.loads((tmp_path / "mlm/config.json").read_text())["architectures"] == ["BertForMaskedLM"]
    with pytest.raises(BraidError, match="no task 'ner'; the model has: mlm, nsp"):
        convert(tmp_path / "run", tmp_path / "ner", tasks=["ner"])


def test_a_classifier_is_told_from_a_tagger_by_its_architecture_or_by_the_user(tmp_path: Path) -> None:
    transformers_directory(tmp_path / "a", "BertForTokenClassification", **TAGS)
    path = tmp_path / "a" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "architectures": None}))
    with pytest.raises(BraidError, match="say --task-type"):
        convert(tmp_path / "a", tmp_path / "run")
    convert(tmp_path / "a", tmp_path / "run", task_type="tagging")
    assert Model.load(tmp_path / "run", device="cpu").tasks["tagging"].facts["scheme"] == "bio"
