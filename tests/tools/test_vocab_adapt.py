"""`braid vocab adapt`: fewer tokens or others, and what stays bitwise as it was."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import braid
import tiny
from braid.checkpoint.files import load_tensors
from braid.checkpoint.model_files import save_encoder, save_tasks
from braid.cli import app
from braid.config.families import EncoderConfig
from braid.data.packing import pack_ids
from braid.data.tokens import Tokenizer
from braid.data.vocabularies import load_tokenizer, tokenizer_from_vocab, train
from braid.errors import BraidError
from braid.model.corpora import text_facts
from braid.model.network import BraidModel, TaskSpec
from braid.tasks.mlm import Mlm
from braid.tools.vocab_adapt import adapt_vocab
from braid.tools.vocab_rows import origins
from braid.tools.vocab_shrink import merged, shrunk, unchanged

KINDS: list[Any] = ["wordpiece", "bpe", "unigram", "character", "word"]


def texts(seed: int, n: int = 300) -> list[str]:
    rng = random.Random(seed)
    words = ["the", "cats", "catch", "mice", "running", "walker", "walked", "fishing", "fisher", "nation", "national"]
    words += ["我们", "喜欢", "北京", "小吃", "very"]
    return [" ".join(rng.choices(words, k=6)) + rng.choice([".", "!", "?"]) for _ in range(n)]


def tokenizer_of(kind: Any) -> Tokenizer:
    held = texts(1)
    return train(kind, lambda: held, size=330 if kind == "bpe" else 110, lowercase=kind != "bpe")


def run_of(folder: Path, kind: Any, *, tied: bool = True, encoder: dict[str, Any] | None = None) -> Path:
    """A run directory with random weights: a masked language model and a classifier."""
    torch.manual_seed(0)
    tokenizer = tokenizer_of(kind)
    network = tiny.encoder_of(tokenizer, **(encoder or {}))
    mlm = Mlm(type="mlm", tied_embeddings=tied)
    facts = mlm.learn_text(text_facts(tokenizer, network))
    mood = TaskSpec(tiny.task_of("classification"), {"labels": ["a", "b"]})
    model = BraidModel(network, {"mlm": TaskSpec(mlm, facts), "mood": mood})
    torch.nn.init.normal_(model.head("mlm").predictor.bias)  # type: ignore[attr-defined]
    config = EncoderConfig.choose({**tiny.ENCODER, **(encoder or {})})
    sha = save_encoder(folder, network, config, tokenizer, max_length=48, stride=12, precision="fp32")
    save_tasks(folder, model, sha)
    return folder


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "task.txt"
    path.write_text("the cats walked.\n我们 喜欢 the fisher\nnational mice!\n", encoding="utf-8")
    return path


def hidden(model: Any, text: str) -> torch.Tensor:
    template, ids = model.tokenizer.template, model.tokenizer.encode_ids([text])[0]
    batch = pack_ids([[*template.prefix.tolist(), *ids.tolist(), *template.suffix.tolist()]])
    with torch.inference_mode():
        return model.network.encoder(batch)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_texts_whose_tokens_were_kept_have_bitwise_the_same_hidden_states(
    kind: Any, tmp_path: Path, corpus: Path
) -> None:
    run = run_of(tmp_path / "run", kind, tied=kind != "bpe")
    done = adapt_vocab(run, tmp_path / "small", corpus=[str(corpus)])
    assert done.tokens_after < done.tokens_before
    assert (done.kept, done.made, done.unknown) == (done.tokens_after, 0, 0)
    assert done.bytes_after < done.bytes_before
    old, new = braid.load(run), braid.load(tmp_path / "small")
    assert new.tokenizer.vocab_size == new.network.encoder.vocab_size == done.tokens_after
    for text in [*corpus.read_text(encoding="utf-8").splitlines(), "the cats fisher walked."]:
        before, after = old.tokenizer.encode_ids([text])[0], new.tokenizer.encode_ids([text])[0]
        assert new.tokenizer.tokens(after.tolist()) == old.tokenizer.tokens(before.tolist())
        assert torch.equal(hidden(old, text), hidden(new, text))
    assert old("the cats walked.") == new("the cats walked.")


@pytest.mark.parametrize("tied", [True, False])
def test_what_the_masked_language_model_says_of_kept_tokens_stays(tied: bool, tmp_path: Path, corpus: Path) -> None:
    run = run_of(tmp_path / "run", "wordpiece", tied=tied)
    adapt_vocab(run, tmp_path / "small", corpus=[str(corpus)])
    old, new = braid.load(run), braid.load(tmp_path / "small")
    logits = []
    for model in (old, new):
        head: Any = model.network.head("mlm")
        with torch.inference_mode():
            found = head.predictor.logits(hidden(model, "the cats walked."), model.network.encoder.word_embeddings)
        names = model.tokenizer.tokens(range(model.tokenizer.vocab_size))
        logits.append({name: found[:, k] for k, name in enumerate(names)})
    assert set(logits[1]) < set(logits[0])
    for name, values in logits[1].items():
        torch.testing.assert_close(values, logits[0][name], rtol=0, atol=1e-6)
    state = load_tensors(tmp_path / "small" / "tasks" / "mlm" / "head.safetensors")
    size = new.tokenizer.vocab_size
    assert state["predictor.bias"].shape == (size,)
    assert ("predictor.words" in state) == (not tied)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), share=st.floats(0.05, 0.9), kind=st.sampled_from(KINDS))
def test_any_selection_of_tokens_cuts_as_before_what_it_holds(seed: int, share: float, kind: Any) -> None:
    tokenizer = TOKENIZERS.setdefault(kind, tokenizer_of(kind))
    rng = random.Random(seed)
    used = [number for number in range(tokenizer.vocab_size) if rng.random() < share]
    made = shrunk(tokenizer, used)
    assert set(used) <= set(made.kept)
    assert made.tokenizer.tokens(range(len(made.kept))) == tokenizer.tokens(made.kept)
    assert unchanged(tokenizer, made.tokenizer, [*texts(seed, 30), *texts(1, 30)], made.kept) is None


TOKENIZERS: dict[str, Tokenizer] = {}


def test_merges_are_applied_by_rank_and_from_the_left() -> None:
    ranks = {("b", "c"): 0, ("a", "b"): 1, ("a", "bc"): 2}
    assert merged("abc", ranks) == (["abc"], {0, 2})
    assert merged("ab", ranks) == (["ab"], {1})
    assert merged("aaa", {("a", "a"): 0}) == (["aa", "a"], {0})


def test_byte_pairs_keep_what_lies_between_and_every_byte() -> None:
    tokenizer = tokenizer_of("bpe")
    token = tokenizer.rust.token_to_id("Ġnational")
    assert token is not None
    made = shrunk(tokenizer, [token]).tokenizer
    assert made.tokens(made.encode_ids([" national"])[0].tolist()) == ["Ġnational"]
    assert made.decode(made.encode_ids(["ünseen 新 ☃"])[0].tolist()) == "ünseen 新 ☃"
    assert made.vocab_size < tokenizer.vocab_size


@pytest.mark.data
def test_a_sentencepiece_model_is_shrunk(real_data: Path) -> None:
    whole = tokenizer_from_vocab(real_data / "uer_models" / "cluecorpussmall_spm.model")
    lines = (real_data / "uer_misc" / "cloze_input.txt").read_text(encoding="utf-8").splitlines()
    used = {int(number) for row in whole.encode_ids(lines) for number in row}
    made = shrunk(whole, used)
    assert made.tokenizer.vocab_size < whole.vocab_size / 10
    assert unchanged(whole, made.tokenizer, lines, made.kept) is None


def test_a_new_vocabulary_keeps_rows_and_makes_others_of_pieces(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", "wordpiece")
    old = braid.load(run)
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cats", "catsmice", "##ing", "☃"]
    (tmp_path / "vocab.txt").write_text("\n".join(names), encoding="utf-8")
    done = adapt_vocab(run, tmp_path / "new", vocab=tmp_path / "vocab.txt")
    new = braid.load(tmp_path / "new")
    assert new.tokenizer.tokens(range(9)) == names
    before, after = old.network.encoder.word_embeddings, new.network.encoder.word_embeddings
    ids = old.tokenizer.rust.get_vocab()
    for name in names[:6]:
        assert torch.equal(after[names.index(name)], before[ids[name]])
    pieces = old.tokenizer.encode_ids(["catsmice"])[0].tolist()
    assert len(pieces) > 1
    torch.testing.assert_close(after[6], before[pieces].mean(0))
    assert torch.equal(after[8], before[ids["[UNK]"]])
    assert done.unknown == 1
    assert done.kept + done.made == 8
    assert new("cats catsmice")["mood"].label in ("a", "b")


def test_special_tokens_are_matched_by_what_they_do(tmp_path: Path) -> None:
    old = tokenizer_of("wordpiece")
    renamed = json.loads(tokenizer_of("bpe").rust.to_str().replace("[CLS]", "<s>").replace("[SEP]", "</s>"))
    (tmp_path / "tokenizer.json").write_text(json.dumps(renamed), encoding="utf-8")
    new = tokenizer_from_vocab(tmp_path / "tokenizer.json")
    found = origins(old, new)
    assert found.rows[new.cls_id] == [old.cls_id]  # type: ignore[index]
    assert found.rows[new.sep_id] == [old.sep_id]  # type: ignore[index]
    place = new.rust.token_to_id("Ġcats")
    # `cats` is a word in both, though they spell it in two ways.
    assert found.rows[place] == old.encode_ids(["cats"])[0].tolist()


def test_a_vocabulary_may_grow(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", "word")
    names = braid.load(run).tokenizer.tokens(range(braid.load(run).tokenizer.vocab_size))
    (tmp_path / "vocab.txt").write_text("\n".join([*names, "zebra", "yak"]), encoding="utf-8")
    done = adapt_vocab(run, tmp_path / "new", vocab=tmp_path / "vocab.txt")
    assert (done.tokens_after, done.kept, done.unknown) == (done.tokens_before + 2, done.tokens_before, 2)
    assert done.bytes_after > done.bytes_before
    old, new = braid.load(run), braid.load(tmp_path / "new")
    assert torch.equal(hidden(old, "the cats."), hidden(new, "the cats."))
    # A word of nothing known is read as it was: as the unknown.
    assert torch.equal(hidden(old, "the zebra"), hidden(new, "the zebra"))


@pytest.mark.parametrize("kind", ["bert", "roberta", "gpt2", "distilbert"])
def test_bare_encoders_stay_what_transformers_loads(kind: str, tmp_path: Path, corpus: Path) -> None:
    from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoTokenizer

    tokenizer = tokenizer_of("bpe" if kind in ("roberta", "gpt2") else "wordpiece")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    if kind == "distilbert":
        sizes = {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 24}
    if kind == "gpt2":
        sizes = {"n_embd": 16, "n_layer": 1, "n_head": 2}
    config = AutoConfig.for_model(kind, vocab_size=tokenizer.vocab_size + 7, pad_token_id=0, bos_token_id=2, **sizes)
    torch.manual_seed(0)
    masked = kind != "gpt2"
    model = (AutoModelForMaskedLM if masked else AutoModel).from_config(config).eval()
    source = tmp_path / "hf"
    model.save_pretrained(source)
    tokenizer.save(source)
    (source / "1_Pooling").mkdir()
    (source / "1_Pooling" / "config.json").write_text("{}")
    done = adapt_vocab(source, tmp_path / "small", corpus=[str(corpus)])
    assert (tmp_path / "small" / "1_Pooling" / "config.json").is_file()
    # Rows that no token has are left out too.
    assert done.tokens_after < tokenizer.vocab_size
    again, info = (AutoModelForMaskedLM if masked else AutoModel).from_pretrained(
        tmp_path / "small", output_loading_info=True
    )
    assert not info["mismatched_keys"]
    assert not info["missing_keys"]
    assert again.config.vocab_size == done.tokens_after
    assert again.config.bos_token_id == load_tokenizer(tmp_path / "small").rust.token_to_id("[CLS]")
    text = "the cats walked."
    inputs = [
        torch.tensor([load_tokenizer(folder).encode_ids([text])[0].tolist()]) for folder in (source, tmp_path / "small")
    ]
    base = model.base_model(inputs[0]).last_hidden_state
    assert torch.equal(base, again.base_model(inputs[1]).last_hidden_state)
    if masked:
        kept = shrunk(tokenizer, load_tokenizer(source).encode_ids([text])[0].tolist()).kept
        assert model(inputs[0]).logits.shape[-1] - 7 > again(inputs[1]).logits.shape[-1] >= len(kept)
    auto = AutoTokenizer.from_pretrained(tmp_path / "small")
    assert auto(text, add_special_tokens=False)["input_ids"] == inputs[1][0].tolist()


def test_mistakes_are_named_before_anything_is_written(tmp_path: Path, corpus: Path) -> None:
    run = run_of(tmp_path / "run", "wordpiece")
    out = tmp_path / "out"
    with pytest.raises(BraidError, match="give --corpus FILES, whose tokens stay, or --vocab"):
        adapt_vocab(run, out)
    with pytest.raises(BraidError, match="is the model that is read"):
        adapt_vocab(run, run, corpus=[str(corpus)], overwrite=True)
    with pytest.raises(BraidError, match="there is no file"):
        adapt_vocab(run, out, corpus=[str(tmp_path / "none.txt")])
    with pytest.raises(BraidError, match=r"holds no config\.json, nor encoder"):
        adapt_vocab(tmp_path, out, corpus=[str(corpus)])
    assert not out.exists()
    adapt_vocab(run, out, corpus=[str(corpus)])
    with pytest.raises(BraidError, match="--overwrite"):
        adapt_vocab(run, out, corpus=[str(corpus)])
    adapt_vocab(run, out, corpus=[str(corpus)], overwrite=True)
    with pytest.raises(BraidError, match="did not make it"):
        adapt_vocab(out, run, corpus=[str(corpus)], overwrite=True)
    assert braid.load(run).tasks.keys() == {"mlm", "mood"}


def test_padding_that_moves_positions_is_refused(tmp_path: Path) -> None:
    from transformers import RobertaConfig, RobertaModel

    held = texts(1)
    tokenizer = train("wordpiece", lambda: held, size=70, lowercase=True)
    config = RobertaConfig(
        vocab_size=70, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24, pad_token_id=0
    )
    RobertaModel(config).save_pretrained(tmp_path / "hf")
    tokenizer.save(tmp_path / "hf")
    (tmp_path / "vocab.txt").write_text("[UNK]\n[PAD]\n[CLS]\n[SEP]\n[MASK]\ncats\n")
    with pytest.raises(BraidError, match=r"begin behind the id of its padding, 0;.* has the id 1"):
        adapt_vocab(tmp_path / "hf", tmp_path / "out", vocab=tmp_path / "vocab.txt")
    assert not (tmp_path / "out").exists()


def test_characters_that_stand_alone_are_kept_for_tagging(tmp_path: Path, corpus: Path) -> None:
    run = run_of(tmp_path / "run", "wordpiece")
    sizes = [
        adapt_vocab(run, tmp_path / str(alone), corpus=[str(corpus)], characters=alone).tokens_after
        for alone in (False, True)
    ]
    assert sizes[0] < sizes[1]
    names = load_tokenizer(tmp_path / "True" / "encoder").rust.get_vocab()
    assert set("thecatswalked") <= set(names)


def test_the_command_prints_what_is_saved(tmp_path: Path, corpus: Path) -> None:
    run = run_of(tmp_path / "run", "wordpiece")
    command = ["vocab", "adapt", str(run), "--corpus", str(corpus), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert f"tokens, before {braid.load(run).tokenizer.vocab_size}" in done.output
    assert "known: 100.000% of the corpus' tokens, before 100.000%" in done.output
    assert "MB less" in done.output
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\n")
    command = ["vocab", "adapt", str(run), "--vocab", str(tmp_path / "vocab.txt"), "--corpus", str(corpus)]
    done = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "new"), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert found["known_before"] == 1.0
    assert found["known_after"] < 0.3
