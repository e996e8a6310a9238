"""What tests of the page share: how to train, serve and find a browser, what is typed, what is read."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import braid
from braid.config.families import TaskConfig
from braid.tasks.base import LabelledTask
from conftest import ROOT

TYPES = {name: kind for name, kind in TaskConfig.variants().items() if issubclass(kind, LabelledTask)}
CUT = [("我爱北京天安门", "SSBEBME"), ("上海很大", "BESS"), ("他去北京", "SSBE"), ("天安门很大", "BMESS")]
WORDS = [("I", "PRON"), ("saw", "VERB"), ("Rome", "PROPN"), ("and", "CCONJ"), ("left", "VERB"), (".", "PUNCT")]
TEXT = "😀 Anna left New York at 5, 他去北京 <b>&amp;</b>"
PAIR = "in year 3 Anna went to Rome , they say"
NO_PLAYWRIGHT = "no playwright to steer a browser with"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def train(folder: Path) -> Path:
    """A run with a task of every type, called as the type, parts of speech and Chinese words besides."""
    rows = {kind: TYPES[kind].specimens(16) for kind in TYPES}
    rows["cut"] = [{"text": text, "label": list(tags)} for text, tags in CUT * 4]
    rows["pos"] = [
        {"words": [word for word, _ in WORDS[k % 3 :]], "label": [tag for _, tag in WORDS[k % 3 :]]} for k in range(12)
    ]
    tasks: dict[str, Any] = {}
    for name, some in rows.items():
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in some), encoding="utf-8")
        tasks[name] = {"type": name if name in TYPES else "tagging", "data": {"train": str(path)}}
    tasks["span"]["n_best"] = 3
    recipe = braid.Recipe(
        name="all",
        out=str(folder / "run"),
        cache=str(folder / "cache"),
        encoder={"hidden_size": 32, "layers": 1, "heads": 2, "intermediate_size": 64, "max_length": 64},
        tasks=tasks,
        chain=" | ".join(tasks),
        train={"epochs": 12, "lr": 5e-3, "batch_tokens": 512, "precision": "fp32", "log_every": 1000},
    )
    return braid.train(recipe, say=lambda message: None).directory


@contextmanager
def served(*runs: str, **environment: str) -> Iterator[str]:
    """The URL of `braid serve` on runs, while it is needed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "braid", "serve", *runs, "--port", "0", "--grace", "0"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        said = []
        for line in process.stderr:
            said.append(line)
            if found := re.search(r"serving at (http://\S+)", line):
                yield found[1].rstrip("/") + "/"
                return
        pytest.fail(f"braid serve ended: {''.join(said)}")
    finally:
        process.terminate()
        process.communicate(timeout=30)


def browser_path() -> str:
    """Debian's chromium, or the like; skips where there is none."""
    found = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(CHROMIUM)} is installed")
    return found


def predict(page: Any, **fields: str) -> list[dict[str, Any]]:
    """Fill fields in, press the button, and give the bodies that went to the server."""
    page.uncheck("#live")
    for name, value in fields.items():
        page.fill(f"#{name}", value)
    asked: list[dict[str, Any]] = []

    def listen(request: Any) -> None:
        if request.url.endswith("/predict"):
            asked.append(json.loads(request.post_data))

    page.on("request", listen)
    page.click("#predict")
    settled(page)
    page.remove_listener("request", listen)
    return asked


def settled(page: Any) -> None:
    page.wait_for_selector("#results[aria-busy=false]")


def card(page: Any, task: str) -> Any:
    return page.locator(f'.card[data-task="{task}"]')


def fill_example(page: Any, task: str) -> None:
    page.select_option("#example", task)
    page.click("#fill")
    settled(page)
