"""`precision: auto` takes bf16 only where the machine computes in it."""

from __future__ import annotations

import pytest
import torch

from braid.model.precision import autocast, resolve

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("amx", "avx512", "wanted"), [(False, False, "fp32"), (True, False, "bf16"), (False, True, "bf16")]
)
def test_auto_is_bf16_where_that_is_fast(monkeypatch: pytest.MonkeyPatch, amx: bool, avx512: bool, wanted: str) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512, raising=False)
    assert resolve("auto", CPU) == wanted


def test_auto_is_fp32_where_torch_cannot_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported", raising=False)
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    assert resolve("auto", CPU) == "fp32"


def test_what_is_asked_for_is_given() -> None:
    assert resolve("bf16", CPU) == "bf16"
    assert resolve("fp32", CPU) == "fp32"
    with autocast("bf16", CPU):
        assert torch.is_autocast_enabled("cpu")
    with autocast("fp32", CPU):
        assert not torch.is_autocast_enabled("cpu")
