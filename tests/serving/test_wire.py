"""Frames between the front and its engines."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from braid.serve.wire import Frames, dumps, frame, loads

VALUES = st.recursive(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(), st.lists, max_leaves=5)
HEADS = st.dictionaries(st.text(max_size=5), VALUES, max_size=3)


@given(st.lists(st.tuples(HEADS, st.binary(max_size=200)), max_size=6), st.integers(1, 50))
def test_frames_come_back_however_the_bytes_arrive(sent: list[tuple[dict[str, Any], bytes]], piece: int) -> None:
    data = b"".join(frame(head, body) for head, body in sent)
    frames, found = Frames(), []
    for at in range(0, len(data), piece):
        found += list(frames.feed(data[at : at + piece]))
    assert found == sent


def test_a_frame_that_is_not_whole_waits() -> None:
    frames, data = Frames(), frame({"a": 1}, b"body")
    assert list(frames.feed(data[:-1])) == []
    assert list(frames.feed(data[-1:] + data)) == [({"a": 1}, b"body")] * 2


def test_lone_surrogates_go_there_and_back() -> None:
    assert loads(dumps({"text": "a \ud800 b"})) == {"text": "a \ud800 b"}
