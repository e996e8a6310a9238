"""A trained model, ready to use: `model = braid.load(run); model("text")`.

All tasks are predicted in one pass of the encoder. Texts are tokenised as each task was trained (on words, on
characters, or as plain text); where these give the same tokens, which is the rule, tasks share the row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import torch

from braid.checkpoint.model_files import LoadedModel, load_model
from braid.config.recipe import Recipe
from braid.data.assemble import read_group
from braid.data.cache import TokenRows, record_batch
from braid.data.example import Example, Window
from braid.data.groups import GroupData, make_batch
from braid.data.plan import fill_by_tokens
from braid.data.prepare import prepare
from braid.data.windows import UnitKind, WindowOptions, tokenise
from braid.errors import BraidError, did_you_mean
from braid.model.evaluate import Scores, evaluate
from braid.model.inference import infer
from braid.model.network import TaskSpec
from braid.model.precision import autocast, device_of, resolve
from braid.predict.inputs import Input, chunked, example_of
from braid.predict.results import Result, result_of

CHUNK = 1024
"""Inputs held at a time when streaming: enough to sort by length, little enough to stay small in memory."""


class Model:
    """One encoder with the heads of all its tasks."""

    def __init__(
        self,
        loaded: LoadedModel,
        directory: Path,
        *,
        device: str = "auto",
        precision: Literal["auto", "fp32", "bf16"] = "auto",
        batch_tokens: int = 8192,
    ) -> None:
        self.directory = directory
        self.network = loaded.network
        self.tokenizer = loaded.tokenizer
        self.max_length, self.stride = loaded.max_length, loaded.stride
        self.device = device_of(device)
        self.precision = resolve(precision, self.device)
        self.batch_tokens = batch_tokens
        self.network.to(self.device).eval()

    @classmethod
    def load(cls, run: Path, *, tasks: Sequence[str] | None = None, force: bool = False, **options: Any) -> Model:
        """The model in a run directory; *tasks*: only these; *force*: also heads of another encoder.

        Options: `device`, `precision`, `batch_tokens`. Raises RunDirectoryError."""
        loaded = load_model(Path(run), tasks=None if tasks is None else list(tasks), force=force)
        return cls(loaded, Path(run), **options)

    @property
    def tasks(self) -> dict[str, TaskSpec]:
        """Every task: its config (`.task`) and what it learned (`.facts`, e.g. its labels)."""
        return dict(self.network.specs)

    @overload
    def __call__(
        self, inputs: str | tuple[str, str] | dict[str, Any], tasks: Iterable[str] | None = None
    ) -> Result: ...
    @overload
    def __call__(self, inputs: list[Any], tasks: Iterable[str] | None = None) -> list[Result]: ...
    def __call__(self, inputs: Any, tasks: Iterable[str] | None = None) -> Result | list[Result]:
        """Predict one input (a text, a (text, pair) tuple, a row) or a list of them. *tasks*: only these."""
        if isinstance(inputs, list):
            return list(self.stream(inputs, tasks))
        return next(iter(self.stream([inputs], tasks)))

    def stream(
        self, inputs: Iterable[Input], tasks: Iterable[str] | None = None, *, chunk: int = CHUNK
    ) -> Iterator[Result]:
        """Results in the order of the inputs, `chunk` inputs at a time: memory does not grow with their number."""
        wanted = self._wanted(tasks)
        for examples in chunked((example_of(given) for given in inputs), chunk):
            yield from self._predict(examples, wanted)

    def evaluate(self, split: str = "test", *, progress: Callable[[int], None] = lambda rows: None) -> Scores:
        """{task: {metric: value}} on a split of the data that the run's recipe names."""
        recipe = Recipe.load_saved(self.directory / "recipe.yaml")
        groups = []
        for group in recipe.parsed_chain.groups:
            names = tuple(link.name for link in group.tasks if link.name in self.network.specs)
            if not any(getattr(recipe.tasks[name].data, split) for name in names):
                continue
            read = read_group({name: recipe.tasks[name].data for name in names}, split, seed=recipe.seed)
            options = WindowOptions(
                max_length=self.max_length,
                stride=self.stride,
                units=self._units(names),
                windows=any(self.network.specs[name].task.merges_windows for name in names),
            )
            cache = Path(recipe.cache) if recipe.cache else None
            rows = prepare(read.examples, self.tokenizer, options, cache=cache, workers=recipe.train.workers)
            groups.append(GroupData(names, read.examples, rows, options.units))
        if not groups:
            raise BraidError(f"no task of {self.directory} has data for the split {split!r}")
        return evaluate(
            self.network,
            groups,
            batch_tokens=self.batch_tokens,
            device=self.device,
            precision=self.precision,
            progress=progress,
        )

    def embed(self, texts: Sequence[Input]) -> np.ndarray:
        """Mean of the last hidden states over each text's tokens: [n, D] float32. Longer texts are cut."""
        examples = [example_of(text) for text in texts]
        group = self._group(examples, self._windows(examples, "none", windows=False), "none", ())
        out = np.zeros((len(examples), self.network.encoder.hidden_size), np.float32)
        order = sorted(group.rows, key=lambda row: -int(group.rows.lengths[row]))
        for step in fill_by_tokens(
            [(0, row) for row in order], [int(group.rows.lengths[row]) for row in order], self.batch_tokens
        ):
            batch = make_batch([group], step)
            with torch.inference_mode(), autocast(self.precision, self.device):
                hidden, _ = self.network.encoder(batch.to(self.device))
            for place, span in enumerate(batch):
                out[batch.origins[place][1]] = hidden[span].float().mean(dim=0).cpu().numpy()
        return out

    def _wanted(self, tasks: Iterable[str] | None) -> tuple[str, ...]:
        known = list(self.network.specs)
        if tasks is None:
            return tuple(known)
        names = (tasks,) if isinstance(tasks, str) else tuple(dict.fromkeys(tasks))
        for name in names:
            if name not in known:
                raise BraidError(f"this model has no task {name!r}: {did_you_mean(name, known)}")
        return names

    def _units(self, names: Iterable[str]) -> UnitKind:
        kinds = set()
        for name in names:
            spec = self.network.specs[name]
            kind = spec.task.unit_kind
            kinds.add(spec.facts["units"] if kind == "auto" else kind)
        return "characters" if "characters" in kinds else "words" if "words" in kinds else "none"

    def _predict(self, examples: Sequence[Example], tasks: Sequence[str]) -> list[Result]:
        results = [result_of(example) for example in examples]
        groups, members = self._rows(examples, tasks)
        found = infer(
            self.network, groups, batch_tokens=self.batch_tokens, device=self.device, precision=self.precision
        )
        for task in tasks:
            for (g, name), predictions in found.items():
                if name == task:
                    for number, prediction in zip(members[g], predictions, strict=True):
                        results[number].predictions[task] = prediction
        return results

    def _rows(self, examples: Sequence[Example], tasks: Sequence[str]) -> tuple[list[GroupData], list[list[int]]]:
        """Groups of rows to predict on, and which example each of their examples is.

        Tasks without units ride on the rows of tasks with units wherever these have the same tokens."""
        kinds: dict[UnitKind, list[str]] = {}
        for task in tasks:
            kinds.setdefault(self._units([task]), []).append(task)
        plain = kinds.pop("none", [])
        cut = {kind: self._windows(examples, kind, windows=self._windowed(names)) for kind, names in kinds.items()}
        rides: dict[UnitKind, set[int]] = {kind: set() for kind in kinds}
        alone = list(range(len(examples)))
        if plain and kinds:
            bare = self._windows(examples, "none", windows=self._windowed(plain))
            alone = []
            for number, alone_windows in enumerate(bare):
                same = [kind for kind in kinds if _same(alone_windows, cut[kind][number])]
                if same:
                    rides[same[0]].add(number)
                else:
                    alone.append(number)
        groups, members = [], []
        for kind, names in kinds.items():
            for riders in (True, False):
                chosen = [k for k in range(len(examples)) if (k in rides[kind]) is riders]
                if chosen:
                    carried = (*names, *plain) if riders else tuple(names)
                    windows = [cut[kind][k] for k in chosen]
                    groups.append(self._group([examples[k] for k in chosen], windows, kind, carried))
                    members.append(chosen)
        if plain and alone:
            chosen_examples = [examples[k] for k in alone]
            windows = self._windows(chosen_examples, "none", windows=self._windowed(plain))
            groups.append(self._group(chosen_examples, windows, "none", tuple(plain)))
            members.append(alone)
        return groups, members

    def _windowed(self, tasks: Iterable[str]) -> bool:
        return any(self.network.specs[task].task.merges_windows for task in tasks)

    def _windows(self, examples: Sequence[Example], kind: UnitKind, *, windows: bool) -> list[list[Window]]:
        options = WindowOptions(max_length=self.max_length, stride=self.stride, units=kind, windows=windows)
        return list(tokenise(examples, self.tokenizer, options))

    def _group(
        self, examples: Sequence[Example], windows: Sequence[Sequence[Window]], kind: UnitKind, tasks: tuple[str, ...]
    ) -> GroupData:
        return GroupData(tasks, examples, TokenRows([record_batch(0, windows)]), kind)


def _same(plain: Sequence[Window], other: Sequence[Window]) -> bool:
    """Whether a task without units sees the same tokens in both (of a long text: in its first window)."""
    return np.array_equal(plain[0].ids, other[0].ids)
