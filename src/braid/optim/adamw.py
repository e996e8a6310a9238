"""AdamW that, of a large table of embeddings, moves only the rows that some token has touched.

A row that never had a gradient has no moments, so that all AdamW does to it is weight decay. Of 21,128 Chinese tokens a
few thousand occur in most data; moments and gradients of the others need be neither held nor read. The results are
those of `torch.optim.AdamW` (Loshchilov & Hutter 2019, arXiv 1711.05101), bit for bit.

Shape legend: V rows of a table, D size of a row, A rows that have been touched, N rows touched in a step, C places.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

LARGE = 4096
"""Rows from which on a table's gradient is worth being kept by rows."""

MOST = 0.5
"""Above this share of touched rows a table is treated as any other weight: fetching rows costs more than it saves."""


def keep_rows(model: nn.Module) -> None:
    """Let large tables of embeddings have gradients of the rows that a batch reads, not of all (COO, uncoalesced)."""
    for module in model.modules():
        if isinstance(module, nn.Embedding) and module.num_embeddings >= LARGE:
            module.sparse = True


def values_of(gradient: Tensor) -> Tensor:
    """The numbers that a gradient consists of. One by rows must be coalesced."""
    return gradient._values() if gradient.is_sparse else gradient


class AdamW(torch.optim.AdamW):
    """`torch.optim.AdamW`, fused, that takes gradients by rows too. `state` holds the moments of their tables only
    after `settle`."""

    def __init__(self, groups: list[dict[str, Any]], **options: Any) -> None:
        super().__init__(groups, fused=True, **options)
        self._tables: dict[nn.Parameter, _Table] = {}
        self._ordinary: set[nn.Parameter] = set()

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step along the gradients that are there. *closure* is not used."""
        assert closure is None, "nothing here is computed twice"
        by_rows = []
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and self._takes_rows(parameter):
                    self._tables[parameter].step(parameter, group)
                    by_rows.append((parameter, parameter.grad))
                    parameter.grad = None
        super().step()
        for parameter, gradient in by_rows:
            parameter.grad = gradient

    def settle(self) -> None:
        """Write all moments into `state`, as torch's AdamW would hold them."""
        for parameter, table in self._tables.items():
            table.settle(parameter)

    def _takes_rows(self, parameter: nn.Parameter) -> bool:
        """Whether the parameter's gradient is one by rows and its table can use it; else the gradient is made dense."""
        assert parameter.grad is not None
        table = self._tables.get(parameter)
        if table is not None and table.stale:
            del self._tables[parameter]
            table = None
        if parameter.grad.is_sparse:
            parameter.grad = parameter.grad.coalesce()
            if table is None and parameter not in self._ordinary:
                table = self._tables[parameter] = _Table(parameter, self.state[parameter])
            if table is not None and table.touch(parameter.grad.indices()[0]) <= MOST * len(parameter):
                return True
            # What was touched stays touched: there is no way back, and no need to look again.
            self._ordinary.add(parameter)
            parameter.grad = parameter.grad.to_dense()
        if table is not None:
            table.settle(parameter)
            del self._tables[parameter]
        return False


class _Table:
    """The touched rows of one parameter: which they are, their moments, and room for their gradient."""

    def __init__(self, parameter: Tensor, state: dict[str, Any]) -> None:
        self.state = state
        state.setdefault("step", torch.zeros((), dtype=torch.float32))
        self.settled: Tensor | None = state.get("exp_avg")
        self.place_V = torch.full((len(parameter),), -1, dtype=torch.long)
        self.rows_A = torch.empty(0, dtype=torch.long)
        self._room(0, parameter)
        if self.settled is not None:
            rows_A = ((state["exp_avg"] != 0) | (state["exp_avg_sq"] != 0)).any(dim=1).nonzero().squeeze(1)
            self._add(rows_A, parameter)
            for moments_CD, key in ((self.mean_CD, "exp_avg"), (self.square_CD, "exp_avg_sq")):
                moments_CD[: len(rows_A)] = state[key][rows_A]

    @property
    def stale(self) -> bool:
        """Whether somebody put other moments into the state."""
        return self.state.get("exp_avg") is not self.settled

    def touch(self, rows_N: Tensor) -> int:
        """Take rows up that are not there yet. *Returns*: how many there are."""
        self._add(rows_N[self.place_V[rows_N] < 0], self.mean_CD)
        return len(self.rows_A)

    def step(self, parameter: Tensor, group: dict[str, Any]) -> None:
        """AdamW's step of all rows."""
        gradient = parameter.grad
        assert gradient is not None
        with torch.no_grad():
            touched = len(self.rows_A)
            places_N = self.place_V[gradient.indices()[0]]
            self.gradient_CD.index_copy_(0, places_N, gradient.values())
            weights_AD = parameter.index_select(0, self.rows_A)
            if group["weight_decay"]:
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
            adamw(
                [weights_AD],
                [self.gradient_CD[:touched]],
                [self.mean_CD[:touched]],
                [self.square_CD[:touched]],
                [],
                [self.state["step"]],
                fused=True,
                amsgrad=False,
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                lr=group["lr"],
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                maximize=False,
            )
            parameter.index_copy_(0, self.rows_A, weights_AD)
            self.gradient_CD.index_fill_(0, places_N, 0.0)

    def settle(self, parameter: Tensor) -> None:
        """Put the moments where torch's AdamW has them."""
        for moments_CD, key in ((self.mean_CD, "exp_avg"), (self.square_CD, "exp_avg_sq")):
            if key not in self.state:
                self.state[key] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
            self.state[key].index_copy_(0, self.rows_A, moments_CD[: len(self.rows_A)])
        self.settled = self.state["exp_avg"]

    def _add(self, rows: Tensor, like: Tensor) -> None:
        if not len(rows):
            return
        first = len(self.rows_A)
        self.rows_A = torch.cat([self.rows_A, rows])
        self.place_V[rows] = torch.arange(first, len(self.rows_A))
        if len(self.rows_A) > len(self.mean_CD):
            self._room(max(2 * len(self.rows_A), 1024), like)

    def _room(self, places: int, like: Tensor) -> None:
        """Places for moments and gradients; what is there stays."""
        held = len(self.rows_A) if places and hasattr(self, "mean_CD") else 0
        for name in ("mean_CD", "square_CD", "gradient_CD"):
            fresh = torch.zeros(places, like.shape[1], dtype=like.dtype)
            if held:
                old = getattr(self, name)
                fresh[: len(old)] = old
            setattr(self, name, fresh)

    mean_CD: Tensor
    square_CD: Tensor
    gradient_CD: Tensor
