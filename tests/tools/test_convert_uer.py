"""`braid convert` of UER-py's files: made by hand from published names, compared with an independent computation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import uer_reference as uer
from braid.data.packing import pack_ids
from braid.errors import BraidError
from braid.predict.model import Model
from braid.tasks.base import Hidden
from braid.tools.convert import convert
from braid.tools.convert.labels import read_labels
from braid.tools.convert.torchfile import load
from foreign import ids, vocabulary, weights

TRANSFORMER = {"hidden_size": 32, "heads_num": 4, "layers_num": 2, "feedforward_size": 48, "encoder": "transformer"}
KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "bert": (uer.bert, {**TRANSFORMER, "emb_size": 32, "mask": "fully_visible", "hidden_act": "gelu"}),
    "albert": (uer.albert, {**TRANSFORMER, "emb_size": 16, "mask": "fully_visible", "hidden_act": "relu"}),
    "gpt": (
        uer.gpt,
        {
            **TRANSFORMER,
            "mask": "causal",
            "layernorm_positioning": "pre",
            "remove_embedding_layernorm": True,
            "hidden_act": "gelu_fast",
        },
    ),
    "lstm": (lambda **o: uer.recurrent("lstm", **o), {"encoder": "lstm", "remove_embedding_layernorm": True}),
    "gru": (lambda **o: uer.recurrent("gru", **o), {"encoder": "gru", "remove_embedding_layernorm": True}),
    "bilstm": (lambda **o: uer.recurrent("bilstm", **o), {"encoder": "bilstm", "remove_embedding_layernorm": True}),
    "bigru": (lambda **o: uer.recurrent("bigru", **o), {"encoder": "bigru", "remove_embedding_layernorm": True}),
    "gatedcnn": (
        lambda **o: uer.gatedcnn(4, 3, **o),
        {"encoder": "gatedcnn", "kernel_size": 3, "block_size": 2, "layers_num": 4, "hidden_size": 32},
    ),
}
HEADS = {
    "bert": ["mlm", "nsp"],
    "albert": ["mlm", "sop"],
    "gpt": ["clm"],
    "lstm": ["clm"],
    "gru": ["clm"],
    "bilstm": ["bilm"],
    "bigru": ["bilm"],
    "gatedcnn": ["clm"],
}


def file_of(folder: Path, kind: str, *, old: bool = False, **extra: Tensor) -> tuple[Path, uer.State, dict[str, Any]]:
    """A `.bin` with its config and vocabulary beside it."""
    make, settings = KINDS[kind]
    state = {**make(old=old), **extra}
    torch.save(state, folder / "model.bin")
    (folder / "model_config.json").write_text(json.dumps(settings))
    vocabulary(folder / "model_vocab.txt")
    return folder / "model.bin", state, settings


def segments(n: int) -> list[int]:
    return [0 if k < n // 2 else 1 for k in range(n)]


def computed(run: Path) -> tuple[Model, Hidden]:
    model = Model.load(run, device="cpu", precision="fp32")
    batch = pack_ids(ids(), [segments(len(row)) for row in ids()])
    with torch.no_grad():
        last, layers = model.network.encoder(batch)
    return model, Hidden(last=last, batch=batch, layers=layers, words=model.network.encoder.word_embeddings)


def references(reference: uer.Reference) -> list[Tensor]:
    """Hidden states of every row. UER-py's segments are one more than Braid's: 0 is padding's."""
    return [
        reference.hidden(torch.tensor(row), torch.tensor([number + 1 for number in segments(len(row))]))
        for row in ids()
    ]


