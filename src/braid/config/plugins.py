"""`plugins:` of a recipe: files or modules that register variants when they are imported."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from braid.config.variant import families
from braid.errors import BraidError, PluginError, nearest


def import_plugin(name: str) -> None:
    """Import a plugin: a `.py` file (relative to the current folder) or a module. One that is there already is left.

    Raises PluginError saying what failed; nothing that a failed plugin registered stays."""
    if name.endswith(".py") or "/" in name or os.sep in name:
        _import_file(name)
    else:
        _import_module(name)


def _import_file(name: str) -> None:
    path = Path(name).expanduser()
    if not path.is_file():
        options = os.listdir(path.parent) if path.parent.is_dir() else []
        near = nearest(path.name, [option for option in options if option.endswith(".py")])
        hint = f"; did you mean {str(path.parent / near)!r}?" if near else ""
        raise PluginError(f"there is no file {path.absolute()}{hint}")
    file = os.path.realpath(path)
    for module in list(sys.modules.values()):
        if os.path.realpath(getattr(module, "__file__", None) or os.devnull) == file:
            return
    # Two folders may both have a my_tasks.py.
    digest = hashlib.sha256(file.encode()).hexdigest()[:8]
    module_name = f"braid_plugin_{path.stem}_{digest}"
    spec = importlib.util.spec_from_file_location(module_name, file)
    if spec is None or spec.loader is None:
        raise PluginError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    # A class finds its file through sys.modules, so the module must stand there while it runs.
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        sys.modules.pop(module_name, None)
        _forget([module_name])
        raise _explained(error, str(path), module) from error


def _import_module(name: str) -> None:
    here = os.getcwd()
    sys.path.append(here)
    try:
        importlib.import_module(name)
    except BaseException as error:
        _forget([name])
        raise _explained(error, name, None) from error
    finally:
        sys.path.remove(here)


def _explained(error: BaseException, name: str, module: ModuleType | None) -> BaseException:
    if isinstance(error, BraidError) or not isinstance(error, Exception):
        return error
    if isinstance(error, ModuleNotFoundError) and module is None and error.name == name.split(".")[0]:
        return PluginError(f"there is no module {name!r}; install it, or name a file: {name.replace('.', '/')}.py")
    return PluginError(f"{name} cannot be imported: {_line_of(error, module)}{type(error).__name__}: {error}")


def _line_of(error: Exception, module: ModuleType | None) -> str:
    """The line of the plugin that an error came through."""
    file = getattr(module, "__file__", None)
    traceback: Any = error.__traceback__
    line = error.lineno if isinstance(error, SyntaxError) else None
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == file:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return f"line {line}: " if line else ""


def _forget(modules: Sequence[str]) -> None:
    """Take the variants of modules out of all families."""
    for base in families():
        for name in [name for name, variant in base.registry.items() if variant.__module__ in modules]:
            del base.registry[name]
