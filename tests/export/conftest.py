"""The small trained run of the tests of `run`."""

from __future__ import annotations

from run.conftest import small_run as small_run
