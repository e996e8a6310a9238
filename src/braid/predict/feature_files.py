"""Files of features: .npy, .parquet, .jsonl, each written as the features come.

Shape legend: n texts, T tokens of all texts, D size of the features.
"""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from braid.data.example import Example
from braid.errors import BraidError
from braid.predict.output import check_output
from braid.predict.vectors import TokenFeatures

DIGITS = 7
"""Digits of a number in JSON; fp32 has no more that mean anything."""


class FeatureFile(ABC):
    """A file that texts' features are added to. *size*: D."""

    def __init__(self, path: Path, size: int, *, tokens: bool) -> None:
        self.path, self.size, self.tokens = path, size, tokens

    @abstractmethod
    def add(self, examples: Sequence[Example], vectors: np.ndarray) -> None:
        """One vector for each text, [n, D]."""

    @abstractmethod
    def add_tokens(self, examples: Sequence[Example], features: Sequence[TokenFeatures]) -> None:
        """Those of each text's tokens."""

    @abstractmethod
    def close(self) -> None:
        """Finish the file."""

    def beside(self) -> dict[Path, Path]:
        """Other files that belong to it: where they were written, and what they are called in the end."""
        return {}


class _Array:
    """A float32 matrix whose rows come one after the other."""

    def __init__(self, path: Path, size: int) -> None:
        self.file: IO[bytes] = path.open("wb")
        self.size, self.rows = size, 0
        self._header()

    def _header(self) -> None:
        # NumPy leaves room in the header for the first dimension to grow, so that it can be written again in place.
        shape = {"descr": "<f4", "fortran_order": False, "shape": (self.rows, self.size)}
        np.lib.format.write_array_header_1_0(self.file, shape)

    def add(self, vectors: np.ndarray) -> None:
        self.file.write(np.ascontiguousarray(vectors, dtype="<f4").tobytes())
        self.rows += len(vectors)

    def close(self) -> None:
        self.file.seek(0)
        self._header()
        self.file.close()


class NpyFile(FeatureFile):
    """A matrix [n, D]; of tokens [T, D], and beside it NAME.offsets.npy [n+1], where each text's tokens begin."""

    def __init__(self, path: Path, size: int, *, tokens: bool) -> None:
        super().__init__(path, size, tokens=tokens)
        self.array = _Array(path, size)
        self.bounds = [0]

    def add(self, examples: Sequence[Example], vectors: np.ndarray) -> None:
        self.array.add(vectors)

    def add_tokens(self, examples: Sequence[Example], features: Sequence[TokenFeatures]) -> None:
        for one in features:
            self.array.add(one.vectors)
            self.bounds.append(self.array.rows)

    def close(self) -> None:
        self.array.close()
        if self.tokens:
            with self._offsets().open("wb") as file:
                np.save(file, np.array(self.bounds, dtype=np.int64))

    def _offsets(self) -> Path:
        return self.path.with_name(self.path.name + ".offsets")

    def beside(self) -> dict[Path, Path]:
        return {self._offsets(): Path("offsets.npy")} if self.tokens else {}


class JsonlFile(FeatureFile):
    """A row for each text: `text`, `pair`, and its `vector`, or its `tokens`."""

    def __init__(self, path: Path, size: int, *, tokens: bool) -> None:
        super().__init__(path, size, tokens=tokens)
        # Half the time of `json.dumps`, and no digits that mean nothing.
        self.numbers = "[" + ", ".join([f"%.{DIGITS}g"] * size) + "]"
        self.file = path.open("w", encoding="utf-8", errors="backslashreplace")

    def add(self, examples: Sequence[Example], vectors: np.ndarray) -> None:
        for example, vector in zip(examples, vectors, strict=True):
            self._write(example, f'"vector": {self.numbers % tuple(vector.tolist())}')

    def add_tokens(self, examples: Sequence[Example], features: Sequence[TokenFeatures]) -> None:
        for example, found in zip(examples, features, strict=True):
            rows = [
                f'{{"token": {json.dumps(name, ensure_ascii=False)}, "start": {start}, "end": {end}, '
                f'"vector": {self.numbers % tuple(row)}}}'
                for name, (start, end), row in zip(
                    found.tokens, found.offsets.tolist(), found.vectors.tolist(), strict=True
                )
            ]
            self._write(example, f'"tokens": [{", ".join(rows)}]')

    def _write(self, example: Example, content: str) -> None:
        pair = {} if example.pair is None else {"pair": example.pair}
        head = json.dumps({"text": example.text, **pair}, ensure_ascii=False)
        self.file.write(f"{head[:-1]}, {content}}}\n")

    def close(self) -> None:
        self.file.close()


