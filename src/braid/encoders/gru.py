"""gru: recurrent layers from left to right."""

from __future__ import annotations

from typing import ClassVar, Literal

from braid.encoders.own_recurrent import OneWayVariant
from braid.nn.recurrent import Cell


class Gru(OneWayVariant):
    """GRU layers from left to right."""

    type: Literal["gru"] = "gru"
    cell: ClassVar[Cell] = "gru"
