"""bilstm: recurrent layers in both directions, apart (as ELMo's language model needs) or joint."""

from __future__ import annotations

from typing import ClassVar, Literal

from braid.encoders.own_recurrent import TwoWayVariant
from braid.nn.recurrent import Cell


class BiLstm(TwoWayVariant):
    """LSTM layers in both directions."""

    type: Literal["bilstm"] = "bilstm"
    cell: ClassVar[Cell] = "lstm"
