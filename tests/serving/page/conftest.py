"""A model with every task type, a server for it, and a browser: for tests of the page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import braid
from serving.page.parts import NO_PLAYWRIGHT, browser_path, served, train


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    browser_path()
    return train(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="session")
def model(run: Path) -> Any:
    return braid.load(run, device="cpu")


@pytest.fixture(scope="session")
def url(run: Path) -> Iterator[str]:
    with served(f"all={run}") as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    # Not longer than a module: while it lives, no test can run an event loop of its own.
    with pytest.importorskip("playwright.sync_api", reason=NO_PLAYWRIGHT).sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=browser_path(), args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def wrong() -> list[str]:
    """What the browser complained of."""
    return []


@pytest.fixture
def open_page(browser: Any, url: str, wrong: list[str]) -> Iterator[Any]:
    """Opens the page (of another server) and waits for its first predictions."""
    contexts = []

    def opened(address: str = url, *, wait: str = ".card", before: Any = None, **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1400, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        if before is not None:
            before(page)
        page.goto(address)
        page.wait_for_selector(wait)
        return page

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def shared_page(browser: Any, url: str) -> Iterator[Any]:
    """One page for tests that only fill it in."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector(".card")
    yield page
    context.close()
