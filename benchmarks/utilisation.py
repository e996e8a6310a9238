"""How much of the machine's matrix unit Braid uses: the products of real tokens at their measured peak, against time.

    python benchmarks/utilisation.py [--repeats 3] [--steps 20] [--only "MLM;inference"]

Fine-tuning, masked language modelling and prediction of one task on reviews, with the encoder of `finetune.py` and
`pretrain.py` (4 layers of 512, 32 rows a step) and in BERT-base's shape (12 of 768). Each turn measures the peak of the
same shapes in the same process: linear layers; attention's products of rows as long as the batch's; the output
projection. Utilisation is the seconds that all products of a model's forward pass (and twice as much for a backward
pass) over the real tokens would take at these peaks, over the seconds that the steps took, everything included.

A second table says by part where the time went, from torch's profiler in some further steps: `spent`, and the same
ratio for each part. Products that Braid leaves out (of tokens that no head reads, in the last layer) count as if they
were done, as is usual; so a part can come out above 1.

Prints the tables and, last, one line of JSON with the utilisations.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matmul import Sizes, peak_of
from pretrain import MASKED
from rich.console import Console
from rich.table import Table
from texts import reviews, table, tokenizer, vocabulary
from trainer_peer import BATCH, MAX_LENGTH, SIZES, WARMUP, fastest
from versus import Found, contest, figure, rate

BASE = Sizes(layers=12, hidden=768, inner=3072, heads=12)
PASSES = 3
"""Passes over all texts, of which the median counts."""

PROFILED = 5
"""Further steps that the profiler looks at."""

LINEAR, ATTENTION, OUTPUT = "linear layers", "attention", "output projection"
NAMES = {
    ATTENTION: ("scaled_dot_product", "bmm"),
    LINEAR: ("aten::mm", "aten::addmm", "mkldnn", "aten::linear", "aten::matmul"),
    "optimiser, norm of the gradient": ("adam", "foreach", "vector_norm"),
    "casts and copies": ("copy", "cat", "pad", "fill", "zero", "index", "clone"),
    "norms, activations, dropout": ("norm", "gelu", "dropout", "bernoulli", "mul", "random", "add"),
}
"""Parts by what the names of torch's operators hold; the first that fits. `OUTPUT` are products with the vocabulary."""


@dataclass
class Watched:
    """What was seen of a run: *seconds* of the steps that were timed, *rows*: the lengths of their rows, *predicted*
    tokens of them; *profiled*: of the further steps the same, and operators by name."""

    seconds: float = 0.0
    rows: list[int] = field(default_factory=list)
    predicted: int = 0
    steps: int = 1
    began: float = 0.0
    profiled: float = 0.0
    spent: dict[str, float] = field(default_factory=dict)


@contextmanager
def profiler(watched: Watched, vocabulary: int) -> Iterator[None]:
    """Seconds by part of what happens inside."""
    from torch.profiler import ProfilerActivity, profile

    began = time.perf_counter()
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as seen:
        yield
    watched.profiled = time.perf_counter() - began
    spent: dict[str, float] = defaultdict(float)
    for event in seen.key_averages(group_by_input_shape=True):
        spent[part_of(event.key, event.input_shapes, vocabulary)] += event.self_cpu_time_total / 1e6
    watched.spent = dict(spent)


def part_of(name: str, shapes: Sequence[Any], vocabulary: int) -> str:
    """Which part an operator belongs to."""
    for part, names in NAMES.items():
        if any(each in name for each in names):
            wide = any(vocabulary in shape for shape in shapes if isinstance(shape, list))
            return OUTPUT if wide and part == LINEAR else part
    return "other operators"


