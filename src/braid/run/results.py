"""What came out of a sweep: its trials, the best first, and the best settings over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from braid.model.evaluate import Scores


@dataclass(frozen=True)
class Trial:
    """One run of a sweep: its values (*point*), its *score* on dev (the greater the better; None: it failed, with
    *error*), its figures."""

    number: int
    directory: Path
    point: Mapping[str, str]
    score: float | None
    dev: Scores
    test: Scores
    seconds: float
    error: str | None = None


@dataclass(frozen=True)
class Setting:
    """Trials that differ in nothing but the seed: mean and sample deviation of their scores, the best of them first."""

    point: Mapping[str, str]
    mean: float
    deviation: float
    trials: list[int]


@dataclass(frozen=True)
class Results:
    """*fixed*: overrides that hold for all; *by*: the metrics that count, by task; *trials*: the best first;
    *settings*: the best first."""

    directory: Path
    fixed: Sequence[str]
    by: Mapping[str, str]
    trials: list[Trial]
    settings: list[Setting]

    @property
    def best(self) -> Trial:
        """The best trial of the best setting: one lucky seed does not make values good."""
        number = self.settings[0].trials[0]
        return next(trial for trial in self.trials if trial.number == number)

    @property
    def overrides(self) -> list[str]:
        """What trains the best one again, into the recipe's own folder."""
        fixed = [text for text in self.fixed if not text.startswith("out=")]
        return [*fixed, *(f"{key}={value}" for key, value in self.best.point.items())]

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it."""
        trials = [{**asdict(trial), "directory": str(trial.directory)} for trial in self.trials]
        return {
            "by": dict(self.by),
            "best": self.best.number,
            "overrides": self.overrides,
            "trials": trials,
            "settings": [asdict(setting) for setting in self.settings],
        }


def by_settings(trials: Sequence[Trial]) -> list[Setting]:
    """Settings from trials that have a score, which stand the best first; the best setting first."""
    found: dict[tuple[tuple[str, str], ...], list[Trial]] = {}
    for trial in trials:
        key = tuple((name, value) for name, value in trial.point.items() if name != "seed")
        found.setdefault(key, []).append(trial)
    out = []
    for point, members in found.items():
        scores = [trial.score for trial in members if trial.score is not None]
        deviation = statistics.stdev(scores) if len(scores) > 1 else 0.0
        out.append(Setting(dict(point), statistics.fmean(scores), deviation, [trial.number for trial in members]))
    return sorted(out, key=lambda setting: -setting.mean)
