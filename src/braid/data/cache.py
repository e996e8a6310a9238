"""Token rows on disk: memory-mapped Arrow, keyed by everything that they depend on.

A key is the sha256 of the inputs themselves, the tokenizer, and the options; a changed file has another key, so a
stale cache is never read. Files are written under a temporary name and renamed when whole.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from braid.data.example import Example, Window
from braid.data.tokens import Tokenizer
from braid.data.windows import WindowOptions

FORMAT = 3
"""Raised whenever rows are made in another way, so that older caches are left alone."""

NUMBERS = {pa.int32(): np.int32, pa.int8(): np.int8}

_LIST = pa.list_(pa.int32())
SCHEMA = pa.schema(
    [
        ("example", pa.int32()),
        ("number", pa.int32()),
        ("truncated", pa.int8()),
        ("first_unit", pa.int32()),
        ("ids", _LIST),
        ("segments", pa.list_(pa.int8())),
        ("offsets", _LIST),
        ("unit_tokens", _LIST),
    ]
)


def cache_key(examples: Iterable[Example], tokenizer: Tokenizer, options: WindowOptions) -> str:
    """sha256 over inputs, tokenizer and options. Labels are no part of it: tokens do not depend on them."""
    digest = hashlib.sha256()
    head = {"format": FORMAT, "tokenizer": tokenizer.sha256, **asdict(options)}
    digest.update(json.dumps(head, sort_keys=True).encode())
    for example in examples:
        content = [example.text, example.pair, example.words, example.options]
        digest.update(json.dumps(content).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def record_batch(first: int, windows: Sequence[Sequence[Window]]) -> pa.RecordBatch:
    """Windows of consecutive examples, the first being number `first`, as Arrow."""
    flat = [(first + k, window) for k, rows in enumerate(windows) for window in rows]

    def lists(parts: list[np.ndarray], kind: pa.DataType) -> pa.Array:
        bounds = np.concatenate(([0], np.cumsum([len(part) for part in parts])))
        values = np.concatenate(parts) if parts else np.empty(0)
        return pa.ListArray.from_arrays(_array(bounds, pa.int32()), _array(values, kind))

    columns = [
        _array([example for example, _ in flat], pa.int32()),
        _array([window.number for _, window in flat], pa.int32()),
        _array([int(window.truncated) for _, window in flat], pa.int8()),
        _array([window.first_unit for _, window in flat], pa.int32()),
        lists([window.ids for _, window in flat], pa.int32()),
        lists([window.segments for _, window in flat], pa.int8()),
        lists([window.offsets.reshape(-1) for _, window in flat], pa.int32()),
        lists([window.unit_tokens for _, window in flat], pa.int32()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def _array(values: Sequence[int] | np.ndarray, kind: pa.DataType) -> pa.Array:
    """Whole numbers as Arrow. `pa.array` would do the same, but load pandas first, which takes a second."""
    numbers = np.ascontiguousarray(values, dtype=NUMBERS[kind])
    return pa.Array.from_buffers(kind, len(numbers), [None, pa.py_buffer(numbers)])


def _numbers(array: pa.Array) -> np.ndarray:
    """And back, without a copy."""
    kind = np.dtype(NUMBERS[array.type])
    data = array.buffers()[1]
    return np.empty(0, kind) if data is None else np.frombuffer(data, kind, len(array), array.offset * kind.itemsize)


def write(path: Path, batches: Iterable[pa.RecordBatch]) -> None:
    """Write an Arrow file that is either whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
            for batch in batches:
                writer.write_batch(batch)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@dataclass(frozen=True, eq=False)
class _Chunk:
    """NumPy views of one record batch: no copy of what the file holds."""

    example: np.ndarray
    number: np.ndarray
    truncated: np.ndarray
    first_unit: np.ndarray
    lists: dict[str, tuple[np.ndarray, np.ndarray]]


class TokenRows:
    """Rows of one group and split, memory-mapped: `rows[k]` is row k's arrays, `lengths` [n] their tokens."""

    def __init__(self, batches: Sequence[pa.RecordBatch]) -> None:
        self._chunks = [_chunk(batch) for batch in batches if batch.num_rows]
        sizes = [len(chunk.example) for chunk in self._chunks]
        self._bounds = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
        self.lengths = _join([np.diff(chunk.lists["ids"][1]) for chunk in self._chunks]).astype(np.int64)
        self.example = _join([chunk.example for chunk in self._chunks]).astype(np.int64)
        """Which example each row belongs to, ascending."""
        self.number = _join([chunk.number for chunk in self._chunks])
        """Which window of its example each row is."""
        self.truncated = _join([chunk.truncated for chunk in self._chunks]).astype(bool)

    @classmethod
    def open(cls, path: Path) -> TokenRows:
        """Map a file that `write` made."""
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        return cls([reader.get_batch(k) for k in range(reader.num_record_batches)])

    def __len__(self) -> int:
        return len(self.lengths)

    def _find(self, row: int) -> tuple[_Chunk, int]:
        chunk = int(np.searchsorted(self._bounds, row, side="right")) - 1
        return self._chunks[chunk], row - int(self._bounds[chunk])

    def column(self, name: str, row: int) -> np.ndarray:
        """One list column (`ids`, `segments`, `offsets` flat, `unit_tokens`) of one row."""
        chunk, k = self._find(row)
        values, bounds = chunk.lists[name]
        return values[bounds[k] : bounds[k + 1]]

    def window(self, row: int, units: np.ndarray) -> Window:
        """A whole row; *units* are those of its example."""
        chunk, k = self._find(row)
        return Window(
            ids=self.column("ids", row),
            segments=self.column("segments", row),
            offsets=self.column("offsets", row).reshape(-1, 2),
            units=units,
            first_unit=int(chunk.first_unit[k]),
            unit_tokens=self.column("unit_tokens", row),
            number=int(chunk.number[k]),
            truncated=bool(chunk.truncated[k]),
        )

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self)))


def _chunk(batch: pa.RecordBatch) -> _Chunk:
    def numbers(name: str) -> np.ndarray:
        return _numbers(batch.column(name))

    def lists(name: str) -> tuple[np.ndarray, np.ndarray]:
        column = batch.column(name)
        return _numbers(column.values), _numbers(column.offsets)

    return _Chunk(
        example=numbers("example"),
        number=numbers("number"),
        truncated=numbers("truncated"),
        first_unit=numbers("first_unit"),
        lists={name: lists(name) for name in ("ids", "segments", "offsets", "unit_tokens")},
    )


def _join(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.empty(0, np.int64)
