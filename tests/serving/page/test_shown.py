"""The page at `/`, as a browser shows it: a real server, a model with every task type, a headless Chromium."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from braid.data.units import split_words
from conftest import ROOT
from serving.page.parts import NO_PLAYWRIGHT, PAIR, TEXT, TYPES, card, fill_example, predict, served, settled

pytest.importorskip("fastapi", reason="no server: pip install 'braid-nlp[serve]'")
sync_api = pytest.importorskip("playwright.sync_api", reason=NO_PLAYWRIGHT)


def test_every_task_is_shown_and_nothing_goes_elsewhere(open_page: Any, url: str, model: Any, wrong: list[str]) -> None:
    asked: list[str] = []
    page = open_page(before=lambda page: page.on("request", lambda request: asked.append(request.url)))
    predict(page, text=TEXT, pair=PAIR, options="surely Rome\nperhaps Oslo")
    assert [one.get_attribute("data-task") for one in page.query_selector_all(".card")] == list(model.tasks)
    assert {one.get_attribute("data-type") for one in page.query_selector_all(".card")} == set(TYPES)
    assert page.locator("#health").inner_text().endswith("ready")
    assert asked
    assert all(address.startswith(url) for address in asked), asked
    assert wrong == []


SHOWN = {
    "classification": lambda p: [p.label, *p.probabilities],
    "multilabel": lambda p: [*p.labels, *p.probabilities],
    "regression": lambda p: [f"{p.value:.3f}".replace("-", "−")],
    "tagging": lambda p: [part for span in p.spans for part in (span.text, span.label)],
    "ranking": lambda p: [f"{p.score:.3f}".replace("-", "−"), f"rank {p.rank}"],
    "span": lambda p: [p.text or "no answer in the second text", *(one.text for one in p.nbest)],
    "multiple_choice": lambda p: [p.option],
    "seq2seq": lambda p: [p.text or "(nothing)"],
    "similarity": lambda p: [f"{p.cosine:.3f}".replace("-", "−")],
    "dependency": lambda p: p.relations,
}


@pytest.mark.parametrize("kind", list(TYPES))
def test_each_type_has_a_view_of_what_it_predicts(kind: str, shared_page: Any, model: Any) -> None:
    assert kind in SHOWN, f"say here what the page shows of {kind}; without a view of its own it shows JSON"
    fill_example(shared_page, kind)
    example = {key: value for key, value in TYPES[kind].specimens(1)[0].items() if key not in ("label", "query")}
    prediction = model(example, [kind])[kind]
    text = card(shared_page, kind).text_content()
    assert not card(shared_page, kind).locator("pre").count()
    for part in SHOWN[kind](prediction):
        assert part in text, (part, text)


def test_spans_are_marked_where_they_are_however_characters_are_counted(shared_page: Any, model: Any) -> None:
    shared_page.uncheck("#words")
    predict(shared_page, text=TEXT, pair="", options="")
    for task in ("tagging", "cut", "pos"):
        found = [span.text for span in model(TEXT, [task])[task].spans]
        assert found
        marked = shared_page.eval_on_selector_all(
            f'.card[data-task="{task}"] .text > *', "all => all.map(one => one.firstChild.textContent)"
        )
        assert marked == found
    assert card(shared_page, "cut").locator(".text").text_content() == TEXT


def test_candidates_are_ranked_against_each_other(shared_page: Any, model: Any) -> None:
    candidates = ["surely 0 went to Rome", "perhaps 1 went to Oslo", "surely 4 went to Lima"]
    question = "who went to Rome ?"
    shared_page.uncheck("#words")
    asked = predict(shared_page, text=question, pair="", candidates="\n".join(candidates))
    rows = [{"text": question, "pair": pair, "query": "1"} for pair in candidates]
    assert {"inputs": rows, "tasks": ["ranking"]} in asked
    found = zip(candidates, model(rows, ["ranking"]), strict=True)
    best = sorted(found, key=lambda one: one[1]["ranking"].rank)
    shown = card(shared_page, "ranking").locator(".bars .name").all_inner_texts()
    assert shown == [f"{rank}. {pair}" for rank, (pair, _) in enumerate(best, 1)]
    predict(shared_page, candidates="")


def test_words_are_divided_as_the_server_divides_them(shared_page: Any) -> None:
    texts = [
        TEXT,
        "Don't stop: naïve café_1, x²! 3.14",
        "北京2008年，Ｏｋ　カタカナ ﾊﾝｶｸ 한국어 中",
        "👩‍🚀👍🏽 👨‍👩‍👧 हिन्दी में नमस्ते\u200dक e\u0301te\u0301",
        "\ufeffa\x1cb\x85c\u2028d",
        "عربي וגם עִבְרִית ไทย",
    ]
    script = "async texts => { const m = await import('/page/words.js'); return texts.map(m.wordsOf); }"
    found = shared_page.evaluate(script, texts)
    assert found == [[text[a:b] for a, b in split_words(text)] for text in texts]


def test_nothing_that_a_user_or_a_model_says_is_run(open_page: Any) -> None:
    evil = '<img src=x onerror="window.run=1"><script>window.run=1</script>'
    facts = {
        "labels": [evil],
        "metric": evil,
        "predicts": True,
        "needs": ["pair", "options"],
        "example": {"text": evil},
    }
    tasks = {f"{kind} {evil}": {"type": kind, **facts} for kind in (*TYPES, evil)}
    span = {"start": 0, "end": 4, "text": evil, "label": evil, "score": 0.5}
    everything = {
        **{"label": evil, "labels": [evil], "probabilities": {evil: 1.0}, "value": 1, "spans": [span], "tags": [evil]},
        **{"score": 0.5, "rank": 1, "text": evil, "start": 0, "end": 4, "nbest": [span, span], "option": evil},
        **{"index": 0, "cosine": 0.5, "heads": [0, 1], "relations": [evil, evil]},
    }
    row = {"text": evil, "pair": evil, "words": [evil, evil], "options": [evil], **dict.fromkeys(tasks, everything)}
    listed = {name: everything | ({"probabilities": [1.0]} if "choice" in name else {}) for name in tasks}
    answer = {"model": evil, "results": [row | listed], "milliseconds": {evil: 1.0, "total": 1.0}}

    def pretend(page: Any) -> None:
        models = {"default": evil, "models": {evil: {"tasks": tasks}, "other": {"tasks": {}}}}
        page.route("**/tasks", lambda route: route.fulfill(json=models))
        page.route("**/predict", lambda route: route.fulfill(json=answer))

    page = open_page(before=pretend)
    predict(page, text=evil, pair=evil, options=f"{evil}\n{evil}")
    assert page.locator(".card").count() == len(tasks)
    assert page.locator(".card .problem").count() == 0
    assert page.locator(".card img, .card script, #tasks img, #example img, #request img").count() == 0
    assert page.evaluate("window.run") is None
    assert page.locator(".card", has_text=evil).count() == len(tasks)


def test_tasks_are_chosen(open_page: Any, model: Any) -> None:
    page = open_page()
    assert "tasks" not in predict(page, text="Anna left Rome")[0]
    page.click("#none")
    assert page.locator(".card").count() == 0
    page.check("label.chip:has-text('multilabel') input")
    page.check("label.chip:has-text('cut') input")
    (body,) = predict(page, text="Anna left Oslo")
    assert body == {"inputs": [{"text": "Anna left Oslo"}], "tasks": ["cut", "multilabel"]}
    assert page.locator(".card").count() == 2
    page.check("label.chip:has-text('span') input")
    (body,) = predict(page, text="Anna left Oslo")
    assert body["tasks"] == ["cut", "multilabel"]
    assert "needs a second text" in card(page, "span").inner_text()
    card(page, "span").get_by_role("button").click()
    settled(page)
    assert "needs" not in card(page, "span").inner_text()
    page.click("#all")
    settled(page)
    assert page.locator(".card").count() == len(model.tasks)


def test_words_that_are_given_stay_words(shared_page: Any, model: Any) -> None:
    shared_page.check("#words")
    body = predict(shared_page, text="Anna left  New-York .", pair="", options="")[0]
    assert body["inputs"] == [{"words": ["Anna", "left", "New-York", "."]}]
    tree = model({"words": ["Anna", "left", "New-York", "."]}, ["dependency"])["dependency"]
    described = card(shared_page, "dependency").get_by_role("img").get_attribute("aria-label")
    assert f"{['Anna', 'left', 'New-York', '.'][tree.heads.index(0)]} is the root" in described
    shared_page.uncheck("#words")


def test_it_may_stand_under_a_path_of_another_server(open_page: Any, url: str, wrong: list[str]) -> None:
    front = "http://elsewhere.test/some/path/"

    def proxied(page: Any) -> None:
        def forward(route: Any) -> None:
            if route.request.url.startswith(front):
                route.fulfill(response=route.fetch(url=url + route.request.url.removeprefix(front)))
            else:
                route.fulfill(status=404)

        page.route("http://elsewhere.test/**", forward)

    page = open_page(front, before=proxied)
    assert page.locator("#health").inner_text().endswith("ready")
    assert f"{front}predict" in page.locator("#curl").text_content()
    assert wrong == []


def test_typing_predicts_after_a_pause_and_says_how_long_it_took(open_page: Any) -> None:
    page = open_page()
    with page.expect_request("**/predict") as sent:
        page.fill("#text", "the film was fine")
    assert json.loads(sent.value.post_data)["inputs"] == [{"text": "the film was fine"}]
    settled(page)
    said = page.locator("#latency").inner_text()
    assert re.fullmatch(r"12 tasks in \d+ ms · server [\d.]+ ms \(.*compute [\d.]+.*\)", said), said
    page.fill("#text", "  ")
    sync_api.expect(page.locator(".card")).to_have_count(0)


def test_what_is_copied_runs_and_predicts_the_same(open_page: Any, model: Any, tmp_path: Path) -> None:
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    text = TEXT + ' it\'s "quoted" \\ $HOME `id`'
    predict(page, text=text, candidates="a\nb")
    page.click("#request summary")
    rows = [{"text": text, "pair": pair, "query": "1"} for pair in "ab"]
    expected = [
        model([{"text": text}], [name for name in model.tasks if name in model(text)])[0],
        *model(rows, ["ranking"]),
    ]
    wanted = [json.loads(json.dumps(result.to_json())) for result in expected]

    page.click("#copy-curl")
    sync_api.expect(page.locator("#copied")).to_have_text("Copied as curl.")
    command = page.evaluate("navigator.clipboard.readText()")
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    answers = [json.loads(part) for part in re.sub(r"\}\s*\{\"model\"", '}\n{"model"', done.stdout).splitlines()]
    assert same([row for answer in answers for row in answer["results"]], wanted)

    page.click("#copy-python")
    sync_api.expect(page.locator("#copied")).to_have_text("Copied as Python.")
    (tmp_path / "copied.py").write_text(page.evaluate("navigator.clipboard.readText()"), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, tmp_path / "copied.py"], capture_output=True, text=True, check=True, env=environment
    )
    assert same([ast.literal_eval(line) for line in done.stdout.splitlines()], wanted)


def same(found: Any, wanted: Any) -> bool:
    """Equal but for the last digits of numbers, which depend on what shares a batch."""
    if isinstance(wanted, float):
        return bool(found == pytest.approx(wanted, abs=1e-4))
    if isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(same(found[key], wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(same, found, wanted))
    return bool(found == wanted)


def test_a_server_with_a_key_and_two_models(open_page: Any, run: Path) -> None:
    with served(f"one={run}", f"two={run}", BRAID_API_KEY="a key") as address:
        page = open_page(address, wait="#key")
        assert "key" in page.locator("#problem").inner_text()
        assert not page.is_visible("#routes")
        page.fill("#key", "another")
        page.keyboard.press("Enter")
        page.fill("#key", "a key")
        page.keyboard.press("Enter")
        page.wait_for_selector(".card")
        assert page.locator("#problem").inner_text() == ""
        page.select_option("#model", "two")
        settled(page)
        assert predict(page, text="hello")[0]["model"] == "two"
        page.click("#request summary")
        for code in ("#curl", "#python"):
            assert "BRAID_API_KEY" in page.locator(code).inner_text()
            assert "a key" not in page.locator(code).inner_text()
        page.click("#routes")
        page.wait_for_url(lambda url: url.startswith("blob:"))
        assert "POST /predict" in page.inner_text("body")


def test_what_the_server_refuses_is_said_and_can_be_tried_again(open_page: Any, wrong: list[str]) -> None:
    page = open_page()
    refusal = {"error": {"type": "busy", "message": "the queue is full", "where": "inputs"}}
    page.route("**/predict", lambda route: route.fulfill(status=429, json=refusal, headers={"retry-after": "3"}))
    predict(page, text="hello")
    assert "the queue is full Come again in 3 s. (inputs)" in page.get_by_role("alert").inner_text()
    assert page.locator(".card").count() == 0
    page.unroute("**/predict")
    page.route("**/predict", lambda route: route.abort())
    predict(page, text="hello")
    assert "cannot be reached" in page.get_by_role("alert").inner_text()
    page.unroute("**/predict")
    page.get_by_role("button", name="Try again").click()
    page.wait_for_selector(".card")
    assert page.get_by_role("alert").inner_text() == ""
    page.route("**/predict", lambda route: route.fulfill(status=502, body="<html>bad gateway</html>"))
    predict(page, text="hello")
    assert "the server answered 502" in page.get_by_role("alert").inner_text()
