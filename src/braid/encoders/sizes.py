"""Sizes of our own encoders: the named ones, and which can be meant at all."""

from __future__ import annotations

from braid.nn.transformer import Shape

SHAPES: dict[str, tuple[int, int]] = {
    "tiny": (2, 128),
    "mini": (4, 256),
    "small": (4, 512),
    "medium": (8, 512),
    "base": (12, 768),
    "large": (24, 1024),
}
"""Layers and hidden size (Turc et al. 2019, arXiv 1908.08962; base and large as in BERT); heads of 64."""

MAX_LAYERS, MAX_SIZE, MAX_WEIGHT = 1000, 2**31, 2**36
"""What no checkpoint comes near; shared layers of any number fit into a small file, so there is a bound."""


def check_sizes(shape: Shape) -> None:
    """Refuse what no tensor can be made of, before anything is made. Raises ValueError."""
    sizes = {
        "layers": (shape.layers, 1, MAX_LAYERS),
        "heads": (shape.heads, 1, shape.hidden_size),
        "hidden layer groups": (shape.groups, 0, shape.layers),
        "inner layers": (shape.inner, 1, MAX_LAYERS // max(1, shape.layers)),
        "segments": (shape.segments, 0, MAX_SIZE),
        "task types": (shape.task_types, 0, MAX_SIZE),
        "hidden size": (shape.hidden_size, 1, MAX_SIZE),
        "intermediate size": (shape.intermediate_size, 1, MAX_SIZE),
        "embedding size": (shape.embedding_size, 1, MAX_SIZE),
        "vocabulary": (shape.vocab_size, 1, MAX_SIZE),
        "positions": (shape.positions, shape.position_offset + 1, MAX_SIZE),
        "padding id": (shape.pad_id, 0, shape.vocab_size - 1),
    }
    wrong = [
        f"{name} {value:,}, not in {low:,}..{high:,}"
        for name, (value, low, high) in sizes.items()
        if not low <= value <= high
    ]
    if not wrong and shape.hidden_size % shape.heads:
        wrong = [f"{shape.heads} heads do not divide the hidden size {shape.hidden_size}"]
    elif not wrong and shape.position_type == "rotary" and shape.head_size % 2:
        wrong = [f"rotary positions need heads of an even size, not {shape.head_size}"]
    elif not wrong and largest_weight(shape) > MAX_WEIGHT:
        wrong = [f"one matrix would have {largest_weight(shape):,} numbers"]
    if not 0 <= shape.dropout < 1:
        wrong.append(f"dropout {shape.dropout}")
    if not 0 < shape.norm_eps < 1:
        wrong.append(f"epsilon of norms {shape.norm_eps}")
    if wrong:
        raise ValueError("; ".join(wrong))


def largest_weight(shape: Shape) -> int:
    """How many numbers the largest matrix has."""
    rows = max(shape.vocab_size, shape.positions, shape.segments, shape.task_types)
    inner = shape.intermediate_size * (2 if shape.gated else 1)
    return max(rows * shape.embedding_size, max(3 * shape.hidden_size, inner, shape.embedding_size) * shape.hidden_size)
