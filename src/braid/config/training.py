"""How a recipe is trained: the `train:` part."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from braid.config.families import BalancerConfig, SamplerConfig
from braid.config.variant import Config

Positive = Annotated[int, Field(ge=1)]
DEFAULT_BATCH_TOKENS = 4096


class FreezeConfig(Config):
    """What stands still, and until when."""

    encoder: bool = False
    """The whole encoder."""

    embeddings: bool = False
    """The embeddings."""

    layers: int = Field(default=0, ge=0)
    """The first N layers, with the embeddings."""

    until: Positive | None = None
    """Step at which all this is unfrozen; None: never."""


class TrainConfig(Config):
    """How a recipe is trained."""

    epochs: Positive = 3
    """Passes over the data."""

    max_steps: Positive | None = None
    """Stop after so many steps, whatever the epochs say."""

    lr: float = Field(default=5e-5, gt=0)
    """Peak learning rate."""

    head_lr: float | None = Field(default=None, gt=0)
    """Learning rate of the heads; None: `lr`."""

    optimizer: Literal["adamw", "adamax"] = "adamw"
    """AdamW, or MT-DNN's Adamax."""

    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of the moments."""

    eps: float = Field(default=1e-8, gt=0)
    """Added to the root of the second moment."""

    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled weight decay; none on biases and norms."""

    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """Learning rate after the warm-up."""

    warmup: float = Field(default=0.1, ge=0)
    """Below 1: share of all steps; else a number of steps."""

    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Each encoder layer's learning rate over that of the layer above it."""

    clip: float | None = Field(default=1.0, gt=0)
    """Largest norm of the gradient; None: no limit."""

    batch_tokens: Positive | None = None
    """Real tokens of a global batch (4096 where neither this nor `batch_rows` is given)."""

    batch_rows: Positive | None = None
    """Rows of a global batch, instead of `batch_tokens`."""

    batches: Literal["mixed", "single"] = "mixed"
    """`mixed`: rows of all groups in one batch; `single`: one group a batch (MT-DNN)."""

    sampler: SamplerConfig = Field(default_factory=lambda: SamplerConfig.lookup("proportional")())  # type: ignore[call-arg]
    """How often the rows of each group are drawn."""

    balancer: BalancerConfig = Field(default_factory=lambda: BalancerConfig.lookup("sum")())  # type: ignore[call-arg]
    """How the tasks' losses become one gradient."""

    normalise: Literal["row", "task"] = "row"
    """A task's share of the loss: that of its rows in the batch, or the same for all tasks."""

    accumulate: Positive = 1
    """Micro-batches that a global batch is divided into, to save memory; the gradient is the same."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto`: bf16 where the machine is fast in it."""

    freeze: FreezeConfig = Field(default_factory=FreezeConfig)
    """What stands still."""

    best: list[str] = Field(default_factory=list)
    """Tasks (`ner`) or metrics (`ner.f1`) whose mean says which evaluation was best; empty: all tasks."""

    patience: Positive | None = None
    """Stop after so many evaluations without a better one."""

    eval_every: Positive | None = None
    """Steps between evaluations; None: once an epoch."""

    eval_batch_tokens: Positive = 8192
    """Tokens of a batch in evaluation."""

    save_every: Positive | None = None
    """Steps between saved states; None: every ten minutes."""

    keep: Positive = 2
    """Saved states to keep."""

    log_every: Positive | None = None
    """Steps between log lines; None: 10."""

    device: str = "auto"
    """auto, cpu, cuda, cuda:N."""

    threads: Positive | None = None
    """CPU threads; None: torch's own choice."""

    workers: Positive | None = None
    """Tokenising processes; None: as many as are worth it."""

    @model_validator(mode="before")
    @classmethod
    def _one_batch_size(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("batch_tokens") is not None and value.get("batch_rows") is not None:
            raise ValueError("give batch_tokens or batch_rows, not both")
        return value

    @property
    def tokens_per_batch(self) -> int | None:
        """Token budget of a batch; None where batches are counted in rows."""
        return None if self.batch_rows is not None else self.batch_tokens or DEFAULT_BATCH_TOKENS