def watch_training(recipe: dict[str, Any], *, steps: int, vocabulary: int, profiled: int = PROFILED) -> Watched:
    """Train: after a warm-up the timed steps, and then those that are *profiled*."""
    import braid
    from braid.training.trainer import Trainer

    watched, plain, until = Watched(steps=steps), Trainer._step, WARMUP + steps
    with ExitStack() as stack:

        def step(self: Trainer, share: Any) -> Any:
            done = self.progress.step
            if done == WARMUP:
                watched.began = time.perf_counter()
            if done == until:
                stack.enter_context(profiler(watched, vocabulary))
            found = plain(self, share)
            if WARMUP <= done < until:
                for batch in share.batches:
                    watched.rows += batch.cu_seqlens.diff().tolist()
                    watched.predicted += batch.targets["mlm"].count if "mlm" in batch.targets else 0
            if done + 1 == until:
                watched.seconds = time.perf_counter() - watched.began
            if done + 1 == until + profiled:
                stack.close()
            return found

        Trainer._step = step  # type: ignore[method-assign]
        try:
            braid.train(braid.Recipe(**recipe), say=lambda message: None)
        finally:
            Trainer._step = plain  # type: ignore[method-assign]
    assert watched.seconds, f"the data was over before {until} steps"
    return watched


def recipe_of(folder: Path, sizes: Sizes, kind: str, steps: int) -> dict[str, Any]:
    """The recipe of `finetune.py` or `pretrain.py`, with this encoder."""
    from braid_side import encoder_of

    rows = reviews((WARMUP + steps + PROFILED) * BATCH)
    if kind == "MLM":
        path = folder / "corpus.txt"
        path.write_text("".join(f"{text}\n" for _, text in rows), encoding="utf-8")
        task = {"type": "mlm", "fill": "text", "rate": MASKED, "data": {"train": str(path)}}
    else:
        task = {"type": "classification", "data": {"train": str(table(folder / "train.tsv", rows))}}
    name = "mlm" if kind == "MLM" else "sentiment"
    train = {"batch_rows": BATCH, "lr": 1e-4, "epochs": 1, "eval_every": 100_000, "log_every": 1}
    return {
        "encoder": {**encoder_of(sizes), "vocab": str(vocabulary(folder))},
        "tasks": {name: task},
        "chain": name,
        "train": train,
        "out": str(folder / "run"),
        "cache": str(folder / "cache"),
    }


