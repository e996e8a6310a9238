"""Requests made up from the server's own OpenAPI schema: no fault of the server's, and answers as it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from serving.conftest import app_of

OPERATIONS = ("/predict", "/embed", "/admin/reload", "/tasks", "/health", "/health/live", "/health/ready", "/metrics")


@pytest.mark.parametrize("path", OPERATIONS)
def test_nothing_made_up_from_the_schema_is_answered_with_a_fault(run: Path, path: str) -> None:
    with app_of(run) as (app, *_):
        schema = schemathesis.openapi.from_asgi("/openapi.json", app)
        (operation,) = (found.ok() for found in schema.get_all_operations() if found.ok().path == path)

        @settings(
            max_examples=25 if operation.method == "post" else 2,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.generate],
        )
        @given(case=operation.as_strategy())
        def check(case: Any) -> None:
            # A schema cannot say which tasks and models there are, nor that two lists are of one length.
            response = case.call_and_validate(excluded_checks=[positive_data_acceptance])
            assert response.status_code < 500

        check()


def test_the_schema_names_every_operation(run: Path) -> None:
    with app_of(run) as (app, *_):
        schema = schemathesis.openapi.from_asgi("/openapi.json", app)
        assert {found.ok().path for found in schema.get_all_operations()} == set(OPERATIONS)
