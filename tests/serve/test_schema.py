"""Requests made up from the server's own OpenAPI schema: no fault of the server's, and answers as it says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from serve.conftest import app_of, http


@pytest.fixture(scope="module")
def app(run: Path) -> Iterator[Any]:
    with app_of(run) as (found, *_):
        yield found


@pytest.fixture(scope="module")
def api(app: Any) -> Any:
    async def fetched() -> Any:
        async with http(app) as client:
            return (await client.get("/openapi.json")).json()

    schema = schemathesis.openapi.from_dict(asyncio.run(fetched()))
    schema.app = app
    return schema


schema = schemathesis.pytest.from_fixture("api")


@schema.parametrize()
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_nothing_made_up_from_the_schema_is_answered_with_a_fault(case: Any) -> None:
    case.call_and_validate()
