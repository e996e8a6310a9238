from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from braid.metrics.generation import GenerationMeter, bleu_tokens, common_length, rouge_l, rouge_words

WORDS = [
    "the",
    "a",
    "cat",
    "sat",
    "on",
    "mat,",
    "sofa.",
    "It's",
    "snake_case",
    "3.5",
    "well-known",
    '"Yes!"',
    "UP",
    "$5",
]
SIGNS = list("我们昨天在北京看了一场电影，非常好！他说：“是的。”ABC 12")


@dataclass
class Said:
    text: str


def fed(said, gold, tokens="13a", **options):
    meter = GenerationMeter(tokens, **options)
    for a, b in zip(said, gold, strict=True):
        meter.update(Said(a), b)
    return meter


def corpus(seed, parts, joint, n=40):
    """Random references, and predictions that share some of each."""
    random = np.random.default_rng(seed)
    gold, said = [], []
    for _ in range(n):
        words = [parts[k] for k in random.integers(len(parts), size=random.integers(1, 15))]
        gold.append(joint.join(words))
        said.append(joint.join(parts[random.integers(len(parts))] if random.random() < 0.3 else w for w in words))
    return said, gold


@pytest.mark.parametrize("tokens", ["13a", "zh", "char", "none"])
@pytest.mark.parametrize(("parts", "joint"), [(WORDS, " "), (SIGNS, "")])
def test_bleu_and_chrf_are_sacrebleus(parts, joint, tokens):
    sacrebleu = pytest.importorskip("sacrebleu")
    said, gold = corpus(1, parts, joint)
    scores = fed(said, gold, tokens).compute()
    assert scores["bleu"] == pytest.approx(sacrebleu.corpus_bleu(said, [gold], tokenize=tokens).score / 100)
    assert scores["chrf"] == pytest.approx(sacrebleu.corpus_chrf(said, [gold]).score / 100)
    assert 0 < scores["chrf"] < 1


def test_english_rouge_l_is_that_of_rouge_score():
    rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer")
    scorer = rouge_scorer.RougeScorer(["rougeL"])
    said, gold = corpus(2, WORDS, " ")
    expected = np.mean([scorer.score(b, a)["rougeL"].fmeasure for a, b in zip(said, gold, strict=True)])
    assert fed(said, gold).compute()["rouge_l"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("said", "gold", "score"),
    [
        ("我爱北京", "我很爱北京。", 2 * 4 / (4 + 5)),
        ("北京爱我", "我爱北京", 2 * 2 / (4 + 4)),
        ("我爱 Python 三", "我爱python", 2 * 3 / (4 + 3)),
        ("你好", "再见", 0.0),
        ("", "再见", 0.0),
        ("，。", "。", 0.0),
    ],
)
def test_chinese_rouge_l_counts_characters(said, gold, score):
    assert rouge_l(rouge_words(said), rouge_words(gold)) == pytest.approx(score)


@given(st.lists(st.sampled_from("abc"), max_size=12), st.lists(st.sampled_from("abc"), max_size=12))
def test_common_length_is_that_of_the_usual_table(a, b):
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
    assert common_length(a, b) == table[-1][-1]


def test_exact_match_minds_case_but_not_spaces():
    scores = fed(["a  b ", "A b", "a b c"], ["a b", "a b", "a b c"]).compute()
    assert scores["exact_match"] == pytest.approx(2 / 3)


def test_equal_texts_score_one_and_no_texts_zero():
    texts = ["one two three four five", "六 七八九十。"]
    assert fed(texts, texts).compute() == pytest.approx(dict.fromkeys(("bleu", "chrf", "rouge_l", "exact_match"), 1.0))
    assert set(GenerationMeter().compute().values()) == {0.0}


def test_symbols_are_cut_at_spaces_only():
    scores = fed(["B-PER I-PER O O-x"], ["B-PER I-PER O O"], "none").compute()
    assert scores["rouge_l"] == pytest.approx(3 / 4)


def test_merging_is_feeding_one_meter():
    said, gold = corpus(3, WORDS, " ")
    merged = fed(said[:7], gold[:7])
    merged.merge(fed(said[7:], gold[7:]))
    assert merged.compute() == fed(said, gold).compute()


def test_the_main_metric_stands_first():
    assert next(iter(GenerationMeter().compute())) == "bleu"
    assert next(iter(fed(["a"], ["a"], main="exact_match").compute())) == "exact_match"


def test_references_tell_how_bleu_cuts_them():
    assert bleu_tokens(["你好", "我 love 你", "hello"]) == "zh"
    assert bleu_tokens(["你好", "hi"]) == "13a"
