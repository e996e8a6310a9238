"""`distill:` of a recipe: teachers that read the same batches as the student."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from braid.config.variant import Config

State = Annotated[int, Field(ge=0)]


class TeacherConfig(Config):
    """A teacher of one task. A bare path is its `run`."""

    run: str = Field(min_length=1)
    """A run directory of Braid; for `mlm`, or where only hidden states are matched, also what `encoder.pretrained` can
    name. It must have the student's vocabulary."""

    task: str | None = None
    """The task's name there. None: the same as here."""

    logits: bool = True
    """Whether the task learns from the teacher's logits (the task's own `soft:` says how), or only from its hidden
    states."""

    @model_validator(mode="before")
    @classmethod
    def _path(cls, value: Any) -> Any:
        return cls.expand(value)

    @classmethod
    def expand(cls, value: Any) -> Any:
        """A bare path as a mapping."""
        return {"run": value} if isinstance(value, str) else value


class HiddenConfig(Config):
    """Which of the student's layers learn which of the teacher's (TinyBERT, arXiv 1909.10351, section 3.1). Layers are
    counted from 1; 0 are the embeddings. Where widths differ, a linear layer that is not saved with the model maps the
    student's states. A bare `uniform`, `last`, list or mapping is the `map`."""

    map: Literal["uniform", "last"] | list[State] | dict[State, State] = "uniform"
    """`uniform`: student layer m of M learns teacher layer m * N / M of N. `last`: the teacher's last M. A list: the
    teacher's layer for each of the student's, from the first on. A mapping `{2: 6}`: from the student's to the
    teacher's."""

    embeddings: bool = True
    """Whether the embeddings learn the teacher's too."""

    loss: Literal["mse", "cosine"] = "mse"
    """The mean squared difference (TinyBERT), or 1 less the cosine (DistilBERT, arXiv 1910.01108)."""

    weight: float = Field(default=1.0, gt=0)
    """What the sum over layers is multiplied by, beside the task's loss."""

    @model_validator(mode="before")
    @classmethod
    def _map(cls, value: Any) -> Any:
        return cls.expand(value)

    @classmethod
    def expand(cls, value: Any) -> Any:
        """A bare map as a mapping of options."""
        if isinstance(value, str | list) or (isinstance(value, dict) and value and all(map(_is_number, value))):
            return {"map": value}
        return value


class DistillConfig(Config):
    """Teachers in memory, which read every batch that the student reads. Teaching by rows (`braid predict --logits`)
    needs none of this."""

    teachers: dict[str, TeacherConfig] = Field(min_length=1)
    """The teacher of each task that has one: a run directory, or a mapping."""

    hidden: HiddenConfig | None = None
    """Match hidden states on the rows of these tasks. None: they are left alone."""

    @model_validator(mode="before")
    @classmethod
    def _of_tasks(cls, value: Any) -> Any:
        for key in value if isinstance(value, dict) else ():
            if key in ("alpha", "temperature", "loss", "annealing"):
                option = "alpha: annealed" if key == "annealing" else f"{key}: ..."
                raise ValueError(f"`{key}` is each task's own: write tasks.NAME.soft: {{{option}}}")
        return value


def _is_number(key: Any) -> bool:
    return isinstance(key, int) or (isinstance(key, str) and key.isdigit())
