"""The command line: `braid train recipe.yaml`. Exit codes: 0 done, 2 the user's input is wrong, 1 ours.

Each file here holds the commands of one kind. Heavy imports stand inside the commands, so that `braid --help` answers
at once.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from typing import Annotated

import typer

from braid.cli.converting import convert
from braid.cli.exporting import export
from braid.cli.features import embed, embeddings, nearest
from braid.cli.files import average, inspect
from braid.cli.language import cloze, generate, prepare
from braid.cli.listing import list_variants, schema
from braid.cli.reporting import push, report
from braid.cli.running import check, demo, evaluate, predict, train
from braid.cli.shipping import serve
from braid.cli.studies import sweep
from braid.cli.vocabulary import vocab
from braid.errors import BraidError, Interrupted

app = typer.Typer(
    name="braid",
    help="One text encoder that does many tasks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback with an error.")]

STOPPED = 130
"""What a shell says of a command that Ctrl-C ended."""

IN_THE_WAY = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOSPC,
              errno.EDQUOT, errno.ENAMETOOLONG}  # fmt: skip
"""What the system says of files that are not as a command needs them: no rights, no room, a file for a folder."""

_debug = False


def _version(wanted: bool) -> None:
    if wanted:
        import braid

        print(f"braid {braid.__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Debug = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """One text encoder that does many tasks."""
    global _debug
    _debug = debug or bool(os.environ.get("BRAID_DEBUG"))


COMMANDS = (
    *(train, evaluate, predict, check, demo, schema),
    *(prepare, generate, cloze),
    *(convert, inspect, average),
    *(embed, embeddings, nearest),
    *(sweep,),
    *(report, push),
    *(export, serve),
)
for command in COMMANDS:
    app.command()(command)
app.command("list")(list_variants)
app.add_typer(vocab, name="vocab")


def main() -> None:
    """The command `braid`."""
    # Under torchrun, torch's C++ parts would remark on what is meant to be so (DDP: heads without a row in a step).
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except BraidError as error:
        if _debug:
            traceback.print_exc()
        print(f"braid: {error}", file=sys.stderr)
        sys.exit(2)
    except Interrupted as stopped:
        print(f"braid: {stopped}", file=sys.stderr)
        sys.exit(stopped.code)
    except SystemExit as left:
        # typer makes exit codes of these two, without a word.
        if left.code == STOPPED:
            print("\nstopped", file=sys.stderr)
        if isinstance(left.__context__, BrokenPipeError):
            # The reader of our output went away (`| head`); that is no error.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.exit(0)
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in IN_THE_WAY:
            if _debug:
                traceback.print_exc()
            where = "" if error.filename is None else f"{error.filename}: "
            print(f"braid: {where}{error.strerror}; name another place, or see to what is there", file=sys.stderr)
            sys.exit(2)
        traceback.print_exc()
        print("braid: this is a bug in Braid, not in what you gave it.", file=sys.stderr)
        sys.exit(1)