def check(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("old", [True, False], ids=["old names", "new names"])
@pytest.mark.parametrize("kind", list(KINDS))
def test_a_file_of_each_kind_gives_what_an_independent_computation_gives(kind: str, old: bool, tmp_path: Path) -> None:
    path, state, settings = file_of(tmp_path, kind, old=old)
    report = convert(path, tmp_path / "run")
    assert report.unmapped == {}
    assert len(report.mapped) == len(state)
    model, hidden = computed(tmp_path / "run")
    assert sorted(model.tasks) == sorted(HEADS[kind])
    reference = uer.Reference(state, settings)
    rows = references(reference)
    for expected, span in zip(rows, hidden.batch, strict=True):
        check(hidden.last[span], expected)
    every = torch.arange(hidden.batch.n_tokens)
    with torch.no_grad():
        for task in HEADS[kind]:
            head: Any = model.network.head(task)
            if task == "mlm":
                check(head.logits(hidden, every), reference.mlm(torch.cat(rows)))
            elif task in ("nsp", "sop"):
                found = head.classifier(head.features(hidden.last, hidden.batch, torch.arange(3)))
                check(found, torch.stack([reference.pair(row) for row in rows]))
            elif task == "clm":
                check(head.next_logits(hidden.last, hidden.words), reference.lm(torch.cat(rows)))
            else:
                joined = torch.cat(rows)
                for way, half in enumerate(joined.chunk(2, dim=1)):
                    mine = hidden.last.chunk(2, dim=1)[way]
                    check(head.predictor.logits(mine, hidden.words), reference.lm(half))


@pytest.mark.parametrize("kind", ["bert", "albert", "gpt"])
def test_exact_norms_give_what_uer_itself_computes(kind: str, tmp_path: Path) -> None:
    path, state, settings = file_of(tmp_path, kind)
    exact = torch.cat(references(uer.Reference(state, settings, exact=True)))
    for name, exactly in (("copied", False), ("exact", True)):
        convert(path, tmp_path / name, exact_norms=exactly)
        _, hidden = computed(tmp_path / name)
        distance = (hidden.last - exact).abs().max().item()
        assert (distance < 2e-5) == exactly
    convert(tmp_path / "exact", tmp_path / "again.bin", exact_norms=True)
    for name, tensor in load(tmp_path / "again.bin").items():
        used = slice(1, None) if ".seg." in name else slice(None)  # row 0 is padding's
        torch.testing.assert_close(tensor[used], state[name][used], atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_file_comes_back_as_it_was(kind: str, tmp_path: Path) -> None:
    path, state, _ = file_of(tmp_path, kind)
    convert(path, tmp_path / "run")
    report = convert(tmp_path / "run", tmp_path / "again.bin")
    assert report.unmapped == {}
    again = load(tmp_path / "again.bin")
    assert again.keys() == state.keys()
    for name, tensor in state.items():
        if "_b1" in name or "_b." in name:
            assert not again[name].any()  # GatedCNN has two biases a convolution, which are one in Braid
        elif kind == "gatedcnn" and name.endswith(".bias") and "output_layer" not in name:
            second = name.replace("_1.bias", "_b1").replace("conv.", "conv_b.").replace("gate.", "gate_b.")
            assert torch.equal(again[name], tensor + state[second.removesuffix(".bias")].flatten())
        elif "seg." in name:
            assert torch.equal(again[name][1:], tensor[1:])  # row 0 is padding's, which no token reads
        else:
            assert torch.equal(again[name], tensor), name
    assert (tmp_path / "again_vocab.txt").read_text() == (tmp_path / "model_vocab.txt").read_text()


def test_norms_with_torchs_names_are_read_too(tmp_path: Path) -> None:
    """TencentPretrain's `layernorm: normal_torch`, whose norms are those of torch."""
    path, state, settings = file_of(tmp_path, "bert")
    convert(path, tmp_path / "greek")
    greek = {"gamma": "weight", "beta": "bias"}
    renamed = {
        ".".join([*name.split(".")[:-1], greek.get(name.split(".")[-1], name.split(".")[-1])]): tensor
        for name, tensor in state.items()
    }
    torch.save(renamed, path)
    (tmp_path / "model_config.json").write_text(json.dumps({**settings, "layernorm": "normal_torch"}))
    report = convert(path, tmp_path / "torch", exact_norms=True)
    assert not any("norms" in note for note in report.notes)
    for a, b in zip(computed(tmp_path / "greek")[1].layers, computed(tmp_path / "torch")[1].layers, strict=True):
        assert torch.equal(a, b)


def test_the_settings_that_are_written_say_what_uer_needs_to_know(tmp_path: Path) -> None:
    path, _, settings = file_of(tmp_path, "albert")
    (tmp_path / "again_label2id.json").write_text("{}")
    (tmp_path / "again.bin").write_text("an older model")
    convert(path, tmp_path / "run")
    convert(tmp_path / "run", tmp_path / "again.bin", overwrite=True)
    written = json.loads((tmp_path / "again_config.json").read_text())
    expected = {
        **settings,
        "emb_size": 16,
        "max_seq_length": 40,
        "target": ["mlm", "sp"],
        "embedding": ["word", "pos", "seg"],
    }
    expected |= {"factorized_embedding_parameterization": True, "parameter_sharing": True, "tie_weights": False}
    assert {key: written[key] for key in expected} == expected
    assert not (tmp_path / "again_label2id.json").exists()  # it was of the older model


def head_file(folder: Path, **extra: Tensor) -> Path:
    """A fine-tuned file: BERT without its targets, and a head."""
    path, state, _ = file_of(folder, "bert", old=True)
    kept = {name: tensor for name, tensor in state.items() if not name.startswith("target.")}
    torch.save({**kept, **extra}, path)
    return path


def drawn(*size: int) -> Tensor:
    return 0.2 * torch.randn(size, generator=torch.Generator().manual_seed(2))


def test_a_classifier_gives_the_logits_of_its_two_layers(tmp_path: Path) -> None:
    layers = {
        "output_layer_1.weight": drawn(32, 32),
        "output_layer_1.bias": drawn(32),
        "output_layer_2.weight": drawn(3, 32),
        "output_layer_2.bias": drawn(3),
    }
    path = head_file(tmp_path, **layers)
    report = convert(path, tmp_path / "run", labels=["a", "b", "c"])
    assert report.unmapped == {}
    model, hidden = computed(tmp_path / "run")
    reference = uer.Reference({**load(path)}, KINDS["bert"][1])
    with torch.no_grad():
        found = model.network.head("classification")(hidden, torch.arange(3))
    for values, row in zip(found, references(reference), strict=True):
        check(values, reference.linear(torch.tanh(reference.linear(row[0], "output_layer_1")), "output_layer_2"))
    assert "the file does not name its labels; they are called 0 to 2" in " ".join(convert(path, tmp_path / "n").notes)
    convert(tmp_path / "run", tmp_path / "back.bin")
    assert all(torch.equal(load(tmp_path / "back.bin")[name], tensor) for name, tensor in layers.items())


def test_a_tagger_with_a_crf_keeps_its_scores_and_loses_the_tag_of_padding(tmp_path: Path) -> None:
    crf = {"crf.start_transitions": drawn(4), "crf.end_transitions": drawn(4), "crf.transitions": drawn(4, 4)}
    path = head_file(tmp_path, **{"output_layer.weight": drawn(4, 32), "output_layer.bias": drawn(4), **crf})
    (tmp_path / "label2id.json").write_text('{"O": 0, "B-PER": 1, "I-PER": 2}')
    labels = read_labels(str(tmp_path / "label2id.json"))
    report = convert(path, tmp_path / "run", labels=labels)
    assert list(report.unmapped) == ["output_layer, last row"]
    model, hidden = computed(tmp_path / "run")
    head: Any = model.network.head("tagging")
    assert head.labels == ["O", "B-PER", "I-PER"]
    assert torch.equal(head.crf.transitions, crf["crf.transitions"][:3, :3])
    assert torch.equal(head.crf.start, crf["crf.start_transitions"][:3])
    reference = uer.Reference(load(path), KINDS["bert"][1])
    with torch.no_grad():
        check(head.classifier(hidden.last), reference.linear(torch.cat(references(reference)), "output_layer")[:, :3])


def test_a_head_of_two_rows_must_be_named(tmp_path: Path) -> None:
    path = head_file(tmp_path, **{"output_layer.weight": drawn(2, 32), "output_layer.bias": drawn(2)})
    with pytest.raises(BraidError, match="say --task-type tagging"):
        convert(path, tmp_path / "run")
    convert(path, tmp_path / "run", task_type="span")
    assert list(Model.load(tmp_path / "run", device="cpu").tasks) == ["span"]
    with pytest.raises(BraidError, match="output_layer has 2 tags, --labels names 3"):
        convert(path, tmp_path / "other", labels=["a", "b", "c"])


def test_segments_of_padding_are_left_out_and_the_others_are_not_shifted(tmp_path: Path) -> None:
    path, state, _ = file_of(tmp_path, "bert")
    convert(path, tmp_path / "hf", to="transformers")
    found = weights(tmp_path / "hf")["bert.embeddings.token_type_embeddings.weight"]
    assert torch.equal(found, state["embedding.seg.embedding.weight"][1:])


def test_roberta_of_uer_is_read_as_its_script_reads_it(tmp_path: Path) -> None:
    """scripts/convert_xlmroberta_from_uer_to_huggingface.py: row 2 of the segments, and positions from 2 on."""
    segment = torch.cat([torch.zeros(2, 32), drawn(1, 32)])
    path, state, _ = file_of(tmp_path, "bert", **{"embedding.seg.embedding.weight": segment})
    torch.save({name: tensor for name, tensor in state.items() if "target.sp" not in name}, path)
    convert(path, tmp_path / "hf", to="transformers", model_type="roberta")
    found, position = weights(tmp_path / "hf"), state["embedding.pos.embedding.weight"]
    assert torch.equal(found["roberta.embeddings.token_type_embeddings.weight"], segment[2:])
    assert torch.equal(found["roberta.embeddings.position_embeddings.weight"][2:], position[:-2])
    assert torch.equal(found["lm_head.bias"], state["target.mlm.linear_2.bias"])


def test_what_uer_does_not_say_is_named(tmp_path: Path) -> None:
    path, _, _ = file_of(tmp_path, "bert", old=True)
    (tmp_path / "model_config.json").unlink()
    report = convert(path, tmp_path / "run")
    assert set(report.missing) == {"config", "heads_num"}
    assert "taken for 1, heads of 64" in report.missing["heads_num"]


def test_tensors_that_nobody_knows_are_listed(tmp_path: Path) -> None:
    path, _, _ = file_of(tmp_path, "bert", **{"target.clr.weight": torch.ones(2)})
    report = convert(path, tmp_path / "run")
    assert list(report.unmapped) == ["target.clr.weight"]
    assert "not mapped: target.clr.weight: no part of" in "\n".join(report.lines())


def test_encoders_that_braid_does_not_compute_are_refused_with_all_reasons(tmp_path: Path) -> None:
    path, _, settings = file_of(tmp_path, "bert")
    other = {**settings, "relative_position_embedding": True, "layernorm": "t5", "embedding": ["word", "sinusoidalpos"]}
    (tmp_path / "model_config.json").write_text(json.dumps(other))
    with pytest.raises(BraidError) as error:
        convert(path, tmp_path / "run")
    for found in ("relative_position_embedding: True, expected False", "layernorm: 't5'", "'sinusoidalpos'"):
        assert found in str(error.value)
    (tmp_path / "model_config.json").write_text(json.dumps({**settings, "mask": "causal"}))
    with pytest.raises(BraidError, match="GPT of 2018"):
        convert(path, tmp_path / "run")
    assert not (tmp_path / "run").exists()
