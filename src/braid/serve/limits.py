"""How a server is set up, and what it bears: sizes of requests, length of the queue, patience."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from braid.errors import BraidError


class Limits(BaseModel):
    """What a request may ask for, and how much may wait."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    max_bytes: int = Field(default=1_000_000, ge=1)
    """Bytes of a request's body. More is answered with 413."""

    max_rows: int = Field(default=1024, ge=1)
    """Inputs of a request. More is answered with 413."""

    max_tokens: int = Field(default=32_768, ge=1)
    """Tokens of a request, all inputs together. More is answered with 413."""

    queue_seconds: float = Field(default=2.0, gt=0)
    """Work that may wait, in seconds at the speed of the last batches. More is answered with 429 at once."""

    queue_requests: int = Field(default=1000, ge=1)
    """Requests that may be in the house, whatever their size."""

    deadline: float = Field(default=30.0, gt=0)
    """Seconds after which a request is answered with 504; the header `X-Deadline-Seconds` can only shorten it."""

    body_seconds: float = Field(default=10.0, gt=0)
    """Seconds for a client to send a request's head, its body, or to take some of the answer."""

    connections: int = Field(default=4096, ge=1)
    """Connections open at once. More are closed at once."""


class ServeOptions(BaseModel):
    """Everything that `braid serve` is told; an engine's process gets it as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    runs: dict[str, Path]
    """Models by name; the first one answers where a request names none."""

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    workers: int = Field(default=1, ge=1)
    """Processes that compute, each with the models."""

    threads: int | None = Field(default=None, ge=1)
    """Threads that an engine computes with. None: the cores, divided among the engines."""

    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16"] | None = None
    batch_tokens: int | None = Field(default=None, ge=1)
    trust: bool = False
    """Whether exported torch programs are read, which can run code."""

    limits: Limits = Limits()
    api_key: SecretStr | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    log: Literal["json", "text", "off"] = "json"
    log_texts: bool = False
    grace: float = Field(default=0.5, ge=0)
    """Seconds in which a server that was told to stop still takes requests, each answered with `Connection: close`, so
    that clients and balancers go elsewhere before it shuts the door."""

    drain: float = Field(default=60.0, gt=0)
    """Seconds that requests which are under way get to end, after that."""


def named_runs(given: list[str]) -> dict[str, Path]:
    """`RUN` or `NAME=RUN` -> models by name (without one, the directory's).

    Raises BraidError where two have one name, or a directory is not there."""
    out: dict[str, Path] = {}
    for item in given:
        name, sign, path = item.partition("=")
        directory = Path(path if sign and not Path(item).exists() else item)
        if directory == Path(item):
            name = directory.resolve().name
        if name in out:
            raise BraidError(f"two models are called {name!r}: give one another name, {name}2={directory}")
        if not directory.is_dir():
            raise BraidError(f"there is no run directory {directory.resolve()}")
        out[name] = directory
    return out
