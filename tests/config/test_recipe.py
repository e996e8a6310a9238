"""Recipes from files, mappings and Python: what they become, and what is said of wrong ones."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from braid.config.chain import parse
from braid.config.families import SamplerConfig, TaskConfig
from braid.config.recipe import Recipe
from braid.config.training import TrainConfig
from braid.errors import RecipeError

GOOD = """\
encoder: {type: bert}
tasks:
  a:
    type: classification
    data: {train: train.tsv, dev: 10%, columns: {text: 0}}
  b.c:
    type: tagging
    crf: true
    data: tags.jsonl
train: {lr: 3e-5, sampler: uniform}
"""

WRONG = """\
name: reviews
encoder: {type: bertt}
tasks:
  sentiment:
    type: classification
    labelz: [good, bad]
    data: {train: trian.tsv}
  entities:
    type: tagger
    data: tags.jsonl
  other:
    data: tags.jsonl
chain: sentiment | entites & other
train:
  epoch: 3
  lr: -1
  schedule: linaer
  best: [sentimnt.f1]
lr: 5e-5
"""


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    Path("train.tsv").write_text("text\tlabel\n")
    Path("tags.jsonl").write_text("")
    Path("r.yaml").write_text(GOOD)
    SamplerConfig.variants()
    registry, modules = dict(SamplerConfig.registry), set(sys.modules)
    yield
    SamplerConfig.registry.clear()
    SamplerConfig.registry.update(registry)
    for name in {name for name in set(sys.modules) - modules if "plugin" in name}:
        del sys.modules[name]


def wrong(text: str, *overrides: str) -> list[str]:
    """The lines of a recipe's error, without its title."""
    Path("r.yaml").write_text(text)
    with pytest.raises(RecipeError) as caught:
        Recipe.load("r.yaml", overrides)
    return [line for problem in caught.value.problems for line in str(problem).split("\n")]


def parts(**changes: Any) -> dict[str, Any]:
    tasks = {"a": {"type": "classification", "data": "train.tsv"}}
    return {"encoder": {"type": "bert"}, "tasks": tasks, **changes}


def test_what_is_left_out_has_its_default() -> None:
    recipe = Recipe.load("r.yaml")
    assert (recipe.name, recipe.out, recipe.seed, recipe.cache) == ("r", "runs/r", 1, ".braid_cache")
    assert recipe.chain == "a | b.c"
    assert recipe.parsed_chain == parse("a | b.c")
    assert recipe.train == TrainConfig(lr=3e-5, sampler=SamplerConfig.lookup("uniform")())
    assert recipe.train.balancer.type == "sum"
    assert recipe.train.tokens_per_batch == 4096


def test_a_saved_recipe_loads_as_the_same_recipe() -> None:
    recipe = Recipe.load("r.yaml", ["train.betas=[0.8, 0.9]", "train.max_steps=7"])
    recipe.save("saved.yaml")
    assert Recipe.load("saved.yaml") == recipe
    assert Recipe.load_saved("saved.yaml") == recipe
    assert Recipe.load(recipe.model_dump(mode="json")) == recipe
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    assert "crf: true" in recipe.to_yaml()


