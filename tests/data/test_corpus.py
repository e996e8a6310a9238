"""Corpora: documents, shards, rows."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from braid.config.families import DataConfig, SourceConfig
from braid.data.corpus import prepare as preparing
from braid.data.corpus import shards
from braid.data.corpus.documents import LONGEST, Documents, chunks, pieces
from braid.data.corpus.prepare import Options, Share, corpus_key, prepare_corpus
from braid.data.corpus.rows import CorpusRows, RowOptions, choose
from braid.data.corpus.shards import Corpus
from braid.data.sources.base import Source
from braid.data.token_worker import start
from braid.data.tokens import Tokenizer
from braid.data.vocabularies import train_wordpiece
from braid.errors import BraidError, DataError

TEXTS = [
    "The cat sat. The dog ran! Did it rain? It did.",
    "北京很大。上海也很大。我们走吧！",
    "One sentence only",
    "A first line. A second one. And a third, which is longer than the others by far.",
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_wordpiece(TEXTS * 3, size=200, lowercase=True)


def source(path: Path, **options: Any) -> Source:
    found = SourceConfig.choose({"path": str(path), **options})
    assert isinstance(found, Source)
    return found


def corpus_of(folder: Path, texts: list[str], tokenizer: Tokenizer, **options: Any) -> Corpus:
    path = folder / "corpus.txt"
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    prepare_corpus([source(path)], {}, tokenizer, folder / "shards", workers=1, **options)
    return Corpus.open([folder / "shards"], tokenizer_sha256=tokenizer.sha256)


def tokens_of(tokenizer: Tokenizer, ids: np.ndarray) -> list[str]:
    names = {number: token for token, number in tokenizer.rust.get_vocab(with_added_tokens=True).items()}
    return [names[int(number)] for number in ids]


def test_documents_of_every_format(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("one\n\ntwo\n", encoding="utf-8")
    (tmp_path / "blank.txt").write_text("a.\nb.\n\n\nc.\n", encoding="utf-8")
    (tmp_path / "wiki").write_text(
        '<doc id="1" url="u" title="T">\nT\n\nFirst &amp; second.\nMore.\n</doc>\n'
        '<doc id="2" url="u" title="U">\nU\n\nX\n</doc>\n',
        encoding="utf-8",
    )
    (tmp_path / "rows.jsonl").write_text('{"content": "c1", "x": 1}\n{"content": null, "x": 2}\n', encoding="utf-8")
    with gzip.open(tmp_path / "wiki_00.gz", "wt", encoding="utf-8") as file:
        file.write('<doc id="3" url="u" title="V">V\n\nPacked.</doc>\n')
    assert list(Documents([source(tmp_path / "lines.txt")])) == ["one", "two"]
    assert list(Documents([source(tmp_path / "blank.txt", type="documents")])) == ["a.\nb.", "c."]
    assert list(Documents([source(tmp_path / "wiki", type="wiki")])) == ["First & second. More.", "X"]
    assert list(Documents([source(tmp_path / "wiki_00.gz", type="wiki")])) == ["Packed."]
    found = Documents([source(tmp_path / "rows.jsonl")], {"text": "content"})
    assert list(found) == ["c1"]
    assert found.left_out == {"empty text": 1}


def test_a_pattern_names_several_files(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    assert [one.path for one in source(tmp_path / "*.txt").each()] == [str(tmp_path / "a.txt"), str(tmp_path / "b.txt")]  # type: ignore[attr-defined]


def test_chunks_do_not_depend_on_who_reads_them() -> None:
    assert list(chunks(["aa", "bbb", "c", "dd"], size=4)) == [["aa", "bbb"], ["c", "dd"]]


def test_sentences_and_documents_are_found(tmp_path: Path, tokenizer: Tokenizer) -> None:
    part = corpus_of(tmp_path, TEXTS, tokenizer).parts[0]
    assert part.ids.dtype == np.uint16
    per_document = np.diff([0, *part.documents])
    assert per_document.tolist() == [4, 3, 1, 3]
    assert part.characters.tolist() == [len(text) for text in TEXTS]
    first = tokens_of(tokenizer, part.ids[: part.sentences[0]])
    assert "".join(first).replace("##", "") == "thecatsat."


def test_lines_of_a_document_are_its_sentences(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "c.txt"
    path.write_text("The cat. Sat\nThe dog ran\n\nIt did\n", encoding="utf-8")
    prepare_corpus([source(path, type="documents")], {}, tokenizer, tmp_path / "s", workers=1)
    part = Corpus.open([tmp_path / "s"], tokenizer_sha256=tokenizer.sha256).parts[0]
    assert np.diff([0, *part.documents]).tolist() == [2, 1]


@pytest.mark.parametrize("fill", ["document", "full"])
def test_rows_hold_every_token_once(tmp_path: Path, tokenizer: Tokenizer, fill: Any) -> None:
    corpus = corpus_of(tmp_path, TEXTS * 5, tokenizer)
    rows = CorpusRows(corpus, tokenizer.template, RowOptions(max_length=12, fill=fill), seed=1)
    special = set(tokenizer.special_ids)
    found = [int(k) for row in rows for k in rows.column("ids", row) if int(k) not in special]
    assert found == corpus.parts[0].ids.tolist()
    lengths = [len(rows.column("ids", row)) for row in rows]
    assert lengths == rows.lengths.tolist()
    assert max(lengths) <= 12
    if fill == "document":
        assert all((rows.column("ids", row)[1:-1] != 3).all() for row in rows)
    else:
        assert np.mean(lengths) > 9


def test_text_rows_are_documents_cut(tmp_path: Path, tokenizer: Tokenizer) -> None:
    corpus = corpus_of(tmp_path, TEXTS, tokenizer)
    rows = CorpusRows(corpus, tokenizer.template, RowOptions(max_length=10, fill="text"), seed=1)
    assert len(rows) == 4
    assert rows.truncated.tolist() == [True, True, False, True] or rows.truncated.tolist() == [True, True, True, True]
    assert rows.lengths.max() == 10


def test_next_sentences_are_right_in_half_of_the_draws(tmp_path: Path, tokenizer: Tokenizer) -> None:
    corpus = corpus_of(tmp_path, TEXTS * 10, tokenizer)
    rows = CorpusRows(corpus, tokenizer.template, RowOptions(max_length=24, pairing="next"), seed=1)
    assert rows.left_out == {"documents of fewer than two sentences": 10}
    wrong = 0
    for seed in range(300):
        row = seed % len(rows)
        drawn = rows.drawn(row, np.random.default_rng(seed))
        assert len(drawn.ids) <= rows.lengths[row]
        assert (drawn.ids == 3).sum() == 2
        assert drawn.segments.tolist() == sorted(drawn.segments.tolist())
        assert drawn.ids[0] == 2
        wrong += drawn.pair_label or 0
        if not drawn.pair_label:
            whole = np.concatenate([rows.column("ids", row)[1:-1]])
            assert (np.delete(drawn.ids, np.flatnonzero((drawn.ids == 2) | (drawn.ids == 3))) == whole).all()
    assert 110 < wrong < 190


def test_sentence_order_swaps_within_a_document(tmp_path: Path, tokenizer: Tokenizer) -> None:
    corpus = corpus_of(tmp_path, [TEXTS[0]], tokenizer)
    rows = CorpusRows(corpus, tokenizer.template, RowOptions(max_length=40, pairing="order"), seed=1)
    whole = rows.column("ids", 0)[1:-1].tolist()
    seen = set()
    for seed in range(40):
        drawn = rows.drawn(0, np.random.default_rng(seed))
        first = drawn.ids[1 : int(np.flatnonzero(drawn.ids == 3)[0])].tolist()
        second = drawn.ids[len(first) + 2 : -1].tolist()
        assert (second + first if drawn.pair_label else first + second) == whole
        seen.add(drawn.pair_label)
    assert seen == {0, 1}


def test_next_sentence_needs_two_documents(tmp_path: Path, tokenizer: Tokenizer) -> None:
    corpus = corpus_of(tmp_path, [TEXTS[0]], tokenizer)
    with pytest.raises(BraidError, match="only one"):
        CorpusRows(corpus, tokenizer.template, RowOptions(max_length=40, pairing="next"), seed=1)


def test_shares_of_a_corpus_are_disjoint_and_leave_something() -> None:
    dev, test, rest = choose(100, [0.1, 0.05], seed=3)
    assert (dev.sum(), test.sum(), rest.sum()) == (10, 5, 85)
    assert not (dev & test).any()
    assert (dev | test | rest).all()
    with pytest.raises(BraidError, match="leave nothing"):
        choose(1, [0.1], seed=1)


def test_characters_are_shared_out_by_tokens(tmp_path: Path, tokenizer: Tokenizer) -> None:
    corpus = corpus_of(tmp_path, TEXTS, tokenizer)
    rows = CorpusRows(corpus, tokenizer.template, RowOptions(max_length=12), seed=1)
    total = sum(rows.drawn(row, np.random.default_rng(0)).characters for row in rows)
    assert total == pytest.approx(sum(len(text) for text in TEXTS))


def test_an_interrupted_preparation_goes_on(tmp_path: Path, tokenizer: Tokenizer, monkeypatch: Any) -> None:
    path, options = tmp_path / "c.txt", Options(chunk=60)
    path.write_text("\n".join(TEXTS * 4) + "\n", encoding="utf-8")
    whole = tmp_path / "whole"
    prepare_corpus([source(path)], {}, tokenizer, whole, options=options, workers=1)
    made: list[int] = []
    write = shards.write_part

    def failing(folder: Path, number: int, part: Any) -> Any:
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(number)
        return write(folder, number, part)

    monkeypatch.setattr(preparing.shards, "write_part", failing)
    with pytest.raises(KeyboardInterrupt):
        prepare_corpus([source(path)], {}, tokenizer, tmp_path / "again", options=options, workers=1)
    with pytest.raises(BraidError, match="no whole index"):
        Corpus.open([tmp_path / "again"], tokenizer_sha256=tokenizer.sha256)
    monkeypatch.setattr(preparing.shards, "write_part", lambda f, n, p: made.append(n) or write(f, n, p))
    prepare_corpus([source(path)], {}, tokenizer, tmp_path / "again", options=options, workers=1)
    assert made == shards.numbers(whole)
    for number in shards.numbers(whole):
        one, other = (shards.read_part(shards.part_folder(f, number)) for f in (whole, tmp_path / "again"))
        assert (one.ids == other.ids).all()


def test_machines_prepare_shares_that_make_the_whole(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path, options = tmp_path / "c.txt", Options(chunk=60)
    path.write_text("\n".join(TEXTS * 4) + "\n", encoding="utf-8")
    prepare_corpus([source(path)], {}, tokenizer, tmp_path / "whole", options=options, workers=1)
    folders = []
    for share in ("1/3", "2/3", "3/3"):
        folders.append(tmp_path / share.replace("/", "of"))
        prepare_corpus([source(path)], {}, tokenizer, folders[-1], options=options, share=Share.parse(share), workers=1)
    whole = Corpus.open([tmp_path / "whole"], tokenizer_sha256=tokenizer.sha256)
    shared = Corpus.open(folders, tokenizer_sha256=tokenizer.sha256)
    assert (shared.tokens, shared.documents) == (whole.tokens, whole.documents)
    numbers = [number for folder in folders for number in shards.numbers(folder)]
    assert sorted(numbers) == shards.numbers(tmp_path / "whole")
    with pytest.raises(BraidError, match="3/8"):
        Share.parse("9/8")


def test_processes_make_what_one_makes(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path, options = tmp_path / "c.txt", Options(chunk=60)
    path.write_text("\n".join(TEXTS * 4) + "\n", encoding="utf-8")
    for workers in (1, 2):
        prepare_corpus([source(path)], {}, tokenizer, tmp_path / str(workers), options=options, workers=workers)
    one, two = (Corpus.open([tmp_path / n], tokenizer_sha256=tokenizer.sha256) for n in ("1", "2"))
    assert len(one.parts) == len(two.parts) > 3
    for a, b in zip(one.parts, two.parts, strict=True):
        assert (a.ids == b.ids).all()
        assert (a.sentences == b.sentences).all()


def test_ctrl_c_in_a_terminal_does_not_reach_the_processes() -> None:
    processes = start("braid.data.corpus.worker", 1, b"{}")
    try:
        assert os.getpgid(processes[0].pid) != os.getpgrp()
    finally:
        processes[0].kill()
        processes[0].wait()


def test_another_tokenizer_is_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    corpus_of(tmp_path, TEXTS, tokenizer)
    with pytest.raises(BraidError, match="another tokenizer"):
        Corpus.open([tmp_path / "shards"], tokenizer_sha256="0" * 64)


def test_a_changed_file_has_another_key(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "c.txt"
    path.write_text("one\n", encoding="utf-8")
    before = corpus_key([source(path)], {}, tokenizer, Options())
    path.write_text("two\n", encoding="utf-8")
    assert corpus_key([source(path)], {}, tokenizer, Options()) != before


def test_an_empty_corpus_is_an_error(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "c.txt"
    path.write_text("\n \n", encoding="utf-8")
    with pytest.raises(DataError, match="no text in it"):
        prepare_corpus([source(path)], {}, tokenizer, tmp_path / "s", workers=1)


def test_binary_garbage_is_an_error(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "c.txt"
    path.write_bytes(bytes(range(256)) * 500)
    with pytest.raises(DataError, match=r"c\.txt"):
        prepare_corpus([source(path)], {}, tokenizer, tmp_path / "s", workers=1)


def test_a_very_long_line_is_read_in_pieces(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "c.txt"
    path.write_text("the cat sat " * (LONGEST // 4) + "\n" + "北" * (LONGEST + 50) + "\n", encoding="utf-8")
    prepare_corpus([source(path)], {}, tokenizer, tmp_path / "s", workers=1)
    corpus = Corpus.open([tmp_path / "s"], tokenizer_sha256=tokenizer.sha256)
    assert corpus.documents == 2
    assert len(corpus.parts[0].ids) == 3 * (LONGEST // 4) + LONGEST + 50


def test_rows_without_text_say_where(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text(json.dumps({"text": 3.5}) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"c\.jsonl:1.*no string"):
        prepare_corpus([source(path)], {}, tokenizer, tmp_path / "s", workers=1)


def test_prepared_shards_have_no_rows_of_text(tmp_path: Path) -> None:
    found = SourceConfig.choose({"type": "prepared", "path": str(tmp_path)})
    assert isinstance(found, Source)
    with pytest.raises(DataError, match="only mlm"):
        list(found.rows("train"))


def test_a_long_text_is_cut_at_spaces_and_nothing_is_lost() -> None:
    text = "the cat sat " * (LONGEST // 5) + "北" * (3 * LONGEST) + "。end"
    found = pieces(text)
    assert "".join(found) == text
    assert max(map(len, found)) <= LONGEST
    assert found[0].endswith(" ")
    assert pieces("") == [""]
    assert pieces("x" * LONGEST) == ["x" * LONGEST]


def test_sources_of_one_corpus_may_name_their_columns_differently(tmp_path: Path, tokenizer: Tokenizer) -> None:
    (tmp_path / "a.jsonl").write_text('{"title": "one", "body": "two"}\n', encoding="utf-8")
    (tmp_path / "b.tsv").write_text("label\ttext_a\n1\tthree\n", encoding="utf-8")
    files = [{"path": str(tmp_path / "a.jsonl"), "columns": {"text": "body"}}, str(tmp_path / "b.tsv")]
    data = DataConfig.model_validate({"train": files, "columns": {"text": "text_a"}})
    assert list(Documents([source(tmp_path / "a.jsonl", columns={"text": "body"}), source(tmp_path / "b.tsv")])) == [
        "two",
        "three",
    ]
    assert list(Documents(data.train, data.columns)) == ["two", "three"]  # type: ignore[arg-type]
    both = [source(tmp_path / "a.jsonl", columns=columns) for columns in ({}, {"text": "title"})]
    keys = {corpus_key([one], {}, tokenizer, Options()) for one in both}
    assert len(keys) == 2, "what is read of a file is part of what its shards are known by"
