"""The routes, without a socket."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from braid.config.families import TaskConfig
from braid.errors import BraidError
from braid.serve.models import needs_of
from braid.serve.pages import page_file
from braid.tasks.base import LabelledTask
from serving.conftest import app_of, http

TEXTS = ["visit 3 to Rome was good", "a", "北京 was bad " * 20, "", "visit to Paris"]


def call(app: Any, method: str, path: str, content: Any = None, **options: Any) -> httpx.Response:
    async def main() -> httpx.Response:
        async with http(app) as client:
            given = {} if content is None else {"content": json.dumps(content)}
            return await client.request(method, path, **given, **options)

    return asyncio.run(main())


def post(app: Any, content: Any, path: str = "/predict", **options: Any) -> httpx.Response:
    return call(app, "POST", path, content, **options)


def test_answers_are_those_of_the_model_here(served: Any, model: Any) -> None:
    app, *_ = served
    found = post(app, {"texts": TEXTS}).json()
    assert found["model"] == "tiny"
    assert found["results"] == json.loads(json.dumps([result.to_json() for result in model(TEXTS)]))
    assert set(found["milliseconds"]) == {"read", "queue", "compute", "tell", "total"}


def test_requests_with_different_tasks_share_a_batch_and_get_their_own(served: Any, model: Any) -> None:
    app, _, batcher = served
    batches: list[int] = []
    batcher.observer.batch = lambda tokens, rows, seconds: batches.append(rows)
    asked = [{"text": text, "tasks": tasks} for text in TEXTS for tasks in (["mood"], ["places"], ["places", "mood"])]

    async def main() -> list[httpx.Response]:
        async with http(app) as client:
            return await asyncio.gather(*(client.post("/predict", json=content) for content in asked))

    for content, response in zip(asked, asyncio.run(main()), strict=True):
        (result,) = response.json()["results"]
        expected = model(content["text"], content["tasks"]).to_json()
        assert list(result) == list(expected)
        for task in content["tasks"]:  # in other company the last digits of a float may differ
            assert result[task].get("label") == expected[task].get("label")
            assert result[task].get("tags") == expected[task].get("tags")
    assert len(batches) < len(asked)


def test_candidates_are_never_ranked_against_those_of_another_request(served: Any) -> None:
    app, *_ = served
    rows = [{"text": "query 1", "pair": f"it was {k}", "query": "q"} for k in range(3)]

    async def main() -> list[httpx.Response]:
        async with http(app) as client:
            return await asyncio.gather(*(client.post("/predict", json={"inputs": rows}) for _ in range(6)))

    for response in asyncio.run(main()):
        assert sorted(result["rank"]["rank"] for result in response.json()["results"]) == [1, 2, 3]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"text": "a b"}, ["a b"]),
        ({"text": "a", "pair": "b"}, [("a", "b")]),
        ({"texts": ["a", "b"], "pairs": ["c", None]}, [("a", "c"), "b"]),
        ({"words": ["a", "b"]}, [{"words": ["a", "b"]}]),
        ({"words": [["a"], ["b", "c"]]}, [{"words": ["a"]}, {"words": ["b", "c"]}]),
        ({"inputs": ["a", {"text": "b", "mood": "pos"}]}, ["a", "b"]),
        ({"texts": []}, []),
    ],
)
def test_every_form_of_input_is_read(served: Any, model: Any, content: Any, expected: list[Any]) -> None:
    found = post(served[0], content)
    assert found.status_code == 200, found.text
    assert [list(row) for row in found.json()["results"]] == [list(result.to_json()) for result in model(expected)]


@pytest.mark.parametrize(
    ("content", "status", "kind", "word"),
    [
        ({}, 422, "request", "give one of"),
        ({"text": "a", "texts": ["b"]}, 422, "request", "there are text, texts"),
        ({"text": 3}, 422, "request", "string"),
        ({"texts": ["a"], "taks": []}, 422, "request", "taks"),
        ({"texts": ["a"], "pairs": []}, 422, "request", "as many"),
        ({"text": "a", "tasks": ["moood"]}, 422, "task", "did you mean 'mood'"),
        ({"text": "a", "tasks": ["rank"]}, 422, "input", "cannot read it"),
        ({"text": "a", "model": "tinny"}, 422, "model", "did you mean 'tiny'"),
        ({"inputs": ["a", {"words": "b"}]}, 422, "input", "input 2"),
        ({"texts": ["a"] * 1025}, 413, "too_many_rows", "1,024"),
        ([], 422, "request", "object"),
    ],
)
def test_what_is_wrong_is_said(served: Any, content: Any, status: int, kind: str, word: str) -> None:
    found = post(served[0], content)
    assert found.status_code == status
    error = found.json()["error"]
    assert error["type"] == kind
    assert word in error["message"]
    assert error["where"]


HOSTILE = [
    b"",
    b"{",
    b"[" * 100_000,
    b'{"text":' + b"[" * 500 + b"]" * 500 + b"}",
    b'{"inputs":[{"text":"a","x":' + b"[" * 900 + b"]" * 900 + b"}]}",
    b'{"text":"\\ud800 lone"}',
    b'{"text":"\\u0000 nul \x7f"}',
    b'{"text":"\xff"}',
    b'{"text":NaN}',
    b'{"text":"a","pair":"\\udfff"}',
    b'{"words":["\\ud83d","\\u0000"]}',
    b'{"words":[[]]}',
    b'{"words":[]}',
    b'{"inputs":[{"text":"a","query":1e999}]}',
    b'{"inputs":[{"text":"a","query":{"a":1},"options":[]}]}',
    b'{"text":"' + "\u200d\u0301".encode() * 5000 + b'"}',
    b'{"text":"' + b"a" * 900_000 + b'"}',
    b'{"text":"' + b"a " * 100_000 + b'"}',
]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_hostile_bodies_get_an_answer_that_is_no_fault_of_the_server(served: Any, number: int) -> None:
    async def main() -> httpx.Response:
        async with http(served[0]) as client:
            return await client.post("/predict", content=HOSTILE[number])

    found = asyncio.run(main())
    assert found.status_code in (200, 400, 413, 422)
    assert ("results" in found.json()) == (found.status_code == 200)


def test_a_lone_surrogate_comes_back_as_it_was_sent(served: Any) -> None:
    found = post(served[0], {"text": "a \ud800 b", "tasks": ["mood"]})
    assert json.loads(found.content)["results"][0]["text"] == "a \ud800 b"


def test_large_bodies_and_many_tokens_are_refused(run: Path) -> None:
    with app_of(run, limits={"max_bytes": 1000, "max_tokens": 50}) as (app, *_):
        assert post(app, {"text": "a" * 1000}).json()["error"]["type"] == "too_large"
        found = post(app, {"text": "a b " * 40})
        assert (found.status_code, found.json()["error"]["type"]) == (413, "too_many_tokens")

        async def chunked() -> httpx.Response:
            async def body() -> Any:
                for _ in range(100):
                    yield b" " * 100

            async with http(app) as client:
                return await client.post("/predict", content=body())

        assert asyncio.run(chunked()).status_code == 413


def test_vectors_are_those_of_the_model_here(served: Any, model: Any) -> None:
    found = post(served[0], {"texts": TEXTS}, "/embed").json()
    np.testing.assert_allclose(found["embeddings"], model.embed(TEXTS), atol=1e-5)
    assert post(served[0], {"text": "a", "task": "mood"}, "/embed").status_code == 422


def test_tasks_say_what_they_are_and_their_examples_can_be_sent(served: Any) -> None:
    found = call(served[0], "GET", "/tasks").json()
    tasks = found["models"][found["default"]]["tasks"]
    assert {name: (task["type"], task["metric"]) for name, task in tasks.items()} == {
        "mood": ("classification", "accuracy"),
        "places": ("tagging", "f1"),
        "rank": ("ranking", "map"),
    }
    assert tasks["mood"]["labels"] == ["neg", "pos"]
    assert {name: task["needs"] for name, task in tasks.items()} == {"mood": [], "places": [], "rank": ["pair"]}
    for name, task in tasks.items():
        result = post(served[0], {"inputs": [task["example"]], "tasks": [name]}).json()["results"][0]
        assert name in result


def test_what_a_type_needs_is_what_it_cannot_read_a_row_without() -> None:
    found = {}
    for kind, task in TaskConfig.variants().items():
        if issubclass(task, LabelledTask):
            found[kind] = needs_of(task.model_validate({"type": kind, "data": {"train": "a.jsonl"}}))
            assert set(found[kind]) <= task.specimens(1)[0].keys()
    pair = {kind: ["pair"] for kind in ("ranking", "span", "similarity")}
    assert {kind: needs for kind, needs in found.items() if needs} == {**pair, "multiple_choice": ["options"]}


def test_every_example_of_the_schema_is_answered(served: Any) -> None:
    schema = call(served[0], "GET", "/openapi.json").json()
    for path in ("/predict", "/embed"):
        examples = schema["paths"][path]["post"]["requestBody"]["content"]["application/json"]["examples"]
        assert examples
        for example in examples.values():
            assert post(served[0], example["value"], path).status_code == 200
    page = call(served[0], "GET", "/docs").text
    assert "curl" in page
    assert "http://" not in page
    assert "https://" not in page


def test_without_the_key_only_health_figures_and_the_page_answer(run: Path) -> None:
    with app_of(run, api_key="secret") as (app, *_):
        for path in ("/", "/health", "/health/live", "/health/ready", "/metrics"):
            assert call(app, "GET", path).status_code == 200
        for path in ("/tasks", "/docs", "/openapi.json", "/nowhere", "/admin/reload", "/pages", "/Health"):
            assert call(app, "GET", path).status_code == 401, path
        assert "open the page at /" in call(app, "GET", "/docs").json()["error"]["message"]
        assert post(app, {"text": "a"}).status_code == 401
        for wrong in ({"x-api-key": "secre"}, {"authorization": "Bearer "}, {"authorization": "Basic secret"}):
            assert post(app, {"text": "a"}, headers=wrong).status_code == 401
        for right in ({"x-api-key": "secret"}, {"authorization": "Bearer secret"}):
            assert post(app, {"text": "a"}, headers=right).status_code == 200


def test_figures_count_requests_and_batches(run: Path) -> None:
    with app_of(run) as (app, *_):
        post(app, {"texts": TEXTS})
        post(app, {})
        text = call(app, "GET", "/metrics").text
    assert 'braid_requests_total{route="/predict",status="200"} 1.0' in text
    assert 'braid_requests_total{route="/predict",status="422"} 1.0' in text
    assert 'braid_stage_seconds_count{stage="compute"} 1.0' in text
    assert "braid_batch_rows_sum 5.0" in text


def test_figures_are_of_now_not_of_the_last_request(run: Path) -> None:
    with app_of(run) as (app, _, batcher):
        app.metrics.memory.labels("7").set(1)  # an engine that has ended
        batcher.inside, batcher.reading, batcher.density = 3, 100, 0.5
        text = call(app, "GET", "/metrics").text
    assert "braid_requests_inside 3.0" in text
    assert "braid_queue_tokens 50.0" in text
    assert 'engine="7"' not in text


def test_the_log_holds_no_texts_unless_asked(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for texts in (False, True):
        with app_of(run, log="json", log_texts=texts) as (app, *_):
            post(app, {"text": "sesame"}, headers={"x-request-id": "mine"})
        line = json.loads(capsys.readouterr().err)
        assert (line["id"], line["status"], line["model"], line["rows"]) == ("mine", 200, "tiny", 1)
        assert ("sesame" in json.dumps(line)) == texts


def test_a_full_queue_says_when_to_come_again(run: Path) -> None:
    with app_of(run, limits={"queue_requests": 1}) as (app, _, batcher):
        batcher.inside = 1
        found = post(app, {"text": "a"})
        assert found.status_code == 429
        assert int(found.headers["retry-after"]) >= 1
        assert call(app, "GET", "/health").status_code == 200


def test_all_bodies_together_are_bounded(run: Path) -> None:
    with app_of(run, limits={"max_bytes": 1000}) as (app, *_):
        app.held = 64_000
        assert post(app, {"text": "a"}).status_code == 429
        assert app.held == 64_000
        app.held = 0
        assert post(app, {"text": "a"}).status_code == 200
        assert app.held == 0


def test_deadlines_are_kept(served: Any) -> None:
    found = post(served[0], {"texts": ["a b c"] * 500}, headers={"x-deadline-seconds": "0.0001"})
    assert (found.status_code, found.json()["error"]["type"]) == (504, "deadline")
    assert post(served[0], {"text": "a"}, headers={"x-deadline-seconds": "soon"}).status_code == 422


def test_a_reload_needs_the_key_and_a_failed_one_leaves_the_old_model(run: Path, tmp_path: Path) -> None:
    with app_of(run, api_key="k") as (app, models, _):
        key = {"x-api-key": "k"}
        old = models["tiny"]
        assert post(app, {}, "/admin/reload", headers=key).json() == {"reloaded": ["tiny"]}
        assert models["tiny"] is not old
        models._paths["tiny"] = tmp_path
        found = post(app, {"model": "tiny"}, "/admin/reload", headers=key)
        assert found.status_code == 422
        assert "old model goes on" in found.json()["error"]["message"]
        assert post(app, {"text": "a"}, headers=key).status_code == 200
    with app_of(run) as (app, *_):
        assert post(app, {}, "/admin/reload").status_code == 403


def test_a_reload_lets_the_old_model_go_and_sets_the_new_one_aside(run: Path) -> None:
    with app_of(run) as (app, models, _):
        post(app, {"text": "a"})
        old = weakref.ref(models["tiny"].predictor.network)
        gc.unfreeze()
        models.reload()
        assert old() is None
        assert gc.get_freeze_count() > 100_000
        gc.unfreeze()


def test_a_predictor_that_can_only_be_called_is_served_too(run: Path, model: Any) -> None:
    class Called:
        tasks, max_length = model.tasks, model.max_length

        def __call__(self, inputs: Any, tasks: Any = None) -> Any:
            return model(inputs, tasks)

        def embed(self, texts: Any, *, task: Any = None) -> Any:
            return model.embed(texts, task=task)

    from braid.serve.jobs import Apart
    from braid.serve.models import Served

    with app_of(run) as (app, models, _):
        models._served["tiny"] = Served.of("tiny", run, Called())
        assert isinstance(models["tiny"].predicting, Apart)
        assert post(app, {"texts": TEXTS}).json()["results"] == json.loads(
            json.dumps([result.to_json() for result in model(TEXTS)])
        )
        assert post(app, {"text": "a", "tasks": ["moood"]}).status_code == 422


def test_files_outside_the_page_are_not_shown() -> None:
    for name in ("../app.py", "..", "", "a/../../app.py", "%2e%2e/app.py", "/etc/passwd", "a\0b"):
        assert page_file(name) is None


def test_two_models_with_one_name_are_refused(tmp_path: Path) -> None:
    from braid.serve.limits import named_runs

    for name in ("a/x", "b/x"):
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(BraidError, match="called 'x'"):
        named_runs([str(tmp_path / "a/x"), str(tmp_path / "b/x")])
    assert list(named_runs([str(tmp_path / "a/x"), f"y={tmp_path / 'b/x'}"])) == ["x", "y"]
    with pytest.raises(BraidError, match="no run directory"):
        named_runs([str(tmp_path / "c")])
