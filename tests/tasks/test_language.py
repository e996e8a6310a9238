"""Pre-training objectives: losses equal transformers' on the same weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import tiny
from braid.config.families import EncoderConfig
from braid.data.batch import Batch
from braid.data.changes import Draw, Drawn, Use
from braid.data.masking import Vocabulary
from braid.data.packing import pack, pack_targets
from braid.encoders.base import Encoder, EncoderVariant
from braid.errors import LabelError
from braid.model.network import BraidModel, TaskSpec
from braid.nn.projection import linear_cross_entropy
from braid.tasks.text import TextFacts, TextTask
from tiny import loss_scales, task_losses

V = 60
SPECIAL = np.arange(V) < 5
VOCABULARY = Vocabulary(mask=4, special=SPECIAL, continues=np.zeros(V, bool), plain=np.flatnonzero(~SPECIAL))
SIZES = {"hidden_size": 32, "layers": 2, "heads": 2, "intermediate_size": 64, "max_positions": 64, "dropout": 0.0}


def encoder_of(kind: str, **options: Any) -> Encoder:
    variant = EncoderConfig.lookup(kind)
    assert issubclass(variant, EncoderVariant)
    return variant.model_validate({"type": kind, **options}).build(vocab_size=V, pad_id=0)


def facts_of(encoder: Encoder, **changes: Any) -> TextFacts:
    vectors = encoder.word_embeddings
    return replace(
        TextFacts(
            vocabulary=VOCABULARY,
            vocab_size=vectors.shape[0],
            embedding_size=vectors.shape[1],
            sees=encoder.sees,
            activation=encoder.activation,
            norm_eps=encoder.norm_eps,
        ),
        **changes,
    )


def task_of(kind: str, **options: Any) -> TextTask:
    found = tiny.task_of(kind, **options)
    assert isinstance(found, TextTask)
    return found


def model_of(encoder: Encoder, *kinds: str, **options: Any) -> BraidModel:
    tasks = {kind: task_of(kind, **options) for kind in kinds}
    text = facts_of(encoder)
    return BraidModel(encoder, {name: TaskSpec(task, task.learn_text(text)) for name, task in tasks.items()}).eval()


def drawn_rows(*kinds: str, pairs: bool = False) -> tuple[Batch, list[Drawn]]:
    """Three rows as the tasks change them, and as they were."""
    rng = np.random.default_rng(0)
    rows = []
    for k, size in enumerate((9, 12, 7)):
        ids = np.concatenate([[2], rng.integers(5, V, size=size - 3), [3], [3]])
        segments = np.concatenate([np.zeros(4, np.int64), np.ones(size - 4, np.int64)]) if pairs else np.zeros(size)
        rows.append(Drawn(ids, segments.astype(np.int64), characters=10.0, pair_label=k % 2 if pairs else None))
    fed, targets = [], {kind: [] for kind in kinds}
    text = facts_of(encoder_of("bert", **SIZES))
    for number, row in enumerate(rows):
        for kind in kinds:
            row, target = task_of(kind).change(text)(row, Use(Draw(seed=1), 0, number))
            assert target is not None
            targets[kind].append(target)
        fed.append(row)
    packed = {
        kind: pack_targets([0, 1, 2], found, count=sum(len(t["labels"]) for t in found))
        for kind, found in targets.items()
    }
    return pack([row.ids for row in fed], [row.segments for row in fed], targets=packed), rows


def rectangle(batch: Batch, values: torch.Tensor, fill: int) -> torch.Tensor:
    out = torch.full((batch.n_rows, batch.max_length), fill, dtype=torch.long)
    for number, span in enumerate(batch):
        out[number, : span.stop - span.start] = values[span]
    return out


def labels_of(batch: Batch, kind: str) -> torch.Tensor:
    """transformers' labels: -100 where nothing is predicted."""
    targets, flat = batch.targets[kind], torch.full((batch.n_tokens,), -100)
    starts = batch.cu_seqlens[:-1].long().repeat_interleave(targets.cu["places"].diff())
    flat[targets.values["places"] + starts] = targets.values["labels"]
    return rectangle(batch, flat, -100)


def step_loss(model: BraidModel, batch: Batch) -> torch.Tensor:
    """What one step of training minimises."""
    losses = task_losses(model, batch, model(batch))
    scales = loss_scales([batch], dict.fromkeys(model.specs, 1.0), "row")
    return torch.stack([losses[name] * scales[name] for name in losses]).sum()


