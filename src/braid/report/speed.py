"""How fast it went, and how much of it was padding."""

from __future__ import annotations

from collections.abc import Sequence

from braid.report.blocks import Block, Section, Table, Text, number
from braid.report.plots import colour, drawn, panels, style
from braid.report.view import View

KEYS = ("tokens_per_second", "padding")
TITLES = ("tokens per second", "padding in attention")


def speed(views: Sequence[View]) -> Section:
    """Tokens a second and padding by step, and the whole run in numbers."""
    blocks: list[Block] = []
    series = {
        key: [[(line["step"], line[key]) for line in v.record.steps if key in line] for v in views] for key in KEYS
    }
    shown = [key for key in KEYS if any(series[key])]
    if shown:
        with style():
            axes = panels(len(shown), height=2.0)
            for axis, key in zip(axes, shown, strict=True):
                for place, (view, points) in enumerate(zip(views, series[key], strict=True)):
                    if points:
                        mark = "o" if len(points) == 1 else ""
                        steps, values = zip(*points, strict=True)
                        axis.plot(
                            steps, values, color=colour(place), linewidth=1, marker=mark, markersize=3, label=view.title
                        )
                axis.set(title=TITLES[KEYS.index(key)], xlabel="step", ylim=(0, None))
            if len(views) > 1:
                axes[-1].legend()
            blocks.append(drawn(axes, "speed", "tokens per second and padding by step"))
    else:
        blocks.append(Text("No steps were logged."))
    rows = [_row(view) for view in views]
    columns = ["run", "steps", "minutes", "tokens", "tokens/s", "padding", "steps left out", "processes"]
    blocks.append(Table(columns, rows))
    lead = "Padding: places in attention that hold no token, at the logged steps. Linear layers have none."
    return Section("speed", "Speed", lead, blocks)


def _row(view: View) -> list[str]:
    record = view.record
    found = (record.metrics or {}).get("train", {})
    last = record.steps[-1] if record.steps else {}
    padding = [(line["padding"], line["tokens"]) for line in record.steps if "padding" in line]
    weight = sum(tokens for _, tokens in padding)
    mean = sum(part * tokens for part, tokens in padding) / weight if weight else None
    seconds = found.get("seconds")
    return [
        view.title,
        number(found.get("steps", last.get("step"))),
        number(seconds / 60, 1) if isinstance(seconds, int | float) else "–",
        number(found.get("tokens")),
        number(found.get("tokens_per_second")),
        "–" if mean is None else f"{100 * mean:.1f} %",
        number(found.get("bad_steps")),
        number(found.get("processes", record.environment.get("processes"))),
    ]
