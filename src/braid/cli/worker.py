"""One of several serving processes: `python -m braid.cli.worker`, told what to do on standard input."""

from __future__ import annotations

import json
import socket
import sys

from braid.errors import BraidError
from braid.serve.limits import ServeOptions


def main() -> None:
    """Serve on a socket that was handed over."""
    told = json.load(sys.stdin)
    options = ServeOptions.model_validate(told["options"])
    import braid
    from braid.serve.server import serve

    try:
        serve(options, socket.socket(fileno=told["socket"]), load=braid.load, version=braid.__version__)
    except BraidError as error:
        print(f"braid: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