def test_mlm_and_nsp_are_transformers_bert_for_pretraining() -> None:
    from transformers import BertConfig, BertForPreTraining

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=V,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    theirs = BertForPreTraining(config).eval()
    encoder = encoder_of("bert", **SIZES)
    model = model_of(encoder, "nsp", "mlm")
    # Our weights into theirs: encoder by its own layout, heads by name.
    theirs.bert.load_state_dict(encoder.hf_state(), strict=False)
    head, pair = model.head("mlm").predictor, model.head("nsp")  # type: ignore[union-attr]
    for theirs_module, ours_module in (
        (theirs.cls.predictions.transform.dense, head.dense),
        (theirs.cls.predictions.transform.LayerNorm, head.norm),
        (theirs.bert.pooler.dense, pair.features.dense),
        (theirs.cls.seq_relationship, pair.classifier),
    ):
        theirs_module.load_state_dict(ours_module.state_dict())
    with torch.no_grad():
        head.bias.normal_()
        theirs.cls.predictions.bias.copy_(head.bias)
        theirs.cls.predictions.decoder.bias.copy_(head.bias)
    theirs.tie_weights()
    batch, _ = drawn_rows("nsp", "mlm", pairs=True)
    expected = theirs(
        input_ids=rectangle(batch, batch.ids, 0),
        token_type_ids=rectangle(batch, batch.segments, 0),
        attention_mask=rectangle(batch, torch.ones(batch.n_tokens, dtype=torch.long), 0),
        labels=labels_of(batch, "mlm"),
        next_sentence_label=batch.targets["nsp"].values["labels"],
    ).loss
    torch.testing.assert_close(step_loss(model, batch), expected, atol=1e-5, rtol=1e-5)


def test_mlm_and_sop_are_transformers_albert_for_pretraining() -> None:
    from transformers import AlbertConfig, AlbertForPreTraining

    torch.manual_seed(0)
    config = AlbertConfig(
        vocab_size=V,
        embedding_size=16,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        hidden_act="gelu",
    )
    theirs = AlbertForPreTraining(config).eval()
    encoder = encoder_of("bert", **SIZES, embedding_size=16, share_layers=True)
    model = model_of(encoder, "sop", "mlm")
    theirs.albert.load_state_dict(encoder.hf_state(), strict=False)
    head, pair = model.head("mlm").predictor, model.head("sop")  # type: ignore[union-attr]
    for theirs_module, ours_module in (
        (theirs.predictions.dense, head.dense),
        (theirs.predictions.LayerNorm, head.norm),
        (theirs.albert.pooler, pair.features.dense),
        (theirs.sop_classifier.classifier, pair.classifier),
    ):
        theirs_module.load_state_dict(ours_module.state_dict())
    theirs.tie_weights()
    batch, _ = drawn_rows("sop", "mlm", pairs=True)
    expected = theirs(
        input_ids=rectangle(batch, batch.ids, 0),
        token_type_ids=rectangle(batch, batch.segments, 0),
        attention_mask=rectangle(batch, torch.ones(batch.n_tokens, dtype=torch.long), 0),
        labels=labels_of(batch, "mlm"),
        sentence_order_label=batch.targets["sop"].values["labels"],
    ).loss
    torch.testing.assert_close(step_loss(model, batch), expected, atol=1e-5, rtol=1e-5)


def test_clm_is_transformers_gpt2_with_its_head() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=V,
        n_embd=32,
        n_layer=2,
        n_head=2,
        n_inner=64,
        n_positions=64,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    theirs = GPT2LMHeadModel(config).eval()
    encoder = encoder_of("gpt", **SIZES)
    model = model_of(encoder, "clm")
    theirs.transformer.load_state_dict(encoder.hf_state(), strict=False)
    theirs.tie_weights()
    batch, _ = drawn_rows("clm")
    labels = rectangle(batch, batch.ids, -100)
    expected = theirs(input_ids=rectangle(batch, batch.ids, 0), labels=labels).loss
    torch.testing.assert_close(step_loss(model, batch), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["Bert", "Roberta", "Albert", "DistilBert"])
