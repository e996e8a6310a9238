"""The client is used as a local model is."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import numpy as np
import pytest

import braid
from braid.client.requests import ServerError, pause, pieces
from braid.errors import BraidError
from serving.conftest import model as model
from serving.conftest import run as run
from serving.conftest import served as served

TEXTS = ["visit 3 to Rome was good", ("query 1", "it was 3"), {"words": ["visit", "Rome"]}, "a \ud800 b"]


def asynchronous(app: Any, **options: Any) -> braid.AsyncClient:
    return braid.AsyncClient("http://test", transport=httpx.ASGITransport(app), **options)


def answering(*responses: httpx.Response, **options: Any) -> tuple[braid.Client, list[httpx.Request]]:
    """A client whose server answers so, one after the other."""
    left, seen = list(responses), list[httpx.Request]()

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return left.pop(0)

    return braid.Client("http://test", transport=httpx.MockTransport(handle), **options), seen


def result(text: str) -> dict[str, Any]:
    spans = [{"start": 0, "end": 1, "text": text[0], "label": "X", "score": 0.5}]
    return {
        "text": text,
        "mood": {"label": "pos", "probabilities": {"pos": 0.9, "neg": 0.1}},
        "places": {"spans": spans},
    }


def good(*texts: str) -> httpx.Response:
    return httpx.Response(200, json={"model": "m", "results": [result(text) for text in texts], "milliseconds": {}})


def busy(**headers: str) -> httpx.Response:
    return httpx.Response(429, json={"error": {"type": "busy", "message": "full", "where": None}}, headers=headers)


def test_results_are_those_of_the_model_here(served: Any, model: Any) -> None:
    async def main() -> list[Any]:
        async with asynchronous(served[0]) as client:
            assert set(await client.tasks()) == set(model.tasks)
            np.testing.assert_allclose(await client.embed(["a", "b c"]), model.embed(["a", "b c"]), atol=1e-5)
            return await client(TEXTS)

    found, expected = asyncio.run(main()), model(TEXTS)
    assert [one.to_json() for one in found] == json.loads(json.dumps([one.to_json() for one in expected]))
    assert found[0]["mood"].label == expected[0]["mood"].label
    assert found[0]["mood"].probabilities.keys() == expected[0]["mood"].probabilities.keys()
    assert [list(one) for one in found] == [list(one) for one in expected]


def test_one_input_gives_one_result_and_a_list_a_list() -> None:
    client, seen = answering(good("a"), good("a", "b"))
    one = client("a", ["mood", "places"])
    assert (one["mood"].label, one["mood"].probabilities["neg"]) == ("pos", 0.1)
    assert [(span.start, span.text, span["label"]) for span in one["places"].spans] == [(0, "a", "X")]
    assert json.loads(seen[0].content) == {"inputs": ["a"], "tasks": ["mood", "places"]}
    assert [found.text for found in client(["a", "b"])] == ["a", "b"]
    with pytest.raises(KeyError, match="mood, places"):
        one["moood"]
    with pytest.raises(AttributeError, match="label, probabilities"):
        _ = one["mood"].labels


def test_a_full_server_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    client, seen = answering(busy(**{"retry-after": "2"}), busy(), good("a"))
    assert client("a").text == "a"
    assert len(seen) == 3
    assert 1 <= slept[0] <= 2
    client, seen = answering(busy(), busy(), retries=1)
    with pytest.raises(ServerError, match="full") as told:
        client("a")
    assert (told.value.status, len(seen)) == (429, 2)


def test_what_is_wrong_is_not_tried_again() -> None:
    error = {"error": {"type": "input", "message": "no task 'x'", "where": "inputs"}}
    client, seen = answering(httpx.Response(422, json=error))
    with pytest.raises(BraidError, match="no task 'x'"):
        client("a", ["x"])
    assert len(seen) == 1
    client, _ = answering(httpx.Response(404, text="nginx"))
    with pytest.raises(BraidError, match="is it `braid serve`"):
        client("a")
    with pytest.raises(BraidError, match="cannot predict on int"):
        client(3)


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(BraidError, match=r"http://127\.0\.0\.1:9 cannot be reached"):
        braid.Client("http://127.0.0.1:9", retries=0)("a")


@pytest.mark.parametrize(
    "url", ["http://host:port", "localhost:8000", "127.0.0.1", "ftp://x", "", "http://", "http://a:99999"]
)
@pytest.mark.parametrize("kind", [braid.Client, braid.AsyncClient])
def test_what_is_no_address_is_said_at_once(url: str, kind: Any) -> None:
    with pytest.raises(BraidError, match="is no address of a server; it looks like http://"):
        kind(url)


def test_the_key_is_shown() -> None:
    client, seen = answering(good("a"), api_key="secret")
    client("a")
    assert seen[0].headers["authorization"] == "Bearer secret"


def test_long_lists_are_sent_in_pieces_and_queries_stay_together() -> None:
    assert [len(piece) for piece in pieces(["a"] * 300, 128)] == [128, 128, 44]
    rows = [{"text": "a", "query": "q"}] * 5 + [{"text": "b", "query": "r"}] * 2
    assert [len(piece) for piece in pieces(rows, 3)] == [5, 2]


def test_pauses_grow_and_are_bounded() -> None:
    assert all(0.4 <= pause(3, None) <= 0.8 for _ in range(20))
    assert pause(20, None) <= 10
    assert pause(0, "1000") <= 10