def test_eight_and_more_mistakes_are_all_told_with_their_lines() -> None:
    here = Path.cwd()
    assert wrong(WRONG, "train.lrr=1") == [
        "r.yaml:2: encoder.type: unknown encoder type 'bertt': did you mean 'bert'?",
        "r.yaml:6: tasks.sentiment.labelz: unknown key 'labelz': did you mean 'labels'?",
        f"r.yaml:7: tasks.sentiment.data.train: there is no file 'trian.tsv' in {here}; did you mean 'train.tsv'?",
        "r.yaml:8: tasks.entities: task 'entities' does not stand in the chain",
        "    add it, for example `sentiment | entites & other | entities`, or remove it from `tasks`",
        "r.yaml:9: tasks.entities.type: unknown task type 'tagger': did you mean 'tagging'?",
        f"r.yaml:11: tasks.other: `type` is missing; one of: {', '.join(TaskConfig.variants())}",
        "r.yaml:13: chain: there is no task 'entites': did you mean 'entities'?",
        "    sentiment | entites & other",
        "                ^",
        "r.yaml:15: train.epoch: unknown key 'epoch': did you mean 'epochs'?",
        "r.yaml:16: train.lr: expected a number greater than 0, found -1",
        "r.yaml:17: train.schedule: expected one of linear, cosine, constant, found 'linaer'; did you mean 'linear'?",
        "r.yaml:18: train.best[0]: there is no task 'sentimnt.f1': did you mean 'sentiment.f1'?",
        "r.yaml:19: lr: unknown key 'lr': it belongs under `train`: train.lr",
        "override 'train.lrr=1': train.lrr: unknown key 'lrr': did you mean 'lr'?",
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("train: {epochs: 2.5}", "train.epochs: expected a whole number, found 2.5"),
        ("train: {epochs: true}", "train.epochs: expected a whole number, found true"),
        ("train: {epochs: 0}", "train.epochs: expected a number of at least 1, found 0"),
        ("train: {lr: fast}", "train.lr: expected a number, found 'fast'"),
        ("train: {lr: .inf}", "train.lr: expected a finite number, found inf"),
        ("train: {betas: [0.9]}", "train.betas[1]: `1` is missing"),
        ("train: {betas: 3}", "train.betas: expected a list, found 3"),
        ("train: {warmup: 1.5}", "train.warmup: from 1 on this is a number of steps and must be whole, found 1.5"),
        ("train: {freeze: {encoder: maybe}}", "train.freeze.encoder: expected true or false, found 'maybe'"),
        ("train: {freeze: all}", "train.freeze: expected a mapping, found 'all'"),
        ("train: {sampler: unifrom}", "train.sampler: unknown sampler type 'unifrom': did you mean 'uniform'?"),
        ("train: {sampler: {type: temperature, temperature: 0}}",
         "train.sampler.temperature: expected a number of at least 1, found 0"),
        ("train: {batch_tokens: 1, batch_rows: 1}",
         "train: batch_tokens and batch_rows exclude each other; remove one of them"),
        ("train: {best: [nothing]}", "train.best[0]: there is no task 'nothing': allowed: a, b.c"),
        ("train: 3", "train: expected a mapping, found 3"),
        ("seed: x", "seed: expected a whole number, found 'x'"),
        ("name: ../x", "name: '../x' is no name: use A-Z a-z 0-9 _ . - and no dot at the beginning"),
        ("name: [x]", "name: expected text, found ['x']"),
        ("chain: a", "tasks.b.c: task 'b.c' does not stand in the chain"),
        ("chain: a | b.c |", "chain: a task's name is missing at the end"),
        ("chain: [a]", "chain: expected text, found ['a']"),
        ("plugins: [nowhere_at_all]", "plugins[0]: there is no module 'nowhere_at_all'; install it, "
         "or name a file: nowhere_at_all.py"),
    ],
)  # fmt: skip
def test_single_mistakes(line: str, expected: str) -> None:
    key = line.split(":")[0]
    text = "\n".join(old for old in GOOD.splitlines() if not old.startswith(f"{key}:"))
    said = wrong(f"{text}\n{line}\n")
    assert expected in said[0]
    number = text.count("\n") + 2
    assert said[0].startswith("r.yaml:6: " if "does not stand" in expected else f"r.yaml:{number}: ")
    assert len([one for one in said if one.startswith("r.yaml")]) == 1


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("{train: x.foo}", "tasks.a.data.train: cannot tell the format of 'x.foo' by its suffix"),
        ("{train: train.tsv, dev: 150%}", "tasks.a.data.dev: share: expected a number less than 1, found 1.5"),
        ("{train: train.tsv, dev: 0.1}", "tasks.a.data.dev: expected a path or a mapping, found 0.1; "
         "a share of the training rows is `10%`"),
        ("{train: [train.tsv, {path: train.tsv, headr: false}]}",
         "tasks.a.data.train[1].headr: unknown key 'headr': did you mean 'header'?"),
        ("{train: train.tsv, dev: train.tsv, source: {headr: 1}}",
         "tasks.a.data.source.headr: unknown key 'headr': did you mean 'header'?"),
        ("{train: train.tsv, source: tvs}", "tasks.a.data.source: unknown source type 'tvs': did you mean 'tsv'?"),
        ("{trian: train.tsv}", "tasks.a.data.trian: unknown key 'trian': did you mean 'train'?"),
        ("{train: {header: false}}", "tasks.a.data.train: a source needs `path`, `hub` or `python`"),
        ("[train.tsv, no.tsv]", "tasks.a.data[1]: there is no file 'no.tsv' in"),
        ("no/where.tsv", "tasks.a.data: there is no file 'no/where.tsv' in"),
        ("{dev: train.tsv}", "tasks.a.data: `data.train` is missing: no rows to learn from"),
        ("3", "tasks.a.data: expected a mapping, found 3"),
    ],
)  # fmt: skip
def test_mistakes_in_data(data: str, expected: str) -> None:
    said = wrong(f"encoder: {{}}\ntasks:\n  a:\n    type: classification\n    data: {data}\n")
    assert any(expected in line for line in said), said
    assert said[0].startswith("r.yaml:5: ")