def test_pretraining_goes_on_with_the_head_of_a_checkpoint(kind: str, tmp_path: Path) -> None:
    import transformers

    torch.manual_seed(0)
    sizes = {"vocab_size": V, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    if kind == "DistilBert":
        sizes = {"vocab_size": V, "dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 64}
    extra = {"intermediate_size": 64, "layer_norm_eps": 1e-5} if kind != "DistilBert" else {}
    extra |= {"embedding_size": 16} if kind == "Albert" else {}
    config = getattr(transformers, f"{kind}Config")(**sizes, **extra)
    theirs = getattr(transformers, f"{kind}ForMaskedLM")(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    theirs.save_pretrained(tmp_path)
    encoder = EncoderConfig.choose({"type": "bert"}).load(tmp_path).eval()  # type: ignore[attr-defined]
    model = model_of(encoder, "mlm")
    batch, _ = drawn_rows("mlm")
    expected = theirs(
        input_ids=rectangle(batch, batch.ids, encoder.shape.pad_id),
        attention_mask=rectangle(batch, torch.ones(batch.n_tokens, dtype=torch.long), 0),
        labels=labels_of(batch, "mlm"),
    ).loss
    torch.testing.assert_close(step_loss(model, batch), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("bias", [True, False])
def test_cross_entropy_without_logits_has_the_same_gradient(bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("braid.nn.projection.LOGITS", 150)
    torch.manual_seed(0)
    labels = torch.randint(V, (11,))
    given = [torch.randn(11, 8), torch.randn(V, 8), torch.randn(V)][: 3 if bias else 2]
    ours, theirs = ([tensor.clone().requires_grad_() for tensor in given] for _ in range(2))
    nll, correct = linear_cross_entropy(ours[0], ours[1], ours[2] if bias else None, labels)
    logits = theirs[0] @ theirs[1].T + (theirs[2] if bias else 0)
    expected = F.cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(nll, expected)
    assert correct.tolist() == (logits.argmax(dim=1) == labels).tolist()
    (nll.sum() * 0.3).backward()
    (expected.sum() * 0.3).backward()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_weights_within_a_vocabulary_loss_are_refused() -> None:
    hidden = torch.randn(3, 8, requires_grad=True)
    nll, _ = linear_cross_entropy(hidden, torch.randn(V, 8), None, torch.tensor([1, 2, 3]))
    with pytest.raises(AssertionError, match="same weight"):
        (nll * torch.tensor([1.0, 2.0, 3.0])).sum().backward()


def test_what_cannot_be_learned_says_why() -> None:
    both = facts_of(encoder_of("bert", **SIZES))
    left, apart = replace(both, sees="left"), replace(both, sees="apart")
    unmasked = replace(both, vocabulary=replace(VOCABULARY, mask=-1))
    for kind, text, message in (
        ("clm", both, "sees the tokens that `clm` is to predict"),
        ("clm", apart, "`bilm`"),
        ("mlm", left, "sees only what stands before"),
        ("mlm", unmasked, r"no \[MASK\]"),
    ):
        with pytest.raises(LabelError, match=message):
            task_of(kind).learn_text(text)


def test_dynamic_masks_change_and_static_ones_return() -> None:
    text = facts_of(encoder_of("bert", **SIZES))
    row = Drawn(np.arange(5, 55), np.zeros(50, np.int64))

    def places(draw: Draw, **options: Any) -> list[int]:
        return task_of("mlm", **options).change(text)(row, Use(draw, 0, 3))[1]["places"].tolist()  # type: ignore[index]

    assert places(Draw(1, 0, 5)) == places(Draw(1, 0, 5))
    assert places(Draw(1, 0, 5)) != places(Draw(1, 0, 6))
    static = {"masking": "static", "duplicates": 2}
    assert places(Draw(1, 0, 5), **static) == places(Draw(1, 0, 900), **static) == places(Draw(1, 2, 7), **static)
    assert places(Draw(1, 0, 5), **static) != places(Draw(1, 1, 5), **static)


def test_a_masked_row_has_its_own_tokens_as_labels() -> None:
    batch, rows = drawn_rows("mlm")
    targets = batch.targets["mlm"]
    for number, row in enumerate(rows):
        low, high = targets.cu["places"][number : number + 2].tolist()
        assert (
            row.ids[targets.values["places"][low:high].numpy()].tolist() == targets.values["labels"][low:high].tolist()
        )
