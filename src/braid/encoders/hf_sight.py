"""What a token of a transformers model sees of its row."""

from __future__ import annotations

from typing import Any

import torch

from braid.encoders.base import Sight

LEAST = 1e-5
"""Share of the largest state by which seeing must change a state; less is another order of additions."""


def sight_of(model: Any, *, pad_id: int) -> Sight:
    """`left` for decoders, `both` for what masked language modelling was made for. Between them are types that do
    either by some setting of their own (Gemma, XLNet, CLIP's texts, ...): those are asked with three tokens."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    if getattr(model.config, "is_decoder", False):
        return "left"
    if model.config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        return "both"
    return "both" if _sees_what_follows(model, pad_id) else "left"


@torch.no_grad()
def _sees_what_follows(model: Any, pad_id: int) -> bool:
    """Whether the first token's state depends on the third token."""
    one, other = [token for token in range(3) if token != pad_id][:2]
    training = model.training
    model.eval()
    try:
        ids = torch.tensor([[one, one, one], [one, one, other]], device=model.device)
        states = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[:, 0].float()
    finally:
        model.train(training)
    return not bool((states[0] - states[1]).abs().max() <= LEAST * states.abs().max())
