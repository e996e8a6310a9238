"""Data sets of the Hugging Face hub, or saved by its `datasets` library."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NoReturn

from pydantic import model_validator

from braid.data.example import SourceRow
from braid.data.sources.base import Source
from braid.errors import DataError, Place, Problem, did_you_mean

SPLIT_NAMES = {"train": ("train",), "dev": ("validation", "dev", "valid", "val"), "test": ("test",)}
"""What data sets call our splits; the first name that a data set has is taken."""


class Hub(Source):
    """A data set of the hub, a directory that `save_to_disk` wrote, or a folder of data files; needs the extra `hub`.
    Class ids become their names. Code that comes with a data set is never run."""

    type: Literal["hub"] = "hub"

    hub: str
    """The data set's id (`clue`, `user/name`) or a local directory."""

    name: str | None = None
    """The configuration, where a data set has several (`tnews` of `clue`)."""

    split: str | None = None
    """The split as the data set calls it, slices included (`train[:10%]`). None: train, validation or dev, test."""

    streaming: bool = False
    """Read over the network row by row instead of downloading first."""

    revision: str | None = None
    """Branch, tag or commit of the data set."""

    @model_validator(mode="before")
    @classmethod
    def _path(cls, value: Any) -> Any:
        """A directory given as `path` is one given as `hub`."""
        if isinstance(value, dict) and "path" in value and "hub" not in value:
            return {**{key: item for key, item in value.items() if key != "path"}, "hub": value["path"]}
        return value

    def rows(self, split: str) -> Iterator[SourceRow]:
        """One row per record; `line` is its number from 1. Raises DataError: no library, no such data, offline."""
        data = self._load(split)
        names = {key: decode for key, feature in (data.features or {}).items() if (decode := _names(feature))}
        number = 0
        try:
            for number, record in enumerate(data, start=1):
                fields = {key: names[key](value) if key in names else value for key, value in record.items()}
                yield SourceRow(fields=fields, line=number, file=self.hub)
        except (OSError, ValueError) as error:
            self._fail(f"cannot be read past row {number}: {type(error).__name__}: {error}", error)

    def fingerprint(self, split: str) -> str | None:
        """None: what an id means is known only when it is loaded."""
        return None

    def files(self) -> list[str]:
        """The id or directory, for messages."""
        return [self.hub]

    def _load(self, split: str) -> Any:
        try:
            import datasets
        except ImportError as error:
            raise DataError(
                [
                    Problem(
                        what="reading this needs the `datasets` library, which is not installed",
                        place=Place(file=self.hub),
                        todo="pip install 'braid-nlp[hub]'",
                    )
                ]
            ) from error
        try:
            if _is_saved(self.hub):
                whole = datasets.load_from_disk(self.hub)
                if not isinstance(whole, dict):
                    return whole
                return whole[self._split(split, list(whole))]
            shared = {"revision": self.revision} if self.revision else {}
            if self.split is not None:
                wanted = self.split
            else:
                wanted = self._split(split, datasets.get_dataset_split_names(self.hub, self.name, **shared))
            return datasets.load_dataset(self.hub, self.name, split=wanted, streaming=self.streaming, **shared)
        except DataError:
            raise
        except Exception as error:
            self._fail(*_explained(error), todo=_todo(self.hub))

    def _split(self, split: str, available: Iterable[str]) -> str:
        there = list(available)
        wanted = (self.split,) if self.split is not None else SPLIT_NAMES.get(split, (split,))
        for name in wanted:
            if name in there:
                return name
        self._fail(
            f"there is no split {wanted[0]!r}, only {', '.join(map(repr, there))}",
            todo=f"add `split: NAME` to the source; {did_you_mean(wanted[0], there)}",
        )

    def _fail(self, what: str, cause: BaseException | None = None, *, todo: str | None = None) -> NoReturn:
        raise DataError([Problem(what=what, place=Place(file=self.hub), todo=todo)]) from cause


def _is_saved(path: str) -> bool:
    return any(os.path.isfile(os.path.join(path, name)) for name in ("dataset_info.json", "dataset_dict.json"))


def _explained(error: Exception) -> tuple[str, Exception]:
    first = (str(error).splitlines() or [""])[0]
    kinds = {kind.__name__ for kind in type(error).__mro__}
    offline = kinds & {
        "OfflineModeIsEnabled",
        "ConnectionError",
        "LocalEntryNotFoundError",
        "ConnectError",
        "TimeoutError",
    }
    if offline or "offline" in first.lower():
        return f"the hub cannot be reached and the data set is not in the local cache ({first})", error
    return f"cannot be loaded: {type(error).__name__}: {first}", error


def _todo(hub: str) -> str:
    if os.path.isdir(hub):
        return "a directory must be one that `save_to_disk` wrote or hold data files (csv, json, parquet, ...)"
    return "check the id, the network and HF_HUB_OFFLINE; a local directory also works: `{hub: DIRECTORY}`"


def _names(feature: Any) -> Any:
    """A function from a value of this feature to the same with class names for class ids; None where it holds none."""
    if hasattr(feature, "int2str"):
        # -1 is how `datasets` marks a row without a label.
        return lambda value: value if not isinstance(value, int) else feature.int2str(value) if value >= 0 else None
    inner = getattr(feature, "feature", None)
    if inner is None and isinstance(feature, list) and len(feature) == 1:
        inner = feature[0]
    decode = _names(inner) if inner is not None and not isinstance(inner, dict) else None
    if decode is None:
        return None
    return lambda value: None if value is None else [decode(item) for item in value]
