"""What predicts tokens from hidden states.

Shape legend: N tokens to predict, D hidden size, M size of the word embeddings, V tokens of the vocabulary.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from braid.nn.linear import Linear
from braid.nn.projection import linear_cross_entropy, linear_soft_loss
from braid.nn.transformer import ACTIVATIONS


class TokenPredictor(nn.Module):
    """BERT's: a dense layer, an activation and a norm, then the product with the words' vectors (`transform`); or the
    product alone (GPT-2's), behind a linear layer where the sizes differ.

    *tied*: the vectors are the encoder's word embeddings; else its own. *bias*: one for each token."""

    def __init__(
        self,
        hidden_size: int,
        embedding_size: int,
        vocab_size: int,
        *,
        tied: bool,
        transform: bool,
        bias: bool,
        activation: str = "gelu",
        norm_eps: float = 1e-12,
    ) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation] if transform else None
        self.dense = Linear(hidden_size, embedding_size) if transform or hidden_size != embedding_size else None
        self.norm = nn.LayerNorm(embedding_size, eps=norm_eps) if transform else None
        self.words = None if tied else nn.Parameter(torch.empty(vocab_size, embedding_size))
        self.bias = nn.Parameter(torch.zeros(vocab_size)) if bias else None
        self._initialise()

    def _initialise(self) -> None:
        if self.dense is not None:
            nn.init.normal_(self.dense.weight, std=0.02)
            nn.init.zeros_(self.dense.bias)
        if self.words is not None:
            nn.init.normal_(self.words, std=0.02)

    def transformed(self, hidden_ND: Tensor) -> Tensor:
        """What is multiplied with the words' vectors: [N, M]."""
        out = hidden_ND if self.dense is None else self.dense(hidden_ND)
        if self.activation is not None:
            out = self.activation(out)
        return out if self.norm is None else self.norm(out)

    def table(self, words_VM: Tensor) -> Tensor:
        """The words' vectors [V, M]; *words*: the encoder's."""
        return words_VM if self.words is None else self.words

    def forward(self, hidden_ND: Tensor, words_VM: Tensor, labels_N: Tensor) -> Tensor:
        """Of every token its cross-entropy in nats and whether (1 or 0) it was the most probable: [N, 2] in fp32."""
        nll_N, correct_N = linear_cross_entropy(self.transformed(hidden_ND), self.table(words_VM), self.bias, labels_N)
        return torch.stack([nll_N, correct_N.float()], dim=1)

    def soft_loss(
        self, hidden_ND: Tensor, words_VM: Tensor, teacher_NV: Tensor, kind: Literal["kl", "mse"], temperature: float
    ) -> Tensor:
        """How far the logits are from a teacher's, as `braid.nn.losses.soft_loss` says: [N]."""
        given = self.transformed(hidden_ND), self.table(words_VM), self.bias
        return linear_soft_loss(*given, teacher_NV, kind=kind, temperature=temperature)

    def logits(self, hidden_ND: Tensor, words_VM: Tensor) -> Tensor:
        """Logits [N, V] in fp32."""
        out = self.transformed(hidden_ND).float() @ self.table(words_VM).float().T
        return out if self.bias is None else out + self.bias.float()
