"""`Client` and `AsyncClient`: a model on another machine, called as one here."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from braid.client.answers import RemoteResult
from braid.client.requests import RETRY, body, fault, pause, pieces, sendable
from braid.errors import BraidError

TOGETHER = 4
"""Pieces of one list that `AsyncClient` has under way at once."""


class _Base:
    """*url*: where the server is; *model*: which of its models (None: its first); *api_key*; *retries*: how often to
    try again when the server is full or cannot be reached; *timeout*: seconds of one try."""

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        api_key: str | None = None,
        retries: int = 5,
        timeout: float = 60.0,
        **options: Any,
    ) -> None:
        self.url, self.model, self.retries = _checked(url).rstrip("/"), model, retries
        headers = {} if api_key is None else {"authorization": f"Bearer {api_key}"}
        self._options = {"base_url": self.url, "headers": headers, "timeout": timeout, **options}

    def _again(self, attempt: int, response: Any) -> float | None:
        """Seconds until the next try; None: there is none. *response*: None where there was no answer."""
        if attempt >= self.retries or (response is not None and response.status_code not in RETRY):
            return None
        return pause(attempt, None if response is None else response.headers.get("retry-after"))

    def _content(self, response: Any) -> Any:
        try:
            content = response.json()
        except ValueError:
            content = None
        if response.status_code != 200:
            raise fault(response.status_code, content)
        return content

    def _unreachable(self, error: Exception) -> BraidError:
        return BraidError(f"{self.url} cannot be reached: {error or type(error).__name__}")

    def _own(self, answer: Any) -> dict[str, Any]:
        name = self.model or answer["default"]
        if name not in answer["models"]:
            raise BraidError(f"{self.url} has no model {name!r}; it has {', '.join(answer['models'])}")
        return dict(answer["models"][name]["tasks"])


def _checked(url: str) -> str:
    """Raises BraidError for what is no address of a server."""
    try:
        found = urlsplit(url)
        good = found.scheme in ("http", "https") and bool(found.hostname) and found.port != 0
    except ValueError:  # its port is no number
        good = False
    if not good:
        raise BraidError(f"{url!r} is no address of a server; it looks like http://127.0.0.1:8000")
    return url


def _httpx() -> Any:
    try:
        import httpx
    except ImportError as error:
        raise BraidError("a client needs httpx: pip install 'braid-nlp[client]'") from error
    return httpx


def _sent(content: Any) -> dict[str, Any]:
    # Python's own JSON: it writes lone surrogates, which a user's string may hold, as escapes.
    return {"content": json.dumps(content).encode(), "headers": {"content-type": "application/json"}}


class Client(_Base):
    """A served model: `Client("http://host:8000")("some text")["sentiment"].label`. Close it, or use it in `with`.

    Raises `braid.client.requests.ServerError` (a BraidError) for what the server refuses."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self._http = _httpx().Client(**self._options)

    def __call__(self, inputs: Any, tasks: Iterable[str] | None = None) -> Any:
        """As `Model.__call__`: one input -> a result, a list -> a list of results."""
        if isinstance(inputs, list):
            return list(self.stream(inputs, tasks))
        return next(self.stream([inputs], tasks))

    def stream(self, inputs: Iterable[Any], tasks: Iterable[str] | None = None) -> Iterator[RemoteResult]:
        """Results in the order of the inputs, which are sent in pieces."""
        wanted = list(tasks) if tasks is not None and not isinstance(tasks, str) else tasks
        for piece in pieces([sendable(given) for given in inputs]):
            yield from map(RemoteResult, self._ask("POST", "/predict", body(piece, wanted, self.model))["results"])

    def embed(self, texts: Sequence[Any], *, task: str | None = None) -> np.ndarray:
        """One vector for each text, [n, D] float32."""
        found: list[Any] = []
        for piece in pieces([sendable(text) for text in texts]):
            given = {**body(piece, None, self.model), "task": task}
            found += self._ask("POST", "/embed", given)["embeddings"]
        return np.asarray(found, dtype=np.float32)

    @property
    def tasks(self) -> dict[str, Any]:
        """Every task: its type, labels, first metric, an example."""
        return self._own(self._ask("GET", "/tasks"))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, method: str, path: str, content: Any = None) -> Any:
        httpx = _httpx()
        for attempt in range(self.retries + 1):
            response = failed = None
            try:
                response = self._http.request(method, path, **({} if content is None else _sent(content)))
            except (httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError) as error:
                failed = self._unreachable(error)
            except httpx.HTTPError as error:
                raise self._unreachable(error) from error
            wait = self._again(attempt, response)
            if wait is None:
                break
            time.sleep(wait)
        if failed is not None:
            raise failed
        return self._content(response)


class AsyncClient(_Base):
    """As `Client`, for asyncio: `await client("some text")`; pieces of long lists go at once."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self._http = _httpx().AsyncClient(**self._options)
        self._gate = asyncio.Semaphore(TOGETHER)

    async def __call__(self, inputs: Any, tasks: Iterable[str] | None = None) -> Any:
        """As `Model.__call__`: one input -> a result, a list -> a list of results."""
        wanted = list(tasks) if tasks is not None and not isinstance(tasks, str) else tasks
        given = [sendable(one) for one in (inputs if isinstance(inputs, list) else [inputs])]
        bodies = [body(piece, wanted, self.model) for piece in pieces(given)]
        found = await asyncio.gather(*(self._ask("POST", "/predict", content) for content in bodies))
        results = [RemoteResult(row) for answer in found for row in answer["results"]]
        return results if isinstance(inputs, list) else results[0]

    async def embed(self, texts: Sequence[Any], *, task: str | None = None) -> np.ndarray:
        """One vector for each text, [n, D] float32."""
        bodies = [{**body(piece, None, self.model), "task": task} for piece in pieces([sendable(t) for t in texts])]
        found = await asyncio.gather(*(self._ask("POST", "/embed", content) for content in bodies))
        return np.asarray([vector for answer in found for vector in answer["embeddings"]], dtype=np.float32)

    async def tasks(self) -> dict[str, Any]:
        """Every task: its type, labels, first metric, an example."""
        return self._own(await self._ask("GET", "/tasks"))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _ask(self, method: str, path: str, content: Any = None) -> Any:
        httpx = _httpx()
        for attempt in range(self.retries + 1):
            response = failed = None
            try:
                async with self._gate:
                    response = await self._http.request(method, path, **({} if content is None else _sent(content)))
            except (httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError) as error:
                failed = self._unreachable(error)
            except httpx.HTTPError as error:
                raise self._unreachable(error) from error
            wait = self._again(attempt, response)
            if wait is None:
                break
            await asyncio.sleep(wait)
        if failed is not None:
            raise failed
        return self._content(response)