class ParquetFile(FeatureFile):
    """Columns `text`, `pair`, `vector` (a list of D numbers); of tokens `tokens`, `starts`, `ends`, `vectors`."""

    def __init__(self, path: Path, size: int, *, tokens: bool) -> None:
        super().__init__(path, size, tokens=tokens)
        self.vector = pa.list_(pa.float32(), size)
        text = [("text", pa.string()), ("pair", pa.string())]
        numbers = [("starts", pa.list_(pa.int32())), ("ends", pa.list_(pa.int32()))]
        of_tokens = [("tokens", pa.list_(pa.string())), *numbers, ("vectors", pa.list_(self.vector))]
        self.schema = pa.schema([*text, *(of_tokens if tokens else [("vector", self.vector)])])
        self.writer = pq.ParquetWriter(str(path), self.schema)

    def add(self, examples: Sequence[Example], vectors: np.ndarray) -> None:
        self._write(examples, [self._vectors(vectors)])

    def add_tokens(self, examples: Sequence[Example], features: Sequence[TokenFeatures]) -> None:
        bounds = pa.array(np.concatenate(([0], np.cumsum([len(one.tokens) for one in features]))), pa.int32())
        offsets = np.concatenate([one.offsets for one in features]).astype(np.int32)
        flat: list[Any] = [
            pa.array([name for one in features for name in one.tokens], pa.string()),
            pa.array(np.ascontiguousarray(offsets[:, 0])),
            pa.array(np.ascontiguousarray(offsets[:, 1])),
            self._vectors(np.concatenate([one.vectors for one in features])),
        ]
        self._write(examples, [pa.ListArray.from_arrays(bounds, values) for values in flat])

    def _vectors(self, vectors: np.ndarray) -> Any:
        flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1))
        return pa.FixedSizeListArray.from_arrays(flat, self.size)

    def _write(self, examples: Sequence[Example], columns: list[Any]) -> None:
        texts = pa.array([_utf8(example.text) for example in examples], pa.string())
        pairs = pa.array([None if e.pair is None else _utf8(e.pair) for e in examples], pa.string())
        self.writer.write_batch(pa.RecordBatch.from_arrays([texts, pairs, *columns], schema=self.schema))

    def close(self) -> None:
        self.writer.close()


KINDS: dict[str, type[FeatureFile]] = {".npy": NpyFile, ".parquet": ParquetFile, ".jsonl": JsonlFile}
"""By suffix."""


def check_name(path: Path, *, source: str = "") -> None:
    """Raises BraidError for a suffix that says no format, else as `check_output`. *source*: the file that is read."""
    if path.suffix not in KINDS:
        raise BraidError(f"--output {path}: its suffix {path.suffix!r} must be one of {', '.join(KINDS)}")
    check_output(path, source=source)


@contextmanager
def feature_file(path: Path, size: int, *, tokens: bool) -> Iterator[FeatureFile]:
    """A file to add to, which takes the place of *path* when all went well. Raises BraidError as `check_name`."""
    check_name(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    file = KINDS[path.suffix](temporary, size, tokens=tokens)
    try:
        try:
            yield file
        finally:
            file.close()
        for there, name in file.beside().items():
            os.replace(there, path.with_name(f"{path.stem}.{name}"))
        os.replace(temporary, path)
    finally:
        for debris in (temporary, *file.beside()):
            debris.unlink(missing_ok=True)


def _utf8(text: str) -> str:
    """Without lone surrogates, which Arrow cannot hold."""
    return text.encode("utf-8", "replace").decode("utf-8")
