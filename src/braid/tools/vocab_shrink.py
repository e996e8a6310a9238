"""A tokenizer with fewer tokens that cuts every text as before whose tokens were all kept.

Why that is so, kind by kind. *WordPiece* takes the longest piece that fits: without some of the others it is the
longest still. *Words* and *characters* are looked up. *Unigram* takes the best way through a text: with fewer ways it
is the best still, as long as an unknown character, which is valued by the lowest score of all pieces, does not rise in
value; so the lowest piece stays. *Byte pairs* are merged in the order of their ranks: every token keeps the merges that
make it, and so the tokens between, and the order stays.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tokenizers import Tokenizer as RustTokenizer
from tokenizers import pre_tokenizers

from braid.data.tokens import Tokenizer
from braid.errors import BraidError

Merge = tuple[str, str]


@dataclass(frozen=True, eq=False)
class Shrunk:
    """The smaller *tokenizer*, and the *kept* ids of the larger one, in the order of the new ids."""

    tokenizer: Tokenizer
    kept: list[int]


def shrunk(tokenizer: Tokenizer, used: Iterable[int]) -> Shrunk:
    """A tokenizer with the tokens *used*, all special and added ones, and what its kind cannot do without.

    Raises BraidError for a tokenizer that works in a way for which "cuts texts as before" is not known to hold."""
    settings = json.loads(tokenizer.rust.to_str())
    ids = tokenizer.rust.get_vocab(with_added_tokens=True)
    names = {number: token for token, number in ids.items()}
    added = {token["id"] for token in settings.get("added_tokens") or []}
    keep = {int(number) for number in used} | added | set(tokenizer.special_ids)
    # What stands in front of the padding stays, since RoBERTa counts positions from the padding's id on.
    keep |= set(range(tokenizer.pad_id + 1))
    wanted = {names[number] for number in keep if number in names}
    model = settings["model"]
    wanted |= {token for token in (model.get("unk_token"),) if token in ids}
    if model.get("type") == "BPE":
        wanted |= _bpe(settings, wanted)
    elif model.get("type") == "Unigram":
        wanted |= _unigram(model)
    elif model.get("type") not in ("WordPiece", "WordLevel"):
        raise BraidError(f"a tokenizer of type {model.get('type')!r} cannot be shrunk")
    listed = set(_tokens_of(model))
    order = sorted((token for token in wanted if token in listed), key=ids.__getitem__)
    order += sorted((token for token in wanted if token not in listed), key=ids.__getitem__)
    numbers = {token: number for number, token in enumerate(order)}
    moved = {ids[token]: number for token, number in numbers.items()}
    _renumber(settings, numbers, moved)
    rust = RustTokenizer.from_str(json.dumps(settings, ensure_ascii=False))
    if dict(rust.get_vocab(with_added_tokens=True)) != numbers:
        raise BraidError("this tokenizer cannot be shrunk: its added tokens have ids that it does not keep")
    return Shrunk(Tokenizer(rust, _files(tokenizer.files, moved)), [ids[token] for token in order])


def _tokens_of(model: Mapping[str, Any]) -> Iterator[str]:
    return (row[0] for row in model["vocab"]) if model["type"] == "Unigram" else iter(model["vocab"])


def _unigram(model: Mapping[str, Any]) -> set[str]:
    """The piece of the lowest score, the unknown one, and those of bytes."""
    lowest = min(model["vocab"], key=lambda row: row[1])[0]
    unknown = [] if model.get("unk_id") is None else [model["vocab"][model["unk_id"]][0]]
    return {lowest, *unknown, *(_bytes(model) if model.get("byte_fallback") else ())}


def _bytes(model: Mapping[str, Any]) -> list[str]:
    there = set(_tokens_of(model))
    return [name for name in (f"<0x{byte:02X}>" for byte in range(256)) if name in there]


def _bpe(settings: dict[str, Any], wanted: set[str]) -> set[str]:
    """What byte pairs need beside *wanted*; merges that make nothing of these are taken out of the settings."""
    model = settings["model"]
    for key in ("continuing_subword_prefix", "end_of_word_suffix", "dropout"):
        if model.get(key):
            raise BraidError(f"a byte-pair tokenizer with {key} {model[key]!r} is not one that can be shrunk")
    merges = [_merge(entry) for entry in model["merges"]]
    ranks = {merge: rank for rank, merge in enumerate(merges)}
    alphabet = set(pre_tokenizers.ByteLevel.alphabet()) if '"ByteLevel"' in json.dumps(settings) else set()
    needed = {letter for letter in alphabet if letter in model["vocab"]}
    needed |= set(_bytes(model)) if model.get("byte_fallback") else set()
    used: set[int] = set()
    for token in wanted:
        made, its = merged(token, ranks)
        # A token that its own merges do not make is found whole (`ignore_merges`) or never.
        if made == [token]:
            used |= its
            needed |= {piece for rank in its for piece in merges[rank]}
    model["merges"] = [model["merges"][rank] for rank in sorted(used)]
    return needed


def _merge(entry: Any) -> Merge:
    a, b = entry.split(" ") if isinstance(entry, str) else entry
    return a, b


def merged(word: str, ranks: Mapping[Merge, int]) -> tuple[list[str], set[int]]:
    """What byte-pair merging makes of a word, and the ranks of the merges that it used (Sennrich et al. 2016, arXiv
    1508.07909): always the pair of the lowest rank, the leftmost of several."""
    symbols = list(word)
    used: set[int] = set()
    while len(symbols) > 1:
        pairs = [(ranks[pair], place) for place, pair in enumerate(pairwise(symbols)) if pair in ranks]
        if not pairs:
            break
        rank, place = min(pairs)
        used.add(rank)
        symbols[place : place + 2] = [symbols[place] + symbols[place + 1]]
    return symbols, used


def _renumber(settings: dict[str, Any], numbers: Mapping[str, int], moved: Mapping[int, int]) -> None:
    """Give the tokens of a tokenizer.json their new ids; those without any go."""
    model = settings["model"]
    if model["type"] == "Unigram":
        rows = [row for row in model["vocab"] if row[0] in numbers]
        model["unk_id"] = None if model.get("unk_id") is None else moved[model["unk_id"]]
        model["vocab"] = rows
    else:
        model["vocab"] = {token: numbers[token] for token in model["vocab"] if token in numbers}
    for token in settings.get("added_tokens") or []:
        token["id"] = moved[token["id"]]
    settings["post_processor"] = _processed(settings.get("post_processor"), moved)
    settings["padding"] = settings["truncation"] = None


def _processed(part: Any, moved: Mapping[int, int]) -> Any:
    """A post-processor with new ids: templates list `ids`, BERT's and RoBERTa's have `[token, id]`."""
    if isinstance(part, list):
        return [_processed(item, moved) for item in part]
    if not isinstance(part, dict):
        return part
    out = {}
    for key, value in part.items():
        if key == "ids" and isinstance(value, list):
            out[key] = [moved[number] for number in value]
        elif key in ("sep", "cls") and isinstance(value, list):
            out[key] = [value[0], moved[value[1]]]
        else:
            out[key] = _processed(value, moved)
    return out


def _files(files: Mapping[str, Any], moved: Mapping[int, int]) -> dict[str, Any]:
    """tokenizer_config.json and its like with new ids."""
    out = dict(files)
    config = dict(out.get("tokenizer_config.json", {}))
    if isinstance(decoder := config.get("added_tokens_decoder"), dict):
        kept = {int(number): token for number, token in decoder.items() if int(number) in moved}
        config["added_tokens_decoder"] = {str(moved[number]): token for number, token in kept.items()}
    if config:
        out["tokenizer_config.json"] = config
    if isinstance(more := out.get("added_tokens.json"), dict):
        out["added_tokens.json"] = {token: moved[number] for token, number in more.items() if number in moved}
    return out


def unchanged(old: Tokenizer, new: Tokenizer, texts: Sequence[str], kept: Sequence[int]) -> str | None:
    """The first text whose tokens were all kept and which is cut in another way now; None: there is none."""
    back = {number: place for place, number in enumerate(kept)}
    for text, before, after in zip(texts, old.encode_ids(texts), new.encode_ids(texts), strict=True):
        wanted = [back.get(number) for number in before.tolist()]
        if None not in wanted and wanted != after.tolist():
            return text
    return None
