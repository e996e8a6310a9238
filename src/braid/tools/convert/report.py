"""What a conversion did: what went where, what found no place, what was missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

SHOWN = 20
"""Names of one reason that are printed."""


@dataclass
class Report:
    """*mapped*: tensors of the file that was read to where they went; *unmapped*: what has no place, to the reason;
    *missing*: what was not there, to what follows from that; *notes*: what else one should know; *written*: files and
    directories."""

    source: str = ""
    target: str = ""
    mapped: dict[str, str] = field(default_factory=dict)
    unmapped: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)

    def map(self, names: Iterable[str], where: str) -> None:
        """Tensors that went to `where`."""
        self.mapped.update(dict.fromkeys(names, where))

    def leave(self, names: Iterable[str], reason: str) -> None:
        """What has no place."""
        self.unmapped.update(dict.fromkeys(names, reason))

    def lines(self) -> list[str]:
        """The report as text."""
        counts: dict[str, int] = {}
        for where in self.mapped.values():
            counts[where] = counts.get(where, 0) + 1
        places = ", ".join(f"{count:,} to {where}" for where, count in counts.items()) or "none"
        out = [f"read: {self.source}", f"wrote: {self.target}", f"tensors mapped: {places}"]
        out += _by_reason("not mapped", self.unmapped)
        out += [f"missing: {what}: {effect}" for what, effect in self.missing.items()]
        return out + [f"note: {note}" for note in self.notes]


def _by_reason(title: str, reasons: Mapping[str, str]) -> list[str]:
    """One line for each reason, with the names that it is the reason of."""
    groups: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        groups.setdefault(reason, []).append(name)
    return [f"{title}: {listed(names)}: {reason}" for reason, names in groups.items()]


def listed(names: Iterable[str], limit: int = SHOWN) -> str:
    """Names with commas, the first of many."""
    every = list(names)
    more = f" and {len(every) - limit} more" if len(every) > limit else ""
    return ", ".join(every[:limit]) + more
