"""bigru: recurrent layers in both directions, apart (as ELMo's language model needs) or joint."""

from __future__ import annotations

from typing import ClassVar, Literal

from braid.encoders.own_recurrent import TwoWayVariant
from braid.nn.recurrent import Cell


class BiGru(TwoWayVariant):
    """GRU layers in both directions."""

    type: Literal["bigru"] = "bigru"
    cell: ClassVar[Cell] = "gru"
