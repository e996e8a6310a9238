"""What goes between the front and an engine: frames, each a head (JSON) and a body (bytes), one after the other."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import orjson

SIZES = struct.Struct("!II")
"""Bytes of the head, bytes of the body."""


def dumps(content: Any) -> bytes:
    """As JSON; lone surrogates, which UTF-8 cannot hold, as escapes."""
    try:
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:
        return json.dumps(content, default=asdict).encode("ascii")


def loads(raw: bytes) -> Any:
    """From JSON; lone surrogates as a string of Python may hold them. Raises ValueError, RecursionError."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return json.loads(raw)


def frame(head: Mapping[str, Any], body: bytes = b"") -> bytes:
    """A frame for the wire."""
    told = dumps(head)
    return b"".join((SIZES.pack(len(told), len(body)), told, body))


class Frames:
    """Takes bytes as they come, gives the frames that are whole."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Heads and bodies."""
        self._held += data
        at = 0
        while len(self._held) - at >= SIZES.size:
            head, body = SIZES.unpack_from(self._held, at)
            middle = at + SIZES.size + head
            if len(self._held) < middle + body:
                break
            yield loads(bytes(self._held[at + SIZES.size : middle])), bytes(self._held[middle : middle + body])
            at = middle + body
        del self._held[:at]
