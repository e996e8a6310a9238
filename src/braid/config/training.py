"""`train:` of a recipe: everything that the training loop can be told."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from braid.config.families import BalancerConfig, RegulariserConfig, SamplerConfig
from braid.config.variant import Config

BATCH_TOKENS = 4096
"""Tokens of a batch where the recipe says neither `batch_tokens` nor `batch_rows`."""

Beta = Annotated[float, Field(ge=0, lt=1)]


class FreezeConfig(Config):
    """What of the encoder stands still. A task's head is frozen by the task's own `freeze: true`."""

    encoder: bool = False
    """The whole encoder."""

    embeddings: bool = False
    """The embeddings."""

    layers: int = Field(default=0, ge=0)
    """This many layers from below, the embeddings with them."""

    until: int | None = Field(default=None, ge=1)
    """The step at which everything is released. None: never."""


class TrainConfig(Config):
    """How long, how fast and on which batches the model is trained, and what is measured and saved meanwhile."""

    epochs: int = Field(default=3, ge=1)
    """Passes over the data."""

    max_steps: int | None = Field(default=None, ge=1)
    """Stop after this many steps, whatever the epochs say."""

    max_minutes: float | None = Field(default=None, gt=0)
    """Save and stop, to be resumed, when this process has trained for so long (exit code 124)."""

    max_bad_steps: int = Field(default=10, ge=1)
    """Steps in a row without a finite gradient, each of which is left out, before training gives up."""

    lr: float = Field(default=5e-5, gt=0)
    """Peak learning rate of the encoder, and of the heads unless they have their own."""

    head_lr: float | None = Field(default=None, gt=0)
    """Peak learning rate of the heads; a task's own `lr` goes before it. None: `lr`."""

    optimizer: Literal["adamw", "adamax"] = "adamw"
    """AdamW (Loshchilov & Hutter 2019) or Adamax (Kingma & Ba 2015, section 7.1)."""

    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """Decay of the optimiser's first and second moment."""

    eps: float = Field(default=1e-8, gt=0)
    """What the optimiser adds to its denominator."""

    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled weight decay of matrices; biases and norms have none."""

    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the learning rate falls after warm-up: to 0 in a line, to 0 in half a cosine, not at all."""

    warmup: float = Field(default=0.1, ge=0)
    """Warm-up of the learning rate. Below 1: share of all steps; from 1: number of steps."""

    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Each encoder layer's learning rate is the one above it times this (layer-wise decay; 1: none)."""

    clip: float | None = Field(default=1.0, gt=0)
    """Largest norm of the whole gradient. None: it is not clipped."""

    batch_tokens: Annotated[int, Field(ge=1)] | Literal["auto"] | None = None
    """Tokens of a global batch, whatever the number of processes. None: 4096, unless `batch_rows` is given. `auto`: as
    many as a GPU's memory holds (on a CPU 4096)."""

    batch_rows: int | None = Field(default=None, ge=1)
    """Rows of a global batch, instead of `batch_tokens`."""

    batches: Literal["mixed", "single"] = "mixed"
    """`mixed`: a batch has rows of several groups. `single`: every batch is of one group."""

    sampler: SamplerConfig = Field(default_factory=SamplerConfig.of_default)
    """How often the rows of each group are drawn."""

    balancer: BalancerConfig = Field(default_factory=BalancerConfig.of_default)
    """How the tasks' losses become one gradient."""

    regularisers: list[RegulariserConfig] = Field(default_factory=list)
    """What is added so that the model fits the training rows less closely: `[rdrop, {type: fgm, epsilon: 0.5}]`. Each
    adds to the plain loss, whatever the others add."""

    normalise: Literal["row", "task"] = "row"
    """What a task's mean loss is scaled by: its share of the batch's rows, or the same for all tasks."""

    accumulate: int = Field(default=1, ge=1)
    """Micro-batches that a global batch is computed in. The gradient is the same; memory is less."""

    parallel: Literal["ddp", "fsdp"] = "ddp"
    """Under `torchrun`: a whole model in every process, or parameters, gradients and optimiser divided among them."""

    activation_checkpointing: bool = False
    """Compute the encoder's activations anew in the backward pass: less memory, a third more time."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto`: bf16 where the device computes in it, else fp32."""

    freeze: FreezeConfig = Field(default_factory=FreezeConfig)
    """What of the encoder stands still."""

    best: list[str] = Field(default_factory=list)
    """What decides which step was best: `task` or `task.metric`, their mean. Empty: all tasks with a dev split."""

    patience: int | None = Field(default=None, ge=1)
    """Stop after this many evaluations without improvement. None: never."""

    eval_every: int | None = Field(default=None, ge=1)
    """Steps between evaluations on dev. None: once an epoch."""

    eval_batch_tokens: int | None = Field(default=None, ge=1)
    """Tokens of a batch in evaluation. None: chosen by the device."""

    save_every: int | None = Field(default=None, ge=1)
    """Steps between saved states, for resuming. None: every ten minutes."""

    keep: int = Field(default=2, ge=1)
    """How many saved states are kept."""

    log_every: int | None = Field(default=None, ge=1)
    """Steps between lines of metrics.jsonl. None: chosen by the number of steps."""

    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""

    threads: int | None = Field(default=None, ge=1)
    """CPU threads of torch. None: torch's own choice."""

    workers: int | None = Field(default=None, ge=0)
    """Processes that tokenise. None: chosen by the size of the data."""

    @property
    def tokens_per_batch(self) -> int | None:
        """Tokens of a batch, or None where batches are counted in rows."""
        if self.batch_rows is not None:
            return None
        return self.batch_tokens if isinstance(self.batch_tokens, int) else BATCH_TOKENS

    @field_validator("warmup")
    @classmethod
    def _whole_steps(cls, value: float) -> float:
        if value >= 1 and value != int(value):
            raise ValueError(f"from 1 on this is a number of steps and must be whole, found {value:g}")
        return value

    @field_validator("best", "regularisers", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: object) -> object:
        return [value] if isinstance(value, str | dict) else value

    @field_validator("regularisers")
    @classmethod
    def _each_once(cls, value: list[RegulariserConfig]) -> list[RegulariserConfig]:
        kinds = [entry.type for entry in value]
        if twice := sorted({kind for kind in kinds if kinds.count(kind) > 1}):
            raise ValueError(f"{', '.join(twice)} stands there more than once")
        return value

    @model_validator(mode="after")
    def _whole_weights(self) -> Self:
        if self.regularisers and self.parallel == "fsdp":
            raise ValueError("regularisers need all weights in every process; use `parallel: ddp` or leave them out")
        return self

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if self.batch_tokens is not None and self.batch_rows is not None:
            raise ValueError("batch_tokens and batch_rows exclude each other; remove one of them")
        return self
