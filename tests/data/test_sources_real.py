"""The real data sets of ../shared/data, read as a recipe would: row counts are those of its MANIFEST."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from braid.config.families import DataConfig
from braid.data.example import Example
from braid.data.examples import read_split
from braid.data.join import join

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
pytestmark = [pytest.mark.data, pytest.mark.skipif(not DATA.is_dir(), reason=f"there is no {DATA}")]


def split(path: str, task: str = "t", source: Any = None, **columns: Any) -> list[Example]:
    data = DataConfig.model_validate({"train": str(DATA / path), "source": source, "columns": columns})
    found = read_split(data, "train", task=task, seed=0)
    assert found.skipped == {}
    return found.examples


@cache
def weibo(label: str) -> list[Example]:
    return split("weibo_ner/weiboNER_2nd_conll.dev", label, {"type": "conll", "word_position": True}, **{label: label})


WEIBO = {"type": "conll", "word_position": True}
IOB1 = {"type": "conll", "scheme": "iob1"}
HEADERLESS = {"type": "tsv", "header": False}
ORIGINAL = {**HEADERLESS, "ragged": "allow"}
COLA = {"label": 1, "text": 3}
STS = {"label": 4, "text": 5, "pair": 6}
PAIR = {"text": 0, "pair": 1, "label": 2}


@pytest.mark.parametrize(
    ("path", "source", "columns", "n"),
    [
        ("chnsenticorp/train.tsv.gz", None, {}, 9600),
        ("chnsenticorp/dev.tsv", None, {}, 1200),
        ("chnsenticorp/test.tsv", None, {}, 1200),
        ("msra_ner/uer/train.tsv.gz", "uer_ner", {}, 20864),
        ("weibo_ner/weiboNER_2nd_conll.train", WEIBO, {}, 1350),
        ("weibo_ner/weiboNER_2nd_conll.test", WEIBO, {"label": "segmentation"}, 270),
        ("cluener/train.jsonl.gz", "cluener", {}, 10748),
        ("cluener/dev.jsonl", "cluener", {}, 1343),
        ("ud_chinese_gsdsimp/zh_gsdsimp-ud-dev.conllu", None, {"label": "upos"}, 500),
        ("ud_chinese_gsdsimp/zh_gsdsimp-ud-test.conllu", None, {"label": "dependencies"}, 500),
        ("ud_english_ewt/en_ewt-ud-train.concat.conllu.gz", None, {"label": "upos"}, 12544),
        ("ud_english_ewt/en_ewt-ud-dev.conllu", None, {"label": "xpos"}, 2001),
        ("conll2003/eng.train.gz", IOB1, {}, 14041),
        ("conll2003/eng.testa", IOB1, {"label": 2}, 3250),
        ("conll2003/eng.testb", IOB1, {}, 3453),
        ("wnut17/wnut17train.conll", None, {}, 3394),
        ("wnut17/emerging.dev.conll", None, {}, 1009),
        ("wnut17/emerging.test.annotated", "conll", {}, 1287),
        ("cws/sighan2005/msr_test_gold.utf8", "segmented", {}, 3985),
        ("cws/sighan2005/pku_test_gold.utf8", "segmented", {}, 1944),
        ("cws/other/sxu/train.txt.gz", "segmented", {}, 17115),
        ("cws/other/wtb/train.conll", "conllu", {"label": "dependencies"}, 813),
        ("cws/other/wtb/dev.conll", "conll", {"words": 1, "label": 3}, 95),
        ("glue/CoLA/cola_public_raw/in_domain_train.tsv", HEADERLESS, COLA, 8551),
        ("glue/CoLA/mixed_dev.tsv", HEADERLESS, COLA, 1043),
        ("glue/MRPC/msr_paraphrase_train.txt", "tsv", {}, 4076),
        ("glue/MRPC/msr_paraphrase_test.txt", "tsv", {}, 1725),
        ("glue/STS-B/train.tsv", None, {}, 5749),
        ("glue/STS-B/dev.tsv", None, {}, 1500),
        ("glue/STS-B/original/sts-test.tsv", ORIGINAL, STS, 1379),
        ("glue/RTE/train.tsv", None, {}, 2490),
        ("glue/RTE/dev.tsv", None, {}, 277),
        ("glue/QNLI/dev.tsv", None, {}, 5463),
        ("glue/SST-2/train.tsv.gz", None, {}, 67349),
        ("glue/SST-2/dev.tsv", None, {}, 872),
        ("tnews/tnews_public/train.json.gz", None, {"label": "label_desc"}, 53360),
        ("ocnli/train.50k.json.gz", None, {}, 50486),
        ("ocnli/dev.json", None, {}, 3000),
        ("csts/AFQMC/train.txt.gz", HEADERLESS, PAIR, 34334),
        ("bdci_car_2018/train_2.csv.gz", None, {"text": "content", "label": "subject"}, 12572),
    ],
)
def test_all_rows_are_read_and_labelled(path: str, source: Any, columns: dict[str, Any], n: int) -> None:
    examples = split(path, source=source, **columns)
    assert len(examples) == n
    assert all("t" in example.labels for example in examples)
    assert all(len(e.words) == len(e.labels["t"]) for e in examples if e.words and isinstance(e.labels["t"], list))


@pytest.mark.parametrize(
    ("path", "source", "n"),
    [
        ("cluener/test.jsonl", "cluener", 1345),
        ("msra_ner/uer/test_nolabel.tsv", "uer_ner", 4636),
        ("glue/STS-B/test.tsv", None, 1379),
        ("glue/QNLI/test.tsv", None, 5463),
    ],
)
def test_unlabelled_tests_have_missing_labels(path: str, source: str | None, n: int) -> None:
    examples = split(path, source=source)
    assert len(examples) == n
    assert all(example.labels == {} for example in examples)


def test_quotes_of_mrpc_are_untouched() -> None:
    path = DATA / "glue/MRPC/msr_paraphrase_train.txt"
    raw = path.read_text(encoding="utf-8-sig").split("\n")[1:]
    cells = [line.rstrip("\r").split("\t") for line in raw if line]
    examples = split("glue/MRPC/msr_paraphrase_train.txt", source="tsv")
    assert [(e.labels["t"], e.text, e.pair) for e in examples] == [(c[0], c[3], c[4]) for c in cells]
    assert any(e.text.count('"') % 2 for e in examples)


def test_iob1_of_conll2003_becomes_bio() -> None:
    examples = split("conll2003/eng.testa", source=IOB1)
    tags = Counter(tag for e in examples for tag in e.labels["t"])
    # CoNLL-2003 development set: LOC 1837, MISC 922, ORG 1341, PER 1842 entities (Tjong Kim Sang & De Meulder 2003).
    assert [tags[f"B-{kind}"] for kind in ("LOC", "MISC", "ORG", "PER")] == [1837, 922, 1341, 1842]
    assert all(not (b.startswith("I-") and a[2:] != b[2:]) for e in examples for a, b in _steps(e.labels["t"]))


def _steps(tags: list[str]) -> list[tuple[str, str]]:
    return list(zip(["O", *tags], tags, strict=False))


def test_weibo_segmentation_is_a_legal_bmes_sequence_on_the_inputs_of_its_entities() -> None:
    for example in weibo("segmentation"):
        assert re.fullmatch("(S|BM*E)+", "".join(example.labels["segmentation"]))
    joined = join({"label": weibo("label"), "segmentation": weibo("segmentation")})
    assert joined.overlap == {("label", "segmentation"): 270}
    assert all(len(example.labels) == 2 for example in joined.examples)


def test_subjects_and_sentiments_of_one_file_join() -> None:
    path = "bdci_car_2018/train_2.csv.gz"
    tasks = {t: split(path, t, None, text="content", **{t: t}) for t in ("subject", "sentiment_value")}
    joined = join(tasks)
    assert len(joined.examples) == 12572
    assert joined.overlap == {("subject", "sentiment_value"): 12572}


def test_universal_dependencies_keep_their_own_text() -> None:
    examples = split("ud_english_ewt/en_ewt-ud-test.conllu", upos="upos")
    assert examples[0].text == "What if Google Morphed Into GoogleOS?"
    assert examples[0].words == ("What", "if", "Google", "Morphed", "Into", "GoogleOS", "?")
