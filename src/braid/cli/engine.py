"""The process of an engine of `braid serve`: `python -m braid.cli.engine`, which the front begins and talks to."""

from __future__ import annotations

import signal
import sys


def main() -> int:
    """Serve until standard input ends: what ends or reloads the server is told to the front alone."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    import braid
    from braid.serve.process import run

    return run(braid.load)


if __name__ == "__main__":
    sys.exit(main())
