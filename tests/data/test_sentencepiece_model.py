"""SentencePiece's `.model` files: the ids are those that SentencePiece itself gives."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from braid.data.sentencepiece_model import read, tokenizer_from_sentencepiece
from braid.data.vocabularies import tokenizer_from_vocab
from braid.errors import BraidError

sentencepiece = pytest.importorskip("sentencepiece")

TEXTS = [
    "The quick brown fox jumps over the lazy dog, again and again.",
    "北京大学的学生在北京学习，明天会更好。",
    "Café naïve résumé costs 100 in Zürich.",
    "mixed 中文 and English words 混合 text",
    "the dog and the fox are again in the city of 北京",
]
PROBES = [
    *TEXTS,
    "",
    "  two  spaces ",
    "２０２０年，ＡＢＣ",
    "tab\tand é e\u0301",
    "unknown 😀 ☃ 龘",
    "<s> the </s> <unk>",
]


def trained(folder: Path, **options: Any) -> tuple[Path, Any]:
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 4),
        model_writer=out,
        num_threads=1,
        minloglevel=2,
        hard_vocab_limit=False,
        **{"vocab_size": 120, **options},
    )
    path = folder / "spm.model"
    path.write_bytes(out.getvalue())
    return path, sentencepiece.SentencePieceProcessor(model_file=str(path))


@pytest.mark.parametrize(
    "options",
    [
        {"model_type": "unigram"},
        {"model_type": "bpe"},
        {"model_type": "unigram", "byte_fallback": True, "vocab_size": 380},
        {"model_type": "bpe", "byte_fallback": True, "vocab_size": 380},
        {"model_type": "bpe", "normalization_rule_name": "identity", "remove_extra_whitespaces": False},
        {"model_type": "unigram", "add_dummy_prefix": False},
        {"model_type": "unigram", "control_symbols": ["[CLS]", "[SEP]"], "user_defined_symbols": ["[MASK]"]},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_ids_and_texts_are_sentencepieces(options: dict[str, Any], tmp_path: Path) -> None:
    path, theirs = trained(tmp_path, **options)
    ours = tokenizer_from_vocab(path)
    for text in PROBES:
        ids = ours.encode_ids([text])[0].tolist()
        # Two ways to spell a text may have the same score.
        if ids != theirs.encode(text):
            assert sum(map(theirs.get_score, ids)) == pytest.approx(sum(map(theirs.get_score, theirs.encode(text))))
    assert ours.decode(ours.encode_ids(["the quick 北京"])[0].tolist()) == "the quick 北京"
    assert ours.vocab_size == theirs.get_piece_size()


def test_special_tokens_are_known_by_their_usual_names(tmp_path: Path) -> None:
    path, _ = trained(tmp_path, control_symbols=["<pad>"], user_defined_symbols=["<mask>"])
    tokenizer = tokenizer_from_vocab(tmp_path)
    assert tokenizer.tokens([*tokenizer.template.prefix, *tokenizer.template.suffix]) == ["<s>", "</s>"]
    names = [tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id, tokenizer.mask_id]
    assert tokenizer.tokens([k for k in names if k is not None]) == ["<unk>", "<s>", "</s>", "<pad>", "<mask>"]
    assert not tokenizer.special_ids & set(tokenizer.encode_ids(["the </s> <s>fox <mask> <pad>"])[0].tolist()) - {0}
    assert path.is_file()


def test_offsets_are_those_of_the_words_themselves(tmp_path: Path) -> None:
    tokenizer = tokenizer_from_vocab(trained(tmp_path)[0])
    text = "  ＴＨＥ  dog 北京"
    begins = {low for low, _ in next(tokenizer.encode_batch([text])).offsets.tolist()}
    assert {2, 7, 11} <= begins
    assert not any(text[low].isspace() for low in begins)


def test_a_saved_model_is_read_by_transformers(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = tokenizer_from_vocab(trained(tmp_path)[0])
    tokenizer.save(tmp_path / "saved")
    theirs = AutoTokenizer.from_pretrained(str(tmp_path / "saved"))
    ids = tokenizer.encode_ids([TEXTS[0]])[0].tolist()
    assert theirs(TEXTS[0])["input_ids"] == [*tokenizer.template.prefix, *ids, *tokenizer.template.suffix]


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x05\x0a\x03\xff\xfe\xfd"])
def test_other_files_are_told_apart(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.model"
    path.write_bytes(content)
    with pytest.raises(BraidError, match=r"x\.model: not a SentencePiece model"):
        tokenizer_from_sentencepiece(path)


def test_models_of_words_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BraidError, match="there are unigram and bpe ones"):
        tokenizer_from_sentencepiece(trained(tmp_path, model_type="word")[0])


@pytest.mark.data
def test_a_public_model_is_read(real_data: Path) -> None:
    path = real_data / "uer_models" / "cluecorpussmall_spm.model"
    assert len(read(path.read_bytes()).pieces) == 100_000
    tokenizer = tokenizer_from_vocab(path)
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(path))
    for text in ("北京是中国的首都。", "Hello world 你好", "２０２０年，ＡＢＣ"):
        assert tokenizer.encode_ids([text])[0].tolist() == theirs.encode(text)
    ids = [tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id]
    assert ids == [0, 1, 2, 3, 4]
