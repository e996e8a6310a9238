"""Answers against SQuAD's and CMRC's scorers."""

import random
import re
from dataclasses import dataclass

import pytest

from braid.metrics.answers import cmrc, mixed_units, squad_v1, squad_v2, treebank_words
from braid.metrics.span import SpanMeter


@dataclass
class Said:
    text: str


def meter(scorer, rows):
    out = SpanMeter(scorer)
    for said, gold in rows:
        out.update(Said(said), gold)
    return out


# ------------------------------------------------------------------ SQuAD


@pytest.mark.parametrize(
    ("said", "golds", "f1", "exact"),
    [
        ("The Cat!", ["cat"], 1.0, 1.0),
        ("a black cat", ["the cat", "dog"], 2 / 3, 0.0),
        ("cat cat", ["cat"], 2 / 3, 0.0),
        ("dog", ["cat", "the big dog"], 2 / 3, 0.0),
        ("U.S.", ["us"], 1.0, 1.0),
        ("then an theory", ["then theory"], 1.0, 1.0),
        ("", ["cat"], 0.0, 0.0),
        ("“cat”", ["cat"], 0.0, 0.0),
    ],
)
@pytest.mark.parametrize("scorer", [squad_v1, squad_v2])
def test_words_are_compared_without_case_punctuation_and_articles(scorer, said, golds, f1, exact):
    assert scorer(said, golds) == pytest.approx((f1, exact))


def test_the_two_versions_differ_where_nothing_is_left_of_an_answer():
    assert squad_v1("the", ["a"]) == (0.0, 1.0)
    assert squad_v2("the", ["a"]) == (1.0, 1.0)
    assert squad_v1("the", ["a", "cat"]) == (0.0, 1.0)
    assert squad_v2("the", ["a", "cat"]) == (0.0, 0.0)


@pytest.mark.parametrize("scorer", [squad_v1, squad_v2, cmrc])
def test_without_an_answer_only_silence_is_right(scorer):
    assert scorer("", []) == (1.0, 1.0)
    assert scorer("cat", []) == (0.0, 0.0)
    assert scorer("", ["cat"]) == (0.0, 0.0)


def test_squad_v1_equals_torchmetrics_on_random_answers():
    torchmetrics = pytest.importorskip("torchmetrics")
    rng = random.Random(0)
    words = ["the", "A", "cat", "cat,", "dog's", "—", "an", "red", "3.5", "É", "(cat)", "  "]

    def text():
        return " ".join(rng.choices(words, k=rng.randint(1, 5)))

    rows = [(text(), [text() for _ in range(rng.randint(1, 3))]) for _ in range(300)]
    # torchmetrics counts as v2.0 does where nothing is left of both texts.
    rows = [(said, golds) for said, golds in rows if squad_v1(said, golds)[0] or not squad_v1(said, golds)[1]]
    found = torchmetrics.functional.text.squad(
        [{"prediction_text": said, "id": str(k)} for k, (said, _) in enumerate(rows)],
        [
            {"answers": {"text": golds, "answer_start": [0] * len(golds)}, "id": str(k)}
            for k, (_, golds) in enumerate(rows)
        ],
    )
    ours = meter("squad_v1", rows).compute()
    assert ours == pytest.approx({"f1": found["f1"].item() / 100, "exact_match": found["exact_match"].item() / 100})


# ------------------------------------------------------------------ CMRC


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("光荣和ω-Force", ["光", "荣", "和", "ωforce"]),
        ("《B.C.》 3,000 年", ["b.c.", "3,000", "年"]),
        # Punctuation of its list goes first, so it divides nothing.
        ("B，C年", ["bc", "年"]),
        ("第 2 次…", ["第", "2", "次", "…"]),
        ("", []),
        ("。，", []),
        ("㐀", ["㐀"]),
    ],
)
def test_chinese_is_divided_into_characters_and_all_else_into_words(text, units):
    assert list(mixed_units(text)) == units


@pytest.mark.parametrize(
    ("said", "golds", "f1", "exact"),
    [
        ("村雨城", ["村雨城"], 1.0, 1.0),
        ("村雨城。", ["《村雨城》"], 1.0, 1.0),
        # 任天堂 is the longest common run: 3 of 4 against 3 of 5.
        ("任天堂的", ["谜任天堂版"], 2 * 3 / 9, 0.0),
        # Two runs of two: only one counts, unlike in SQuAD's bag.
        ("上海北京", ["北京上海"], 2 * 2 / 8, 0.0),
        ("1990年", ["1990年", "年"], 1.0, 1.0),
        ("1990 年", ["1990年"], 1.0, 0.0),
        ("甲", ["乙"], 0.0, 0.0),
        ("。", ["，"], 0.0, 1.0),
        ("the cat", ["cat"], 2 * 1 / 3, 0.0),
    ],
)
def test_chinese_f1_is_that_of_the_longest_common_run(said, golds, f1, exact):
    assert cmrc(said, golds) == pytest.approx((f1, exact))


def test_other_scripts_are_divided_as_nltk_divides_them():
    tokenize = pytest.importorskip("nltk.tokenize").NLTKWordTokenizer().tokenize
    rng = random.Random(0)
    pieces = [*'aé(),.!?$%&[]<>;@#»«‘"  ', "3,000", "u.s.", "don't", "it's", "they're", "cannot", "...", "''"]
    texts = [" ".join("".join(rng.choices(pieces, k=rng.randint(1, 5))).split()) for _ in range(3000)]
    # Apostrophes next to punctuation are where releases of NLTK differ among themselves.
    texts = [text for text in texts if not re.search(r"(?<!\w)'|'(?!\w)|n't\w|\w\w'[a-z]+'", text)]
    assert len(texts) > 1500
    wrong = [text for text in texts if treebank_words(text) != tokenize(text)]
    assert wrong == []


def test_cmrc_equals_its_script_on_random_answers():
    """The script's algorithm written out: a table of common runs that end at each pair of units."""

    def longest(a, b):
        table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
        for i, x in enumerate(a):
            for j, y in enumerate(b):
                table[i + 1][j + 1] = table[i][j] + 1 if x == y else 0
        return max(max(row) for row in table)

    rng = random.Random(1)
    for _ in range(300):
        said, gold = ("".join(rng.choices("甲乙丙，a1 ", k=rng.randint(1, 12))) for _ in range(2))
        a, b = mixed_units(said), mixed_units(gold)
        run = longest(a, b)
        precision, recall = run / max(len(a), 1), run / max(len(b), 1)
        expected = 2 * precision * recall / (precision + recall) if run else 0.0
        assert cmrc(said, [gold])[0] == pytest.approx(expected)


# ------------------------------------------------------------------ the meter


def test_both_kinds_of_questions_are_reported_where_there_are_both():
    answered = meter("squad_v2", [("cat", ["cat"]), ("red dog", ["dog"])])
    assert answered.compute() == pytest.approx({"f1": (1 + 2 / 3) / 2, "exact_match": 0.5})
    declined = meter("squad_v2", [("", []), ("x", []), ("y", [])])
    assert declined.compute() == pytest.approx({"f1": 1 / 3, "exact_match": 1 / 3})
    answered.merge(declined)
    assert answered.compute() == pytest.approx(
        {"f1": (2 + 2 / 3) / 5, "exact_match": 0.4, "has_answer_f1": 5 / 6, "no_answer_f1": 1 / 3}
    )
    assert [row["support"] for row in answered.table()] == [2, 3]


def test_before_the_first_question_all_is_0():
    assert SpanMeter().compute() == {"f1": 0.0, "exact_match": 0.0}
    assert SpanMeter().table() == []
