"""`braid report`: one run, or two beside each other, as one HTML file that needs nothing else."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from braid.checkpoint.files import write_bytes
from braid.errors import BraidError
from braid.report.blocks import Section
from braid.report.calibration import calibration
from braid.report.classes import classes
from braid.report.curves import curves
from braid.report.hardest import hardest
from braid.report.lengths import lengths
from braid.report.mixture import mixture
from braid.report.overview import overview
from braid.report.plots import require
from braid.report.record import read_record
from braid.report.scores import scores
from braid.report.setup import environment, recipe
from braid.report.speed import speed
from braid.report.view import Told, View, silent, view_of

EXAMPLES = 10
"""Rows shown of each task."""


def report(
    run: Path,
    other: Path | None = None,
    *,
    output: Path | None = None,
    split: str | None = None,
    examples: int = EXAMPLES,
    told: Told = silent,
) -> Path:
    """Write a run's report and return its path. *other*: a second run to stand beside it; *output*: None: into the run
    directory; *split*: whose rows are judged (None: dev, so that test stays unseen; test where there is no dev);
    *examples*: how many of the hardest rows are shown with their texts; *told* hears how far the judging is.

    Raises BraidError for what is no run directory, and where a file cannot be written."""
    paths = [run] if other is None else [run, other]
    titles = [None] if other is None else [*_titles(paths)]
    for path in paths:
        read_record(path)
    if output is None:
        output = run / ("report.html" if other is None else f"report-with-{str(titles[-1]).replace('/', '-')}.html")
    # What would be in the way at the end is said before models judge for minutes.
    require()
    _check_output(output)
    views = [view_of(path, title=title, split=split, told=told) for path, title in zip(paths, titles, strict=True)]
    page = render(views, examples=examples)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(output, page.encode("utf-8", "xmlcharrefreplace"))
    except OSError as error:
        raise BraidError(f"{output} cannot be written: {error}") from error
    return output


def _check_output(path: Path) -> None:
    """Raises BraidError where no file can be written."""
    if path.is_dir():
        raise BraidError(f"{path} is a folder; give --output the name of a file")
    there = next(parent for parent in path.absolute().parents if parent.exists())
    if not there.is_dir():
        raise BraidError(f"{path} cannot be written: {there} is a file, not a folder")
    if not os.access(there, os.W_OK):
        raise BraidError(f"{path} cannot be written: you have no right to write into {there}")


def render(views: Sequence[View], *, examples: int = EXAMPLES) -> str:
    """The page."""
    sections: list[Section | None] = [
        overview(views),
        scores(views),
        curves(views),
        classes(views),
        calibration(views),
        hardest(views, examples=examples),
        lengths(views),
        mixture(views),
        speed(views),
        environment(views),
        recipe(views),
    ]
    return written(" and ".join(view.title for view in views), [one for one in sections if one is not None])


def written(title: str, sections: Sequence[Section]) -> str:
    """Sections as a page. Everything in them is escaped."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    template = files("braid.report").joinpath("page.html").read_text(encoding="utf-8")
    environment_ = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment_.filters["drawing"] = Markup
    return environment_.from_string(template).render(title=title, sections=sections)


def _titles(paths: Sequence[Path]) -> list[str]:
    """What to call each run: its folder's name, with as many folders above it as tell it from the other."""
    parts = [path.resolve().parts for path in paths]
    depth = 1
    while len(parts) > 1 and parts[0] != parts[1] and parts[0][-depth:] == parts[1][-depth:]:
        depth += 1
    names = ["/".join(part[-depth:]) for part in parts]
    return names if len(set(names)) == len(names) else [f"{name} ({k})" for k, name in enumerate(names, 1)]
