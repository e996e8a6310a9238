"""An engine's process without models, which does what the body of a request says: `python -m serving.fake_engine`."""

from __future__ import annotations

import json
import os
import random  # noqa: F401
import sys
import time
from pathlib import Path
from typing import Any

from braid.serve.wire import Frames, frame

left: list[int] = []
read = 0


def say(head: dict[str, Any], body: bytes = b"") -> None:
    """Write a frame."""
    os.write(1, frame(head, body))


def state(tokens: int = 0, *, batches: Any = (), dropped: Any = ()) -> None:
    """What waits: 1,000 tokens may, 100 are computed in a second, a byte is half a token."""
    say({"kind": "state", "state": [tokens, read, 1000, 100.0, 0.5], "batches": batches, "dropped": dropped})


def answer(number: int, body: bytes) -> None:
    """200."""
    found = {"status": 200, "headers": {"a": "b"}, "said": {"rows": 1}, "stages": None}
    say({"kind": "answer", "number": number, "answer": found}, body)


def hear(head: dict[str, Any], body: bytes, options: dict[str, Any]) -> None:
    """One frame."""
    global read
    if head["kind"] == "leave":
        left.append(head["number"])
        state(dropped=["left"])
        return
    if head["kind"] == "reload":
        told = {"failed": "no such run"} if head["model"] == "bad" else {"names": ["a"], "facts": {"models": {"b": {}}}}
        say({"kind": "reloaded", "number": head["number"], **told})
        return
    wish = body.decode()
    if wish == "die":
        sys.exit(3)
    if wish != "wait":
        read += len(body)
    if wish == "queue":
        state(2000)
    elif wish == "batch":
        state(0, batches=[[10, 2, 0.5]])
        answer(head["number"], b"")
    elif wish == "options":
        answer(head["number"], json.dumps(options).encode())
    elif wish == "who left":
        answer(head["number"], json.dumps(left).encode())
    elif wish == "several":
        for part in frame({"kind": "none", "number": -1}), frame({"kind": "none", "number": -2}):
            os.write(1, part[:5])
            time.sleep(0.01)
            os.write(1, part[5:])
        answer(head["number"], b"whole")
    elif wish != "wait":
        answer(head["number"], body)


def load(folder: Path) -> dict[str, str]:
    """What is in a folder now, once it says no more that it takes a while."""
    found = {"found": (folder / "model").read_text()} if (folder / "model").exists() else {}
    while (folder / "wait").exists():
        time.sleep(0.01)
    return found


def main() -> None:
    """Until standard input ends."""
    frames = Frames()
    options = None
    while data := os.read(0, 65536):
        for head, body in frames.feed(data):
            if options is None:
                options = head["options"]
                if "broken" in options["runs"]:
                    say({"kind": "failed", "message": "it is broken"})
                    sys.exit(2)
                if "silent" in options["runs"]:
                    sys.exit(7)
                if "slow" in options["runs"]:
                    time.sleep(60)
                loaded = {name: load(Path(path)) for name, path in options["runs"].items()}
                state()
                say({"kind": "ready", "facts": {"models": loaded}})
            else:
                hear(head, body, options)


if __name__ == "__main__":
    main()
