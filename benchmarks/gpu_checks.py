"""What must hold on a GPU, each a function that takes a device and raises AssertionError; `gpu.py` runs them.

All but those that need a GPU's memory run on a CPU too, where they hold trivially: so their own code is tested.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from small_runs import recipe_of, write_data
from torch import Tensor

import braid
from braid.config.families import EncoderConfig
from braid.data.batch import Batch
from braid.data.packing import pack_ids
from braid.encoders.base import Encoder, EncoderVariant
from braid.model.precision import autocast, fast_bfloat16, resolve

SIZES = {"hidden_size": 128, "layers": 4, "heads": 2}
ENCODERS: dict[str, dict[str, Any]] = {
    "bert": {"type": "bert", **SIZES, "intermediate_size": 512, "max_length": 256},
    "gpt": {"type": "gpt", **SIZES},
    "modernbert": {"type": "modernbert", **SIZES, "window": 32},
}
"""Both directions, one direction, and a window: the three ways of the varlen kernel."""

LENGTHS = (5, 130, 17, 9, 1, 200, 9, 64, 33)
VOCABULARY = 1000
GIBIBYTE = 1 << 30


def precision_is_bf16_where_fast(device: torch.device) -> None:
    """`precision: auto`, and what autocast then computes in."""
    half = resolve("auto", device) == "bf16"
    assert half == fast_bfloat16(device)
    if half:
        one = torch.ones(16, 16, device=device)
        with autocast("bf16", device):
            assert (one @ one).dtype == torch.bfloat16


def forward_is_the_cpus(device: torch.device) -> None:
    """Hidden states equal the CPU's in fp32; in bf16 they are near, and the varlen kernel makes them."""
    for name, encoder in _encoders():
        encoder.eval()
        moved = copy.deepcopy(encoder).to(device)
        batch = _batch()
        with torch.inference_mode():
            expected = encoder(batch)[0]
            exact = moved(batch.to(device))[0].cpu()
            with autocast("bf16", device), _varlen_calls() as calls:
                rough = moved(batch.to(device))[0].float().cpu()
        torch.testing.assert_close(exact, expected, atol=1e-4, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}")
        assert _off(rough, expected) < 0.03, f"{name} in bf16: off by {_off(rough, expected):.3f}"
        if device.type == "cuda":
            assert len(calls) == SIZES["layers"], f"{name}: {len(calls)} layers used the varlen kernel"


def gradient_is_the_cpus(device: torch.device) -> None:
    """So are gradients, in bf16 as in fp32."""
    for name, encoder in _encoders():
        encoder.eval()  # without dropout, which is another on each device
        found = {}
        for key, where, precision in (
            ("expected", torch.device("cpu"), "fp32"),
            ("fp32", device, "fp32"),
            ("bf16", device, "bf16"),
        ):
            model = copy.deepcopy(encoder).to(where)
            batch = _batch().to(where)
            with autocast(precision, where):
                last = model(batch)[0]
            torch.manual_seed(1)
            (last.float() * torch.randn(last.shape).to(where)).sum().backward()
            grads = [p.grad.flatten().cpu() for p in model.parameters() if p.grad is not None]
            found[key] = torch.cat(grads)
        for key, limit in (("fp32", 1e-3), ("bf16", 0.1)):
            off = _off(found[key], found["expected"])
            assert off < limit, f"{name}: the gradient in {key} is off by {off:.4f}"


def training_is_the_cpus(device: torch.device) -> None:
    """Twenty steps in fp32 without dropout, four tasks: the same losses as on the CPU."""
    with _demo() as (data, folder):
        losses = {}
        for name in ("cpu", str(device)):
            out = folder / name.replace(":", "_")
            train(recipe(data, out, device=name, max_steps=20, log_every=1))
            losses[name] = _losses(out)
        here, there = losses[str(device)], losses["cpu"]
        assert len(here) == len(there) == 20
        for step, (one, other) in enumerate(zip(here, there, strict=True), 1):
            assert abs(one - other) < 1e-3 * max(1.0, other), f"step {step}: {one} here, {other} on the CPU"


def training_learns_in_auto(device: torch.device) -> None:
    """`precision: auto` and `batch_tokens: auto`: the loss falls, and the model predicts."""
    with _demo() as (data, folder):
        more = {"batch_rows": None, "batch_tokens": "auto"} if device.type == "cuda" else {}
        steps = 100 if device.type == "cuda" else 10
        train(recipe(data, folder / "run", device=str(device), precision="auto", max_steps=steps, log_every=1, **more))
        losses = _losses(folder / "run")
        assert sum(losses[-3:]) < sum(losses[:3]), f"the loss did not fall: {losses[:3]} ... {losses[-3:]}"
        model = braid.load(folder / "run", device=str(device))
        results = list(model(["a fine book", "a poor film"]))
        assert all({"entities", "sentiment"} <= set(result) for result in results)
        alone = model("a poor film")
        assert alone["sentiment"].label == results[1]["sentiment"].label


