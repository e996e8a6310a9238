"""Special tokens: what they are called, how a tokenizer is given them, and that no text can spell one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tokenizers import Regex, pre_tokenizers, processors
from tokenizers import Tokenizer as RustTokenizer

from braid.data.tokens import USUAL_NAMES, Tokenizer

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""Those of the vocabularies that are trained here, in the order of their ids."""


def roles_in(tokens: Iterable[str]) -> dict[str, str]:
    """transformers' names of the roles (`cls_token`) to the tokens of a vocabulary that usually have them."""
    known = set(tokens)
    found = {role: next((name for name in names if name in known), None) for role, names in USUAL_NAMES.items()}
    return {role: name for role, name in found.items() if name is not None}


def finished(rust: RustTokenizer, roles: Mapping[str, str], *, also: Iterable[str] = ()) -> Tokenizer:
    """A tokenizer with special tokens, and with the places of those that it has: `[CLS] A [SEP]` and
    `[CLS] A [SEP] B [SEP]`. *also*: further special tokens."""
    rust.add_special_tokens(list(dict.fromkeys([*roles.values(), *also])))
    around = [roles[role] for role in ("cls_token", "sep_token") if role in roles]
    if around:
        first = f"{roles['cls_token']} " if "cls_token" in roles else ""
        last = f" {roles['sep_token']}" if "sep_token" in roles else ""
        places = processors.TemplateProcessing(
            single=f"{first}$A{last}",
            pair=f"{first}$A{last} $B:1{last + ':1' if last else ''}",
            special_tokens=[(token, rust.token_to_id(token)) for token in around],
        )
        before = rust.post_processor
        rust.post_processor = places if before is None else processors.Sequence([before, places])
    return Tokenizer(rust, config_files(roles))


def config_files(roles: Mapping[str, str], max_length: int = 512) -> dict[str, Any]:
    """What transformers wants to find beside a tokenizer.json: file name -> JSON."""
    options = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": min(max_length, 1_000_000)}
    return {"tokenizer_config.json": {**options, **roles}}


def guard(tokens: Iterable[str]) -> Any:
    """A pre-tokenizer behind whose first character each of these tokens is broken: some models would find `[SEP]` in
    their vocabulary where a user typed it. Raises nothing; tokens of one character cannot be broken."""
    patterns = (f"{re.escape(token[0])}(?={re.escape(token[1:])})" for token in tokens if len(token) > 1)
    return pre_tokenizers.Split(Regex("|".join(patterns)), "isolated")
