"""Which rows of a model's tables the tokens of another vocabulary get: their own, or the mean of their pieces'.

Shape legend: V tokens of the old vocabulary, W of the new one, M size of a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from braid.data.tokens import USUAL_NAMES, Tokenizer
from braid.data.vocabulary_kinds import SPACE

Style = Literal["wordpiece", "bytes", "spaces", "plain"]
"""How tokens are spelled: `##` continues a word; letters for bytes; `▁` for a space; as in the text."""


@dataclass(frozen=True, eq=False)
class Origins:
    """For each new token the old *rows* whose mean is its row; none: the mean of all. *kept*: tokens that both have
    (by spelling, or by their role); *made*: of the others, those made of pieces; *unknown*: of nothing known."""

    rows: list[list[int]]
    kept: int
    made: int
    unknown: int


def origins(old: Tokenizer, new: Tokenizer) -> Origins:
    """Where each token of a new tokenizer has its row from. A token that both have keeps its row, whatever its id;
    special tokens are the same by what they do ([CLS], <s>). Any other is cut by the old tokenizer, and gets the
    mean of its pieces; the row of the unknown token, where nothing of it is known."""
    ids = old.rust.get_vocab(with_added_tokens=True)
    style, unk = style_of(new), old.unk_id
    same = style_of(old) == style
    roles = {_role(new, role): _role(old, role) for role in USUAL_NAMES}
    rows: list[list[int]] = []
    kept = made = unknown = 0
    for number, token in enumerate(new.tokens(range(new.vocab_size))):
        own = roles.get(number)
        if own is None and token in ids and (same or number in new.special_ids):
            own = ids[token]
        if own is not None:
            rows.append([own])
            kept += 1
            continue
        cut = [] if number in new.special_ids else _pieces(old, ids, new, number, style, same=same)
        pieces = [piece for piece in cut if piece != unk]
        made, unknown = made + bool(pieces), unknown + (not pieces)
        rows.append(pieces or ([] if unk is None else [unk]))
    return Origins(rows, kept, made, unknown)


def style_of(tokenizer: Tokenizer) -> Style:
    """How a tokenizer spells its tokens."""
    settings = tokenizer.rust.to_str()
    if type(tokenizer.rust.model).__name__ == "WordPiece":
        return "wordpiece"
    if '"type":"ByteLevel"' in settings:
        return "bytes"
    return "spaces" if SPACE in tokenizer.rust.get_vocab() or '"type":"Metaspace"' in settings else "plain"


def _role(tokenizer: Tokenizer, role: str) -> int | None:
    found: dict[str, int | None] = {
        "pad_token": tokenizer.pad_id if tokenizer.pad_id in tokenizer.special_ids else None,
        "unk_token": tokenizer.unk_id,
        "cls_token": tokenizer.cls_id,
        "sep_token": tokenizer.sep_id,
        "mask_token": tokenizer.mask_id,
    }
    return found[role]


def _pieces(
    old: Tokenizer, ids: Mapping[str, int], new: Tokenizer, number: int, style: Style, *, same: bool
) -> Sequence[int]:
    """What the old tokenizer, whose tokens are *ids*, makes of a token of the new one."""
    token = new.tokens([number])[0]
    if style == "wordpiece" and token.startswith("##"):
        inner = token.removeprefix("##")
        return _continuing(old, ids, inner) if same else _encoded(old, inner)
    if style in ("bytes", "spaces"):
        text = new.decode([number])
        if same and (style == "spaces" or "\ufffd" in text):
            return [int(piece.id) for piece in old.rust.model.tokenize(_normal(old, token))]
        # The decoder leaves out the space in front of a text, which tells words from their continuations.
        return [] if "\ufffd" in text else _encoded(old, text if style == "bytes" else token.replace(SPACE, " "))
    return _encoded(old, token)


def _encoded(tokenizer: Tokenizer, text: str) -> list[int]:
    return [int(piece) for piece in tokenizer.encode_ids([text])[0]]


def _normal(tokenizer: Tokenizer, token: str) -> str:
    normaliser = tokenizer.rust.normalizer
    return token if normaliser is None else str(normaliser.normalize_str(token))


def _continuing(tokenizer: Tokenizer, ids: Mapping[str, int], inner: str) -> list[int]:
    """Pieces of what continues a word, the longest that fit first (WordPiece); none where some of it is unknown."""
    text, found, at = _normal(tokenizer, inner).strip(), [], 0
    while at < len(text):
        end = next((end for end in range(len(text), at, -1) if f"##{text[at:end]}" in ids), None)
        if end is None:
            return []
        found.append(ids[f"##{text[at:end]}"])
        at = end
    return found


def resized(tensor_V: Tensor, rows: Sequence[Sequence[int]]) -> Tensor:
    """A table [V, ...] for the new vocabulary, [W, ...]: rows that stay are bitwise the same."""
    first = torch.tensor([row[0] if row else 0 for row in rows], dtype=torch.int64)
    out = tensor_V.index_select(0, first)
    for place, row in enumerate(rows):
        if len(row) != 1:
            some = tensor_V[list(row)] if row else tensor_V
            out[place] = some.float().mean(0).to(tensor_V.dtype)
    return out
