"""Ways to make vectors of tokens."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from braid.nn.embeddings import EmbeddingKind, TokenEmbeddings

IDS, POSITIONS, SEGMENTS = torch.tensor([3, 4, 3, 5]), torch.tensor([0, 1, 2, 0]), torch.tensor([0, 0, 1, 0])


def embeddings_of(kind: EmbeddingKind, size: int = 8, hidden: int = 8, dropout: float = 0.0) -> TokenEmbeddings:
    torch.manual_seed(0)
    embeddings = TokenEmbeddings(kind, 20, size, hidden, positions=10, dropout=dropout)
    embeddings.initialise(0.1, 2)
    return embeddings.eval()


def test_words_alone_are_their_vectors() -> None:
    embeddings = embeddings_of("word")
    assert torch.equal(embeddings(IDS, POSITIONS, SEGMENTS), embeddings.word.weight[IDS])


def test_words_positions_and_segments_are_summed_and_normalised() -> None:
    embeddings = embeddings_of("word_position_segment")
    assert embeddings.position is not None
    assert embeddings.segment is not None
    summed = embeddings.word.weight[IDS] + embeddings.position.weight[POSITIONS] + embeddings.segment.weight[SEGMENTS]
    expected = F.layer_norm(summed, (8,))
    torch.testing.assert_close(embeddings(IDS, POSITIONS, SEGMENTS), expected)


def test_waves_tell_positions_apart_and_reach_any_of_them() -> None:
    embeddings = embeddings_of("sinusoidal")
    found = embeddings(IDS, POSITIONS, SEGMENTS)
    assert not torch.allclose(found[0], found[2])
    far = embeddings(IDS, POSITIONS + 5000, SEGMENTS)
    assert torch.isfinite(far).all()
    assert not torch.allclose(found, far)


@pytest.mark.parametrize("kind", ["word", "word_position_segment", "sinusoidal"])
def test_another_size_is_mapped_to_the_hidden_size(kind: EmbeddingKind) -> None:
    embeddings = embeddings_of(kind, size=6, hidden=8)
    assert embeddings.word.weight.shape == (20, 6)
    assert embeddings(IDS, POSITIONS, SEGMENTS).shape == (4, 8)


def test_fresh_vectors_have_the_deviation_asked_for_and_padding_is_zero() -> None:
    embeddings = TokenEmbeddings("word", 500, 64, 64, positions=10, dropout=0.0)
    embeddings.initialise(0.05, 2)
    assert float(embeddings.word.weight.detach().std()) == pytest.approx(0.05, rel=0.05)
    assert not embeddings.word.weight[2].any()


def test_dropout_is_for_training_only() -> None:
    embeddings = embeddings_of("word", dropout=0.5)
    calm = embeddings(IDS, POSITIONS, SEGMENTS)
    assert torch.equal(calm, embeddings(IDS, POSITIONS, SEGMENTS))
    assert (embeddings.train()(IDS, POSITIONS, SEGMENTS) == 0).any()
