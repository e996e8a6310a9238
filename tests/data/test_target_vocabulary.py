import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braid.data.target_vocabulary import given_tokenizer, load_vocabulary, read_symbols, read_text, train_bpe
from braid.errors import LabelError, SkippedLabelError

BPE = train_bpe(["the cat sat on the mat", "我爱北京天安门。" * 5, "the the the"], size=400)


@settings(max_examples=50)
@given(st.text(st.characters(exclude_categories=["Cs"])).map(str.strip))
def test_bytewise_pieces_give_every_text_back(text):
    vocabulary = load_vocabulary(tokenizer=BPE)
    ids = vocabulary.encode(text)
    assert all(0 <= token < vocabulary.size for token in ids)
    assert vocabulary.decode(ids) == text


def test_words_are_merged_but_never_chinese_characters():
    vocabulary = load_vocabulary(tokenizer=BPE)
    assert len(vocabulary.encode("the the")) == 2
    assert len(vocabulary.encode("北京")) == 2


def test_each_process_trains_the_same_vocabulary():
    code = (
        "from braid.data.target_vocabulary import train_bpe; import hashlib; "
        "texts = [f'{a} {b} {a}{b}' for a in 'abcdefgh' for b in ('xy', 'yz', '北', '京城')]; "
        "print(hashlib.sha256(train_bpe(texts, size=330).encode()).hexdigest())"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2)]
    assert len(runs[0].stdout) > 10
    assert runs[0].stdout == runs[1].stdout


def test_a_bare_vocabulary_is_read_as_wordpiece_and_joined_again(tmp_path):
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "ca", "##t", "我", "爱", "。", ","]
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(pieces), encoding="utf-8")
    vocabulary = load_vocabulary(tokenizer=given_tokenizer(path))
    assert vocabulary.size == len(pieces)
    assert vocabulary.encode("The cat") == [5, 6, 7]
    assert vocabulary.decode(vocabulary.encode("The cat, 我爱。the dog")) == "the cat,我爱。the"
    path.write_text("\n".join([*pieces, "The"]), encoding="utf-8")
    assert load_vocabulary(tokenizer=given_tokenizer(path)).encode("The cat") == [12, 6, 7]
    with pytest.raises(LabelError, match="there is no file"):
        given_tokenizer(tmp_path / "none.txt")


def test_symbols_are_places_in_an_inventory():
    vocabulary = load_vocabulary(labels=["B", "I", "O"])
    assert vocabulary.encode(read_symbols(" O\tB ")) == vocabulary.encode(read_symbols(["O", "B"])) == [2, 0]
    assert vocabulary.decode([2, 0]) == "O B"
    with pytest.raises(LabelError, match="no training row has the label 'X'"):
        vocabulary.encode(["X"])


@pytest.mark.parametrize(
    ("read", "label"), [(read_text, ""), (read_text, " \n"), (read_symbols, " "), (read_symbols, [])]
)
def test_an_empty_target_is_skipped(read, label):
    with pytest.raises(SkippedLabelError, match="empty"):
        read(label)


def test_a_lone_surrogate_is_read_as_an_unknown_character():
    assert read_text(" a\ud800b ") == "a\ufffdb"
