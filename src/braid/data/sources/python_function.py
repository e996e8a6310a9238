"""Rows from a function of the user's."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NoReturn

from pydantic import Field

from braid.data.example import SourceRow
from braid.data.sources.base import Source
from braid.data.textfile import shown
from braid.errors import DataError, Place, Problem, did_you_mean


class PythonFunction(Source):
    """A function `module:function` that is given the split's name and yields native rows.

    It runs only because a recipe names it; a model directory never makes Braid import anything."""

    type: Literal["python"] = "python"

    python: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    """`module:function`; the module must be importable (installed, or in the current folder)."""

    def rows(self, split: str) -> Iterator[SourceRow]:
        """One row per mapping that the function yields. Raises DataError naming function and row if it fails."""
        function = self._function()
        number = 0
        try:
            for number, row in enumerate(function(split), start=1):
                if not isinstance(row, Mapping):
                    self._fail(f"expected a mapping, found {shown(row)}", number)
                yield SourceRow(fields=dict(row), line=number, file=self.python)
        except (DataError, GeneratorExit, KeyboardInterrupt):
            raise
        except Exception as error:
            self._fail(f"the function failed after {number} rows: {type(error).__name__}: {error}", number + 1, error)

    def fingerprint(self, split: str) -> str | None:
        """None: what a function yields may depend on anything."""
        return None

    def files(self) -> list[str]:
        """The function's name, for messages."""
        return [self.python]

    def _function(self) -> Any:
        module_name, name = self.python.split(":")
        if os.getcwd() not in sys.path and "" not in sys.path:
            # The `braid` command, unlike `python -m braid`, does not look here. Last, so that nothing is shadowed.
            sys.path.append(os.getcwd())
        try:
            module = importlib.import_module(module_name)
        except Exception as error:
            todo = "it must be installed, or lie in the current folder or on PYTHONPATH"
            self._fail(f"cannot import {module_name!r}: {type(error).__name__}: {error}", None, error, todo)
        function = getattr(module, name, None)
        if not callable(function):
            names = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
            self._fail(f"{module_name!r} has no function {name!r}", None, None, did_you_mean(name, names))
        return function

    def _fail(
        self, what: str, number: int | None, cause: BaseException | None = None, todo: str | None = None
    ) -> NoReturn:
        raise DataError([Problem(what=what, place=Place(file=self.python, line=number), todo=todo)]) from cause
