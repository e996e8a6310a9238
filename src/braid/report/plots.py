"""Drawings as SVG inside the page: text stays text, and colours are the page's own, so that they follow its theme."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from braid.errors import BraidError
from braid.report.blocks import Plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, GRID = "#010203", "#040506"
SERIES = tuple(f"#0a0b{number:02x}" for number in range(16, 22))
"""Stand-ins that become variables of the page's style sheet: `--ink`, `--grid`, `--s0` ... `--s5`."""

WIDTH = 8.4
"""Inches: what fits on a page of A4 or letter, and in the column of text."""

_WARNED = "the command `report` draws with matplotlib and Jinja2: pip install 'braid-nlp[report]'"


def colour(number: int) -> str:
    """The colour of the n-th series."""
    return SERIES[number % len(SERIES)]


def require() -> None:
    """Raises BraidError where what draws is not installed."""
    try:
        import jinja2
        import matplotlib
    except ImportError as error:
        raise BraidError(_WARNED) from error
    del jinja2, matplotlib


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib set up for these drawings, and as it was afterwards."""
    import matplotlib

    settings = {
        "svg.fonttype": "none",
        "font.family": ["DejaVu Sans"],
        "font.size": 9,
        "axes.titlesize": 9,
        "axes.titlelocation": "left",
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "axes.titlecolor": INK,
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "grid.color": GRID,
        "grid.linewidth": 0.6,
        "legend.frameon": False,
        "legend.fontsize": 8,
        "lines.linewidth": 1.5,
        "figure.constrained_layout.use": True,
    }
    with matplotlib.rc_context(settings):
        yield


def panels(number: int, *, height: float = 2.2) -> list[Axes]:
    """So many axes beside each other, within `style`. A figure that no window knows: nothing has to be closed."""
    from matplotlib.figure import Figure

    # A single panel of full width is wide enough for steps, but two share the same place.
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    found = figure.subplots(1, max(number, 2), squeeze=False)[0]
    for spare in found[number:]:
        spare.remove()
    return list(found[:number])


def drawn(axes: Sequence[Axes], name: str, alt: str) -> Plot:
    """The figure of these axes as markup. *name* keeps ids of one page apart."""
    import matplotlib

    figure = axes[0].get_figure(root=True)
    assert figure is not None
    for one in axes:
        one.patch.set_alpha(0)
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return Plot(themed(buffer.getvalue(), name), alt)


def themed(svg: str, name: str) -> str:
    """An SVG file as an element of a page: without its preamble, with the page's colours and fonts."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.S)
    body = body.replace(INK, "var(--ink)").replace(GRID, "var(--grid)")
    for number, stand_in in enumerate(SERIES):
        body = body.replace(stand_in, f"var(--s{number})")
    body = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", body)
    body = re.sub(r' (?:xmlns:xlink|version)="[^"]*"', "", body)
    prefix = re.sub(r"[^A-Za-z0-9]+", "-", name)
    body = re.sub(r'id="([^"]+)"', rf'id="{prefix}-\1"', body)
    body = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", body)
    return re.sub(r'xlink:href="#([^"]+)"', rf'href="#{prefix}-\1"', body)
