"""What task types share whose heads make one vector of each row: how they make it."""

from __future__ import annotations

from abc import ABC
from typing import ClassVar

from pydantic import Field

from braid.nn.pooling import Pooling, RowFeatures
from braid.tasks.base import LabelledTask


class RowTask(LabelledTask, ABC):
    """Base of the types that answer once a row."""

    bears_changes: ClassVar[bool] = True

    pooling: Pooling = "cls"
    """How the tokens of a row become one vector."""

    pooler: bool = True
    """A dense layer with tanh behind the pooling, as BERT has it; with `cls` it starts from the checkpoint's."""

    hidden_layers: int = Field(default=0, ge=0)
    """Further dense layers with tanh and dropout in front of the last one."""

    def features(self, hidden_size: int) -> RowFeatures:
        """Pooling, pooler, dropout, further layers."""
        return RowFeatures(
            self.pooling, hidden_size, dense=self.pooler, dropout=self.dropout, layers=self.hidden_layers
        )
