"""bilm: two language models that share an output layer."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from braid.errors import LabelError
from tasks.test_language import SIZES, drawn_rows, encoder_of, facts_of, model_of, task_of


def test_bilm_is_two_language_models() -> None:
    torch.manual_seed(0)
    encoder = encoder_of("bilstm", hidden_size=32, layers=1, dropout=0.0).eval()
    model = model_of(encoder, "bilm", tied_embeddings=False)
    batch, _ = drawn_rows("bilm")
    found = model(batch)["bilm"]
    predictor = model.head("bilm").predictor  # type: ignore[union-attr]
    hidden = encoder(batch)[0]
    expected = []
    for span in batch:
        states, ids = hidden[span], batch.ids[span]
        ahead = predictor.logits(states[:-1, :16], encoder.word_embeddings)
        back = predictor.logits(states[1:, 16:], encoder.word_embeddings)
        expected.append(F.cross_entropy(ahead, ids[1:], reduction="none"))
        expected.append(F.cross_entropy(back, ids[:-1], reduction="none"))
    torch.testing.assert_close(found[:, 0], torch.cat(expected), atol=1e-5, rtol=1e-5)


def test_an_encoder_that_mixes_directions_is_refused() -> None:
    both = facts_of(encoder_of("bert", **SIZES))
    with pytest.raises(LabelError, match="`mlm`"):
        task_of("bilm").learn_text(both)
    with pytest.raises(LabelError, match="`clm`"):
        task_of("bilm").learn_text(replace(both, sees="left"))
