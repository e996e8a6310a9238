"""`braid push`: a finished run to the Hugging Face hub. The model goes up, and what says how it was made: no more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from braid.checkpoint.model_files import file_sha256
from braid.errors import BraidError, RunDirectoryError
from braid.report.card import CARD, write_card
from braid.report.record import read_record

FILES = ("recipe.yaml", "environment.json", "metrics.json", "data.json")
"""What goes up beside the card, the encoder and the heads. Neither states, logs, reports nor data do."""


class Hub(Protocol):
    """What is needed of `huggingface_hub.HfApi`."""

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> Any:
        """Make a repository, if it is not there."""

    def create_commit(self, repo_id: str, operations: Any, *, commit_message: str) -> Any:
        """Put files into it, all or none."""


@dataclass(frozen=True)
class Upload:
    """*files*: path in the repository -> size in bytes, in the order of the tree; *url*: where they are, once they
    are; *warnings*: what whoever pushes should know."""

    repo_id: str
    private: bool
    files: dict[str, int]
    warnings: tuple[str, ...] = ()
    url: str | None = None

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(self.files.values())


def push(
    run: Path,
    repo_id: str,
    *,
    private: bool = True,
    dry_run: bool = False,
    message: str | None = None,
    hub: Callable[[], Hub] | None = None,
) -> Upload:
    """Upload a run as one commit. *private*: of a repository that is made now; one that is there stays what it is.
    *dry_run*: only say what would go up, without a network. *hub*: where to (None: the hub of the user's own login).

    Raises RunDirectoryError for a run that is not whole, BraidError for a name that the hub does not allow and for
    whatever it answers."""
    _check_name(repo_id)
    files = uploaded(run)
    upload = Upload(repo_id, private, {name: path.stat().st_size for name, path in files.items()}, _warnings(files))
    if dry_run:
        return upload
    from huggingface_hub import CommitOperationAdd, HfApi

    title = message or f"Upload {read_record(run).name}, trained with Braid"
    try:
        api = HfApi(library_name="braid") if hub is None else hub()
        api.create_repo(repo_id, private=private, exist_ok=True)
        operations = [CommitOperationAdd(name, str(path)) for name, path in files.items()]
        made = api.create_commit(repo_id, operations, commit_message=title)
    except Exception as error:
        raise _refused(repo_id, error) from error
    return Upload(repo_id, private, upload.files, upload.warnings, str(getattr(made, "commit_url", None) or made))


def uploaded(run: Path) -> dict[str, Path]:
    """The files that go up: path in the repository -> file. Writes the card, if an older run has none.

    Raises RunDirectoryError for a run that is unfinished or whose parts do not belong together."""
    record = read_record(run)
    weights = run / "encoder" / "model.safetensors"
    if not record.finished or not weights.is_file():
        raise RunDirectoryError(f"{run} is not finished: there is no model to push yet")
    if not record.tasks:
        raise RunDirectoryError(
            f"{run} has no task in tasks/: an encoder alone is uploaded as its folder {run}/encoder"
        )
    heads = [run / "tasks" / name / "head.safetensors" for name in record.tasks]
    if missing := [path for path in heads if not path.is_file()]:
        raise RunDirectoryError(
            f"{', '.join(map(str, missing))} is missing: what would go up would not load. Put it back, or take its "
            "folder out of tasks/"
        )
    sha256 = file_sha256(weights)
    strange = [name for name, task in record.tasks.items() if task.get("encoder_sha256") != sha256]
    if strange:
        raise RunDirectoryError(
            f"{run}: {', '.join(strange)} was trained on another encoder than the one that is here; what would go up "
            "would not load. Take its folder out of tasks/, or put the right encoder back"
        )
    if not (run / CARD).is_file():
        write_card(run)
    found = [run / name for name in (CARD, *FILES)]
    found += sorted(path for path in (run / "encoder").iterdir() if not path.name.startswith("."))
    found += [run / "tasks" / name / file for name in record.tasks for file in ("task.json", "head.safetensors")]
    return {path.relative_to(run).as_posix(): path for path in found if path.is_file()}


def _warnings(files: dict[str, Path]) -> tuple[str, ...]:
    """Files that name folders of this machine."""
    home = str(Path.home())
    naming = [
        name
        for name, path in files.items()
        if name in (CARD, *FILES)
        and len(home) > 1
        and any(f"{start}{home}/" in path.read_text(encoding="utf-8") for start in (" ", '"', "'"))
    ]
    return (f"{' and '.join(naming)} name files below {home}",) if naming else ()


def _check_name(repo_id: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise BraidError(f"{repo_id!r} is no name that the hub allows; write USER/NAME. {error}") from error


def _refused(repo_id: str, error: Exception) -> BraidError:
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

    if isinstance(error, BraidError):
        return error
    advice = "Nothing was changed but what the hub says it was."
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, OfflineModeIsEnabled):
        advice = "HF_HUB_OFFLINE is set: take it away, or look with --dry-run."
    elif isinstance(error, LocalTokenNotFoundError) or status == 401:
        advice = "Log in first: `hf auth login`, with a token that may write."
    elif status == 403:
        advice = "The token may not write there."
    elif not isinstance(error, HfHubHTTPError):
        advice = "Is there a network? Push again when there is: what is up already stays as it was."
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return BraidError(f"{repo_id} could not be pushed: {first}\n    {advice}")
