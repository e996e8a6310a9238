"""What leaves the workbench: `serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from braid.cli.arguments import Trust
from braid.errors import BraidError


def serve(
    runs: Annotated[list[str], typer.Argument(help="Run directories, or NAME=DIRECTORY.", show_default=False)],
    host: Annotated[str, typer.Option(help="0.0.0.0: from other machines too.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, help="Processes that compute, each with the models.")] = 1,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads that each of them computes with.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.")] = "auto",
    precision: Annotated[str | None, typer.Option(help="auto, fp32, bf16; without it, the recipe's.")] = None,
    batch_tokens: Annotated[int | None, typer.Option(min=1, help="Tokens of a batch.")] = None,
    trust: Trust = False,
    queue_seconds: Annotated[float, typer.Option(help="Work that may wait; beyond it clients get 429.")] = 2.0,
    deadline: Annotated[float, typer.Option(help="Seconds after which a request gets 504.")] = 30.0,
    max_bytes: Annotated[int, typer.Option(min=1, help="Bytes of a request.")] = 1_000_000,
    max_rows: Annotated[int, typer.Option(min=1, help="Inputs of a request.")] = 1024,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens of a request.")] = 32_768,
    connections: Annotated[int, typer.Option(min=1, help="Connections at once.")] = 4096,
    api_key: Annotated[
        str | None,
        typer.Option(envvar="BRAID_API_KEY", show_envvar=True, help="What clients must show; others see it in `ps`."),
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate, with its chain (PEM).")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key (PEM).")] = None,
    log: Annotated[str, typer.Option(help="Access log on standard error: json, text, off.")] = "json",
    log_texts: Annotated[bool, typer.Option("--log-texts", help="Log what clients send.")] = False,
    grace: Annotated[float, typer.Option(help="Seconds that the door stays open after SIGTERM.")] = 0.5,
    drain: Annotated[float, typer.Option(help="Seconds for requests under way to end after that.")] = 60.0,
) -> None:
    """Answer requests over HTTP: predictions, vectors, a page. SIGTERM ends it without losing a request, SIGHUP loads
    the models anew."""
    try:
        import fastapi
        import httptools
        import orjson
        import prometheus_client
        import uvicorn
    except ImportError as error:
        raise BraidError(f"serving needs {error.name}: pip install 'braid-nlp[serve]'") from error
    del fastapi, httptools, orjson, prometheus_client, uvicorn
    from pydantic import ValidationError

    from braid.serve.limits import ServeOptions, named_runs

    if (tls_cert is None) != (tls_key is None):
        raise BraidError("--tls-cert and --tls-key go together")
    for path in (tls_cert, tls_key):
        if path is not None and not path.is_file():
            raise BraidError(f"there is no file {path}")
    limits = {
        "max_bytes": max_bytes,
        "max_rows": max_rows,
        "max_tokens": max_tokens,
        "queue_seconds": queue_seconds,
        "deadline": deadline,
        "connections": connections,
    }
    given = {
        "runs": named_runs(runs),
        "host": host,
        "port": port,
        "workers": workers,
        "threads": threads,
        "device": device,
        "precision": precision,
        "batch_tokens": batch_tokens,
        "trust": trust,
        "limits": limits,
        "api_key": api_key or None,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "log": log,
        "log_texts": log_texts,
        "grace": grace,
        "drain": drain,
    }
    try:
        options = ServeOptions.model_validate(given)
    except ValidationError as error:
        lines = [f"--{str(one['loc'][-1]).replace('_', '-')}: {one['msg']}" for one in error.errors()]
        raise BraidError("\n".join(lines)) from error
    from braid import __version__
    from braid.serve.listening import bind
    from braid.serve.server import serve as serve_here

    serve_here(options, bind(options), version=__version__)
