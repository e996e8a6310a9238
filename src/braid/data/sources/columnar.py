"""Parquet and Arrow files, read batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any, ClassVar, Literal

from braid.data.example import SourceRow
from braid.data.sources.base import FileSource
from braid.data.textfile import open_bytes
from braid.errors import DataError, Place, Problem


class Columnar(FileSource):
    """What both have in common. A row's `line` is its number in the file, from 1."""

    def rows(self, split: str) -> Iterator[SourceRow]:
        """One row per record. Raises DataError if the file is not of its format or is damaged."""
        import pyarrow as pa

        number = 0
        try:
            with open_bytes(self.path) as file:
                for batch in self._batches(pa, file):
                    for fields in batch.to_pylist():
                        number += 1
                        yield SourceRow(fields=fields, line=number, file=self.path)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            place = Place(file=self.path, line=number + 1 if number else None)
            problem = Problem(what=f"cannot be read as {self.type}: {reason}", place=place)
            raise DataError([problem]) from error

    def _batches(self, pa: Any, file: IO[bytes]) -> Iterator[Any]:
        raise NotImplementedError

    def _seekable(self, pa: Any, file: IO[bytes]) -> Any:
        """Gzip-compressed content is unpacked into memory: these formats are read from their end."""
        import gzip

        return pa.BufferReader(file.read()) if isinstance(file, gzip.GzipFile) else pa.PythonFile(file, mode="r")


class Parquet(Columnar):
    """Apache Parquet."""

    type: Literal["parquet"] = "parquet"
    suffixes: ClassVar[tuple[str, ...]] = (".parquet", ".pq")

    def _batches(self, pa: Any, file: IO[bytes]) -> Iterator[Any]:
        import pyarrow.parquet as pq

        yield from pq.ParquetFile(self._seekable(pa, file)).iter_batches(batch_size=4096)


class Arrow(Columnar):
    """Apache Arrow IPC, both the file format (Feather v2) and the stream format (what `datasets` writes)."""

    type: Literal["arrow"] = "arrow"
    suffixes: ClassVar[tuple[str, ...]] = (".arrow", ".feather", ".ipc")

    def _batches(self, pa: Any, file: IO[bytes]) -> Iterator[Any]:
        content = self._seekable(pa, file)
        is_file = content.read(6) == b"ARROW1"
        content.seek(0)
        if is_file:
            reader = pa.ipc.open_file(content)
            yield from (reader.get_batch(k) for k in range(reader.num_record_batches))
        else:
            yield from pa.ipc.open_stream(content)
