"""lstm: recurrent layers from left to right."""

from __future__ import annotations

from typing import ClassVar, Literal

from braid.encoders.own_recurrent import OneWayVariant
from braid.nn.recurrent import Cell


class Lstm(OneWayVariant):
    """LSTM layers from left to right."""

    type: Literal["lstm"] = "lstm"
    cell: ClassVar[Cell] = "lstm"