def budget_fits(device: torch.device) -> None:
    """`batch_tokens: auto` finds a budget that is more than the smallest, and trains with it."""
    if device.type != "cuda":
        return
    with _demo() as (data, folder), _at_most(6 * GIBIBYTE, device):
        said: list[str] = []
        given = recipe(data, folder / "run", device=str(device), max_steps=3, batch_rows=None, batch_tokens="auto")
        braid.train(given, say=said.append)
        found = [line for line in said if "batch_tokens: auto is" in line]
        assert found, said
        assert int(found[0].rsplit(" ", 1)[1].replace(",", "")) > 1024, found


def out_of_memory_retreats(device: torch.device) -> None:
    """A batch that does not fit is computed in more parts, and training goes on."""
    if device.type != "cuda":
        return
    said: list[str] = []
    # A wide encoder and 3 GiB, a third of which its weights need: a step of all rows holds 10 in activations.
    wide = {"hidden_size": 1024, "layers": 4, "heads": 16, "intermediate_size": 4096}
    with _demo() as (data, folder), _at_most(3 * GIBIBYTE, device), _heard(said):
        train(recipe(data, folder / "run", encoder=wide, device=str(device), max_steps=3, batch_rows=800))
    assert any("out of memory; batches are now computed in" in line for line in said), said


def processes_train_the_same(device: torch.device, processes: int) -> None:
    """DDP (nccl on GPUs) and FSDP with so many processes give the losses of one."""
    with _demo() as (data, folder):
        found = {}
        for number, parallel in ((1, "ddp"), (processes, "ddp"), (processes, "fsdp")):
            out = folder / f"{number}_{parallel}"
            given = {"data": str(data), "out": str(out), "device": device.type, "parallel": parallel}
            _torchrun(number, json.dumps(given))
            found[number, parallel] = _losses(out)
        for key, losses in found.items():
            for one, other in zip(losses, found[1, "ddp"], strict=True):
                assert abs(one - other) < 2e-3 * max(1.0, other), f"{key}: {losses} instead of {found[1, 'ddp']}"


def work(given: dict[str, Any]) -> None:
    """What each process of `processes_train_the_same` runs."""
    options = {key: given[key] for key in ("device", "parallel")}
    train(recipe(Path(given["data"]), Path(given["out"]), max_steps=5, log_every=1, **options))


CHECKS: tuple[Callable[[torch.device], None], ...] = (
    precision_is_bf16_where_fast,
    forward_is_the_cpus,
    gradient_is_the_cpus,
    training_is_the_cpus,
    training_learns_in_auto,
    budget_fits,
    out_of_memory_retreats,
)


def recipe(data: Path, out: Path, *, encoder: dict[str, Any] | None = None, **options: Any) -> braid.Recipe:
    """The demo's four tasks without dropout, with heads of a size that GPUs' kernels have."""
    size = {"hidden_size": 64, "intermediate_size": 128, "dropout": 0.0, **(encoder or {})}
    return recipe_of(data, out, encoder=size, task={"dropout": 0.0}, **options)


def train(given: braid.Recipe) -> None:
    braid.train(given, overwrite=True, say=lambda message: None)


def _encoders() -> Iterator[tuple[str, Encoder]]:
    for name, config in ENCODERS.items():
        torch.manual_seed(0)
        variant = EncoderConfig.choose(config)
        assert isinstance(variant, EncoderVariant)
        yield name, variant.build(vocab_size=VOCABULARY, pad_id=0)


def _batch() -> Batch:
    draw = torch.Generator().manual_seed(3)
    return pack_ids([torch.randint(5, VOCABULARY, (length,), generator=draw).tolist() for length in LENGTHS])


def _off(found: Tensor, expected: Tensor) -> float:
    """The distance, as a share of what is expected."""
    return float((found - expected).norm() / expected.norm())


def _losses(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [sum(line["loss"].values()) for line in lines if "loss" in line]


@contextmanager
def _demo() -> Iterator[tuple[Path, Path]]:
    with tempfile.TemporaryDirectory() as name:
        write_data(Path(name) / "data", rows=400)
        yield Path(name) / "data", Path(name)


@contextmanager
def _varlen_calls() -> Iterator[list[None]]:
    """One entry for each call of the varlen kernel."""
    from braid.nn import attention

    calls: list[None] = []
    plain = attention._varlen

    def counted(*given: Any, **options: Any) -> Tensor:
        calls.append(None)
        return plain(*given, **options)

    attention._varlen = counted
    try:
        yield calls
    finally:
        attention._varlen = plain


@contextmanager
def _at_most(size: int, device: torch.device) -> Iterator[None]:
    """No more of a GPU's memory for this process."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, size / total), device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
        torch.cuda.empty_cache()


@contextmanager
def _heard(said: list[str]) -> Iterator[None]:
    """What a training's display is told, wherever it shows it."""
    from braid.training import progress

    def hear(self: Any, text: str) -> None:
        said.append(text)

    kinds = [kind for kind in vars(progress).values() if isinstance(kind, type) and "message" in vars(kind)]
    before = [kind.message for kind in kinds]
    for kind in kinds:
        kind.message = hear
    try:
        yield
    finally:
        for kind, plain in zip(kinds, before, strict=True):
            kind.message = plain


def _torchrun(processes: int, given: str) -> None:
    start = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    start += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    script = str(Path(__file__).with_name("gpu.py"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [*start, script, "--work", given], capture_output=True, text=True, timeout=600, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
