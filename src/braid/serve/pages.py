"""What a browser is shown: the page (or a few lines in its place) and the routes. Nothing comes from elsewhere."""

from __future__ import annotations

import json
from html import escape
from importlib.resources import files
from typing import Any

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "pre{background:#f4f4f4;padding:.8rem;overflow:auto}code{font-family:ui-monospace,monospace}h2{margin-top:2.5rem}"
    "@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}pre{background:#262626}a{color:#8bf}}"
)


def page_file(name: str) -> bytes | None:
    """A file of the page; None where there is none."""
    found = files("braid.serve").joinpath("page")
    for part in name.split("/"):
        if part in ("", ".", "..") or "\\" in part or "\0" in part:
            return None
        found = found.joinpath(part)
    return found.read_bytes() if found.is_file() else None


def front(models: list[str]) -> str:
    """The front page where there is no other: what is served, and where to read on."""
    names = ", ".join(f"<code>{escape(name)}</code>" for name in models)
    return _html(
        "Braid",
        f"<h1>Braid</h1><p>This server predicts with {names}.</p>"
        '<p>How to ask it: <a href="/docs">routes and examples</a>. What it knows: <a href="/tasks">tasks</a>.</p>',
    )


def docs(schema: dict[str, Any]) -> str:
    """The routes of an OpenAPI schema, each with its examples as a command."""
    parts = [f"<h1>{escape(schema['info']['title'])}</h1><p>{escape(schema['info'].get('description', ''))}</p>"]
    parts.append('<p>For programs: <a href="/openapi.json">openapi.json</a>.</p>')
    for path, methods in schema["paths"].items():
        for method, route in methods.items():
            parts.append(f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(route['summary'])}</p>")
            body = route.get("requestBody", {}).get("content", {}).get("application/json", {})
            for example in body.get("examples", {}).values():
                given = json.dumps(example["value"], ensure_ascii=False)
                command = f"curl -s localhost:8000{path} -d '{given}'"
                parts.append(f"<p>{escape(example['summary'])}</p><pre><code>{escape(command)}</code></pre>")
            statuses = (f"<li>{code}: {escape(r['description'])}</li>" for code, r in route["responses"].items())
            parts.append(f"<ul>{''.join(statuses)}</ul>")
    return _html("Braid: routes", "".join(parts))


def _html(title: str, body: str) -> str:
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    return f'<!doctype html><html lang="en"><head>{head}<style>{STYLE}</style></head><body>{body}</body></html>'
