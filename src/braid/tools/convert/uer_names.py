"""The names of UER-py and TencentPretrain: old ones as new ones, and new ones as ours.

Sources: uer/layers, uer/encoders, uer/targets and scripts/convert_* of github.com/dbiir/UER-py (commits of 2020 to
2023), and tencentpretrain/layers of github.com/Tencent/TencentPretrain.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from braid.encoders.layouts import Layout, Rules
from braid.errors import BraidError
from braid.nn.transformer import Shape

RENAMED = (
    (re.compile(r"^module\."), ""),
    (re.compile(r"^embedding\.word_embedding\."), "embedding.word.embedding."),
    (re.compile(r"^embedding\.position_embedding\."), "embedding.pos.embedding."),
    (re.compile(r"^embedding\.segment_embedding\."), "embedding.seg.embedding."),
    (re.compile(r"^target\.mlm_linear_"), "target.mlm.linear_"),
    (re.compile(r"^target\.mlm\.mlm_linear_"), "target.mlm.linear_"),
    (re.compile(r"^target\.layer_norm\."), "target.mlm.layer_norm."),
    (re.compile(r"^target\.(?:nsp_|sp_|nsp\.|sp\.(?:sp_)?)linear_"), "target.sp.linear_"),
    (re.compile(r"^target\.output_layer\."), "target.lm.output_layer."),
    (re.compile(r"^target\.bilm\.output_layer\."), "target.lm.output_layer."),
    (re.compile(r"\.gamma$"), ".weight"),
    (re.compile(r"\.beta$"), ".bias"),
)
"""Names of old releases, in the order in which they are tried, to those of today. A norm's are those of torch here."""

_LAYER = "encoder.transformer.{i}"
_SHARED = "encoder.transformer"


def _layer(stem: str) -> Rules:
    return {
        "layers.{i}.qkv": (
            f"{stem}.self_attn.linear_layers.0",
            f"{stem}.self_attn.linear_layers.1",
            f"{stem}.self_attn.linear_layers.2",
        ),
        "layers.{i}.attention_output": f"{stem}.self_attn.final_linear",
        "layers.{i}.attention_norm": f"{stem}.layer_norm_1",
        "layers.{i}.intermediate": f"{stem}.feed_forward.linear_1",
        "layers.{i}.output": f"{stem}.feed_forward.linear_2",
        "layers.{i}.output_norm": f"{stem}.layer_norm_2",
        "final_norm": "encoder.layer_norm",
    }


_BERT: Rules = {
    "embeddings.word.weight": "embedding.word.embedding.weight",
    "embeddings.position.weight": "embedding.pos.embedding.weight",
    "embeddings.segment.weight": "embedding.seg.embedding.weight",
    "embeddings.norm": "embedding.layer_norm",
    "embeddings.project": "encoder.linear",
    **_layer(_LAYER),
}
_GPT: Rules = {"word": "embedding.word.embedding", "position": "embedding.pos.embedding", **_layer(_LAYER)}


def _no_shape(config: Mapping[str, object]) -> Shape:
    raise AssertionError("the settings of a UER-py file are read in uer_config")


LAYOUTS = {
    "bert": Layout("uer-bert", "\0", _BERT, _no_shape),
    "albert": Layout("uer-albert", "\0", {**_BERT, **_layer(_SHARED)}, _no_shape),
    "gpt2": Layout("uer-gpt", "\0", _GPT, _no_shape),
}
"""How our modules are called there, by what they are."""

_NORM = re.compile(r"(^|\.)layer_norm(_\d)?\.(weight|bias)$")
_GREEK = {"weight": "gamma", "bias": "beta"}


def layout_of(model_type: str) -> Layout:
    """The names of a model type's encoder. Raises KeyError for one that UER-py does not have."""
    return LAYOUTS[model_type if model_type in LAYOUTS else "bert"]


def today(names: Iterable[str]) -> dict[str, str]:
    """What the names of a file are today: today's to those in the file. Raises BraidError where two are the same."""
    out: dict[str, str] = {}
    for name in names:
        new = name
        for pattern, replacement in RENAMED:
            new = pattern.sub(replacement, new)
        if new in out:
            raise BraidError(f"{out[new]} and {name} are old and new names of the same")
        out[new] = name
    return out


def written(name: str) -> str:
    """A name as UER-py writes it: the parts of its norms have Greek names."""
    match = _NORM.search(name)
    return name[: match.start(3)] + _GREEK[match[3]] if match else name


def segments_read(table: Tensor, *, roberta: bool) -> Tensor:
    """UER-py's table of segments without row 0, which is padding's. RoBERTa has one segment: its scripts put that into
    row 2, so that row 1 is zeros."""
    used = table[1:]
    if roberta and len(used) == 2 and (not used[0].any() or torch.equal(used[0], used[1])):
        return used[1:].clone()
    return used.clone()


def segments_written(table: Tensor) -> Tensor:
    """With zeros for padding's row; a single segment stands for both of UER-py's."""
    rows = table if len(table) > 1 else torch.cat([table, table])
    return torch.cat([torch.zeros_like(rows[:1]), rows])


def positions_read(table: Tensor, offset: int) -> Tensor:
    """RoBERTa's first tokens have the position `offset`; UER-py's 0. What stands in the last rows there, which no row
    of text reaches, are RoBERTa's first."""
    return torch.cat([table[len(table) - offset :], table[: len(table) - offset]])


def positions_written(table: Tensor, offset: int) -> Tensor:
    """The other way round."""
    return torch.cat([table[offset:], table[:offset]])
