"""What a client gives back: results that are used as those of a local model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

INPUT = ("text", "pair", "words", "query", "options")


class RemotePrediction(Mapping[str, Any]):
    """What a task says: `prediction.label`, `prediction["label"]`; spans likewise."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self._content = {key: _opened(value) for key, value in content.items()}
        self._json = dict(content)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._content:
            raise AttributeError(f"no {name!r} here; there are {', '.join(self._content)}")
        return self._content[name]

    def __getitem__(self, name: str) -> Any:
        return self._content[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)

    def __repr__(self) -> str:
        return f"RemotePrediction({self._json!r})"

    def to_json(self) -> dict[str, Any]:
        """As the server sent it."""
        return dict(self._json)


def _opened(value: Any) -> Any:
    """Lists of mappings (spans) as predictions; probabilities stay a dict."""
    if isinstance(value, list):
        return [RemotePrediction(item) if isinstance(item, dict) else item for item in value]
    return value


@dataclass(frozen=True)
class RemoteResult(Mapping[str, Any]):
    """Predictions for one input, by task: `result["sentiment"].label`."""

    row: dict[str, Any]
    """As the server sent it."""

    @property
    def text(self) -> str:
        """The user's own string, which offsets count in."""
        return str(self.row["text"])

    @property
    def pair(self) -> str | None:
        """The second text."""
        return self.row.get("pair")

    @property
    def words(self) -> tuple[str, ...] | None:
        """The words that were given."""
        return None if self.row.get("words") is None else tuple(self.row["words"])

    @property
    def query(self) -> str | None:
        """Which query it answers."""
        return self.row.get("query")

    @property
    def options(self) -> tuple[str, ...] | None:
        """What was to be chosen from."""
        return None if self.row.get("options") is None else tuple(self.row["options"])

    @property
    def predictions(self) -> dict[str, RemotePrediction]:
        """By task."""
        return {task: self[task] for task in self}

    def __getitem__(self, task: str) -> RemotePrediction:
        if task in INPUT or task not in self.row:
            raise KeyError(f"no prediction of {task!r} for this input (there are: {', '.join(self) or 'none'})")
        return RemotePrediction(self.row[task])

    def __iter__(self) -> Iterator[str]:
        return (key for key in self.row if key not in INPUT)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def to_json(self) -> dict[str, Any]:
        """As a local model's result does."""
        return dict(self.row)
