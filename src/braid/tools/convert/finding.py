"""Which kinds there are, and of which one a path is."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from pathlib import Path

from braid.errors import BraidError, did_you_mean
from braid.tools.convert import kinds as package
from braid.tools.convert.kind import Kind, Source


@cache
def kinds() -> dict[str, Kind]:
    """All kinds by name: one for each file of `braid.tools.convert.kinds`."""
    found: dict[str, Kind] = {}
    for module in pkgutil.iter_modules(package.__path__):
        loaded = importlib.import_module(f"{package.__name__}.{module.name}")
        for item in vars(loaded).values():
            if isinstance(item, type) and issubclass(item, Kind) and item.__module__ == loaded.__name__:
                found[item.name] = item()
    return found


def recognised(source: Source) -> Kind:
    """The kind of what stands at a path. Raises BraidError that says what is there where it is none."""
    if not source.path.exists() and not source.path.with_name(f"{source.path.name}.index").is_file():
        raise BraidError(f"there is no {source.path.resolve()}")
    for kind in kinds().values():
        if kind.recognises(source):
            return kind
    expected = "; ".join(kind.title for kind in kinds().values())
    raise BraidError(f"{source.path} is {_described(source)}. What can be read: {expected}")


def chosen(name: str | None, target: Path, source: Kind) -> Kind:
    """The kind to write: as the user says, as the name of TO says, or a directory: a Braid run directory of all but
    one, which becomes transformers'. Raises BraidError."""
    if name is not None:
        if name not in kinds() or not kinds()[name].writes:
            written = [kind.name for kind in kinds().values() if kind.writes]
            what = "can be read but not written" if name in kinds() else "is no kind"
            raise BraidError(f"--to {name} {what}: {did_you_mean(name, written)}")
        return kinds()[name]
    for kind in kinds().values():
        if kind.writes and target.name.endswith(kind.suffixes or ("\0",)):
            return kind
    return kinds()["transformers" if source.name == "braid" else "braid"]


def _described(source: Source) -> str:
    path = source.path
    if path.is_dir():
        names = sorted(entry.name for entry in path.iterdir())[:6]
        return f"a directory with {', '.join(names) or 'nothing in it'}"
    content = source.content
    if isinstance(content, dict):
        names = [str(name) for name in content][:4]
        return f"a file of torch whose names ({', '.join(names)} ...) are of no kind that is known"
    if content is not None:
        return f"a file of torch that holds a {type(content).__name__}"
    if path.suffix == ".safetensors":
        return "a file of tensors alone; give its directory, with config.json"
    return "no file of torch"
