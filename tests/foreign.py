"""Tiny models of other projects for tests of `braid convert`, and how their files are made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

VOCABULARY = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *(chr(ord("a") + k) for k in range(26)),
    "##a",
    "##b",
    "good",
]
SIZES: dict[str, Any] = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "type_vocab_size": 2,
}
ROBERTA = {**SIZES, "type_vocab_size": 1, "pad_token_id": 1, "layer_norm_eps": 1e-5}
ALBERT = {**SIZES, "embedding_size": 16, "pad_token_id": 0}
GPT2 = {"vocab_size": len(VOCABULARY), "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 40}


DISTILBERT = {"vocab_size": len(VOCABULARY), "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48}
FAMILIES: dict[str, dict[str, Any]] = {
    "Roberta": ROBERTA,
    "Bert": SIZES,
    "Albert": ALBERT,
    "GPT2": GPT2,
    "Electra": {**SIZES, "embedding_size": 16, "pad_token_id": 0},
    "DistilBert": {**DISTILBERT, "max_position_embeddings": 40, "pad_token_id": 0},
}


def vocabulary(path: Path) -> Path:
    """A vocab.txt."""
    path.write_text("".join(f"{token}\n" for token in VOCABULARY), encoding="utf-8")
    return path


def transformers_directory(path: Path, architecture: str, **more: Any) -> Any:
    """A model of transformers with random weights (norms and biases too), saved with a vocabulary."""
    import transformers

    stem, sizes = next((stem, sizes) for stem, sizes in FAMILIES.items() if architecture.startswith(stem))
    own = {"bos_token_id": None, "eos_token_id": None} if stem == "GPT2" else {}
    config = getattr(transformers, f"{stem}Config")(**{**sizes, **own, **more})
    torch.manual_seed(3)
    model = getattr(transformers, architecture)(config).eval()
    randomise(model)
    model.save_pretrained(path)
    vocabulary(path / "vocab.txt")
    return model


def randomise(module: torch.nn.Module) -> None:
    """Weights of which none is zero or one, large enough that every part of the model tells in its output."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


def weights(directory: Path) -> dict[str, Tensor]:
    """The tensors of a directory of transformers."""
    return load_file(directory / "model.safetensors")


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """The same names, and every tensor bitwise equal."""
    assert found.keys() == expected.keys()
    wrong = [name for name in expected if not torch.equal(found[name], expected[name])]
    assert wrong == []


def ids(rows: int = 3) -> list[list[int]]:
    """Token rows of several lengths."""
    generator = torch.Generator().manual_seed(7)
    return [torch.randint(4, len(VOCABULARY), (n,), generator=generator).tolist() for n in (9, 17, 5)[:rows]]