def test_a_wrong_member_of_a_union_is_one_problem() -> None:
    text = GOOD.replace("crf: true", "labels: 3").replace("data: {train", "class_weights: [1]\n    data: {train")
    assert wrong(text) == [
        "r.yaml:5: tasks.a.class_weights: expected 'balanced' or a mapping, found [1]",
        "r.yaml:9: tasks.b.c.labels: expected a list, found 3",
    ]


@pytest.mark.parametrize("name", ["a*b", ".hidden", "..", "词", "text"])
def test_a_task_needs_a_name_that_a_folder_can_have(name: str) -> None:
    said = wrong(GOOD.replace("b.c", f"'{name}'") + "chain: a\n")
    assert said[0].startswith(f"r.yaml:6: tasks.{name}: {name!r} ")


def test_no_tasks_at_all() -> None:
    assert wrong("encoder: {}\n") == ["r.yaml: tasks: `tasks` is missing"]
    assert wrong("encoder: {}\ntasks: {}\n") == ["r.yaml:2: tasks: a recipe needs at least one task"]


@pytest.mark.parametrize(
    ("override", "reached"),
    [
        ("train.lr=1e-3", lambda r: r.train.lr == 1e-3),
        ("train.clip=", lambda r: r.train.clip is None),
        ("train.freeze.layers=2", lambda r: r.train.freeze.layers == 2),
        ("train.sampler=temperature", lambda r: r.train.sampler.type == "temperature"),
        ("train.sampler={type: temperature, temperature: 5}", lambda r: r.train.sampler.temperature == 5),
        ("tasks.b.c.crf=false", lambda r: r.tasks["b.c"].crf is False),
        ("tasks.b.c.data.dev=20%", lambda r: r.tasks["b.c"].data.dev[0].share == 0.2),
        ("tasks.a.data.train=[train.tsv, train.tsv]", lambda r: len(r.tasks["a"].data.train) == 2),
        ("chain=b.c & a*2", lambda r: r.parsed_chain == parse("b.c & a*2")),
        ("seed=3", lambda r: r.seed == 3),
        ("name=other", lambda r: r.out == "runs/other"),
    ],
)
def test_overrides(override: str, reached: Any) -> None:
    assert reached(Recipe.load("r.yaml", [override]))


def test_an_override_may_add_a_task_and_a_later_one_wins() -> None:
    given = ["tasks.new.type=tagging", "tasks.new.data=tags.jsonl", "train.lr=1", "train.lr=2"]
    recipe = Recipe.load("r.yaml", given)
    assert recipe.chain == "a | b.c | new"
    assert recipe.train.lr == 2


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.lrr=1", "train.lrr: unknown key 'lrr': did you mean 'lr'?"),
        ("trian.lr=1", "trian: unknown key 'trian': did you mean 'train'?"),
        ("train.lr", "write an override as key=value, for example train.lr=3e-5"),
        ("=3", "write an override as key=value, for example train.lr=3e-5"),
        ("train..lr=3", "write an override as key=value, for example train.lr=3e-5"),
        ("train.lr=fast", "train.lr: expected a number, found 'fast'"),
        ("train.lr.x=1", "train.lr.x: `train.lr` is no mapping, so it has no key 'x'"),
        ("tasks.aa.crf=true", "tasks.aa.crf: there is no task 'aa': did you mean 'a'?"),
        ("tasks.a.data.train=no.tsv", "tasks.a.data.train: there is no file 'no.tsv' in"),
    ],
)
def test_wrong_overrides_are_quoted(override: str, expected: str) -> None:
    said = wrong(GOOD, override)
    assert said[0].startswith(f"override {override!r}: {expected}")