def training(options: argparse.Namespace, sizes: Sizes, kind: str) -> Found:
    with tempfile.TemporaryDirectory() as folder:
        recipe = recipe_of(Path(folder), sizes, kind, options.steps)
        watched = watch_training(recipe, steps=options.steps, vocabulary=sizes.vocabulary)
    return judged(watched, sizes, tokens=sum(watched.rows) // watched.steps, backward=True)


def inference(options: argparse.Namespace, sizes: Sizes) -> Found:
    import braid

    given = [text for _, text in reviews(options.texts + 64)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = recipe_of(folder, sizes, "fine-tuning", 0)
        recipe["train"]["max_steps"] = 1
        run = braid.train(braid.Recipe(**recipe), say=lambda message: None)
        model = braid.load(run.directory)
        split = tokenizer(folder)
        list(model.stream(given))  # kernels of new shapes are compiled here, as in the warm-up of training
        watched = Watched(
            seconds=statistics.median(timed(lambda: list(model.stream(given[64:]))) for _ in range(PASSES))
        )
        with profiler(watched, sizes.vocabulary):
            list(model.stream(given[64:]))
        found = split(given[64:], truncation=True, max_length=MAX_LENGTH)
        watched.rows = [len(ids) for ids in found["input_ids"]]
        tokens = model.batch_tokens
    # A "step" is all texts, of which both passes are.
    return judged(watched, sizes, tokens=min(tokens, sum(watched.rows)), backward=False, profiled=1)


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def judged(watched: Watched, sizes: Sizes, *, tokens: int, backward: bool, profiled: int = PROFILED) -> Found:
    """The utilisation, and that of each part: GFLOP a step, peak, seconds at peak, seconds spent."""
    dtype, times = fastest(), 3 if backward else 1
    work = work_of(sizes, watched.rows, watched.predicted)
    shapes = {
        LINEAR: [(1, tokens, one, other) for one, other in sizes.products],
        ATTENTION: attention_shapes(sizes, watched.rows, tokens),
        OUTPUT: output_shapes(sizes, watched.predicted // watched.steps),
    }
    peaks = {part: peak_of(shapes[part], dtype, backward=backward) for part in work}
    least = {part: times * work[part] / peaks[part] / watched.steps for part in work}
    spent = {part: seconds / profiled for part, seconds in watched.spent.items()}
    spent["python, waiting"] = max(0.0, watched.profiled / profiled - sum(spent.values()))
    return {
        "rate": sum(least.values()) * watched.steps / watched.seconds,
        "tokens_per_second": sum(watched.rows) / watched.seconds,
        "step": watched.seconds / watched.steps,
        "parts": {
            part: {
                "gigaflop": times * work.get(part, 0.0) / watched.steps / 1e9,
                "gigaflops": peaks.get(part, 0.0) / 1e9,
                "least": least.get(part, 0.0),
                "spent": spent.get(part, 0.0),
            }
            for part in sorted({*least, *spent}, key=lambda part: (part not in least, -spent.get(part, 0.0)))
        },
    }


def work_of(sizes: Sizes, rows: Sequence[int], predicted: int) -> dict[str, float]:
    """Floating-point operations of a forward pass by part."""
    linear = sizes.layers * sum(2 * one * other for one, other in sizes.products) * sum(rows)
    encoder = sizes.flops(rows)
    found = {LINEAR: float(linear), ATTENTION: encoder - linear}
    return {**found, OUTPUT: sizes.flops(rows, predicted) - encoder} if predicted else found


def attention_shapes(sizes: Sizes, rows: Sequence[int], tokens: int) -> list[tuple[int, int, int, int]]:
    """Of attention's two products over *tokens* tokens in rows that are all as long as these on (quadratic) average."""
    length, head = round((sum(row**2 for row in rows) / len(rows)) ** 0.5), sizes.hidden // sizes.heads
    count = sizes.heads * max(1, tokens * len(rows) // sum(rows))
    return [(count, length, head, length), (count, length, length, head)]


def output_shapes(sizes: Sizes, predicted: int) -> list[tuple[int, int, int, int]]:
    """Of BERT's transform and the product with the vocabulary."""
    return [(1, predicted, sizes.hidden, sizes.hidden), (1, predicted, sizes.hidden, sizes.vocabulary)]


def report(turns: dict[str, list[Found]]) -> Found:
    """The tables and the ratios."""
    console = Console(width=140)
    whole = Table("", "utilisation", "spread", "real tokens/s", "ms a step")
    for name, found in turns.items():
        rates = [each["rate"] for each in found]
        spread = f"{min(rates):.3f} to {max(rates):.3f}"
        speeds = figure(rate(found, "tokens_per_second")), figure(1e3 * rate(found, "step"))
        whole.add_row(name, f"{rate(found):.3f}", spread, *speeds)
    console.print(whole)
    parts = Table("", "part", "GFLOP a step", "peak GFLOP/s", "ms at peak", "ms spent (profiled)", "ratio")
    for name, found in turns.items():
        for part, values in found[-1]["parts"].items():
            least, spent = 1e3 * values["least"], 1e3 * values["spent"]
            products = values["gigaflop"] > 0
            parts.add_row(
                name,
                part,
                figure(values["gigaflop"]) if products else "",
                figure(values["gigaflops"]) if products else "",
                f"{least:.1f}" if products else "",
                f"{spent:.1f}",
                f"{least / spent:.3f}" if products and spent else "",
            )
            name = ""
        parts.add_section()
    console.print(parts)
    return {name.replace(", ", "_").replace("-", "_"): round(rate(found), 3) for name, found in turns.items()}


def sides() -> dict[str, Callable[[argparse.Namespace], Found]]:
    out: dict[str, Callable[[argparse.Namespace], Found]] = {}
    for more, sizes in (("", SIZES), (", base", BASE)):
        for kind in ("fine-tuning", "MLM"):
            out[kind + more] = lambda options, sizes=sizes, kind=kind: training(options, sizes, kind)
        out["inference" + more] = lambda options, sizes=sizes: inference(options, sizes)
    return out


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--texts", type=int, default=512)


if __name__ == "__main__":
    contest(sides(), doc=__doc__, unit="", report=report, arguments=arguments)
