"""The socket."""

from __future__ import annotations

import socket

from braid.errors import BraidError
from braid.serve.limits import ServeOptions


def bind(options: ServeOptions) -> socket.socket:
    """The socket, bound but not listening yet. Raises BraidError."""
    try:
        family, kind, number, _, address = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, number)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except OSError as error:
        raise BraidError(f"cannot serve at {options.host}:{options.port}: {error.strerror or error}") from error
    return sock


def url(options: ServeOptions, sock: socket.socket) -> str:
    """Where clients find the server."""
    scheme = "https" if options.tls_cert else "http"
    host = f"[{options.host}]" if ":" in options.host else options.host
    return f"{scheme}://{host}:{sock.getsockname()[1]}"
