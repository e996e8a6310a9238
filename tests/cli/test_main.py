"""What the command says, and exits with, when something goes wrong."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest
import typer

from braid import cli


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    """The exit code of a command that ends with an error."""
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def command() -> None:
        raise error

    monkeypatch.setattr(cli, "app", app)
    monkeypatch.setattr(sys, "argv", ["braid"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert isinstance(left.value.code, int)
    return left.value.code


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOTDIR, errno.EEXIST, errno.ENOSPC])
def test_files_that_are_in_the_way_are_no_bug(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert failing(monkeypatch, OSError(number, os.strerror(number), "some/place")) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"braid: some/place: {os.strerror(number)}; ")
    assert "Traceback" not in said


@pytest.mark.parametrize("error", [FileNotFoundError(errno.ENOENT, "no", "x"), OSError("odd"), ValueError("odd")])
def test_what_nobody_foresaw_is_called_a_bug_and_shown(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert failing(monkeypatch, error) == 1
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "this is a bug in Braid" in said


def test_a_reader_that_went_away_is_no_error() -> None:
    command = [sys.executable, "-m", "braid", "schema"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_ctrl_c_is_no_error_of_anybody(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert failing(monkeypatch, KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "\nstopped\n"