def test_an_override_that_is_no_yaml() -> None:
    assert wrong(GOOD, "train.betas=[0.9")[0].startswith("override 'train.betas=[0.9':1:5: this is not YAML")


def test_python_gets_all_problems_too() -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe(**parts(seed=-1, chain="a | b", train={"lr": 0, "warmup": "x"}))
    assert str(caught.value) == (
        "the recipe has 4 problems:\n"
        "seed: expected a number of at least 0, found -1\n"
        "train.lr: expected a number greater than 0, found 0\n"
        "train.warmup: expected a number, found 'x'\n"
        "chain: there is no task 'b': did you mean 'a'?\n    a | b\n        ^"
    ).replace("did you mean 'a'?", "allowed: a")


def test_python_takes_variants_chains_and_configs() -> None:
    task = TaskConfig.lookup("tagging")(data="tags.jsonl", crf=True)
    recipe = Recipe(**parts(tasks={"t": task}, chain=parse("t*2"), train=TrainConfig(epochs=1)))
    assert recipe.tasks["t"] == task
    assert recipe.chain == "t*2"
    assert recipe.train.epochs == 1


def test_files_are_looked_for_when_a_recipe_is_loaded_or_asked() -> None:
    recipe = Recipe(**parts(tasks={"a": {"type": "tagging", "data": {"train": "tags.jsonl", "test": "no.jsonl"}}}))
    assert [problem.key for problem in recipe.missing_files()] == ["tasks.a.data.test[0]"]
    with pytest.raises(RecipeError, match=r"there is no file 'no\.jsonl'"):
        recipe.check_files()
    recipe.save("saved.yaml")
    assert Recipe.load_saved("saved.yaml") == recipe
    with pytest.raises(RecipeError, match=r"saved.yaml:\d+: tasks.a.data.test\[0\]: there is no file 'no.jsonl'"):
        Recipe.load("saved.yaml")


PLUGIN = """
from typing import Literal
from braid.data.samplers.base import Sampler

class Twice(Sampler):
    \"\"\"Twice.\"\"\"
    type: Literal["twice_plugin"] = "twice_plugin"
    factor: int = 2

    def draws(self, sizes, rates, *, epoch, epochs):
        return [self.factor * size for size in sizes]
"""


def test_a_plugin_brings_its_variants_and_a_saved_recipe_does_not_import_it() -> None:
    Path("my_plugin.py").write_text(PLUGIN)
    text = GOOD.replace("sampler: uniform", "sampler: {type: twice_plugin, factor: 3}") + "plugins: [my_plugin.py]\n"
    Path("r.yaml").write_text(text)
    with pytest.raises(RecipeError, match="unknown sampler type 'twice_plugin'"):
        Recipe.load_saved("r.yaml")
    recipe = Recipe.load("r.yaml")
    assert recipe.train.sampler.factor == 3  # type: ignore[attr-defined]
    recipe.save("saved.yaml")
    assert Recipe.load("saved.yaml") == recipe


def test_a_plugin_that_fails_is_told_once_with_its_line() -> None:
    Path("my_plugin.py").write_text(PLUGIN.replace("factor: int = 2", "factor: int = nothing"))
    text = GOOD.replace("sampler: uniform", "sampler: twice_plugin") + "plugins: [my_plugin.py]\n"
    assert wrong(text) == [
        "r.yaml:11: plugins[0]: my_plugin.py cannot be imported: line 8: NameError: name 'nothing' is not defined"
    ]
