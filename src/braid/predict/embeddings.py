"""`braid embeddings`: the tokens' table in the text format of word2vec.

Shape legend: V tokens, M size of the embeddings.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from braid.data.tokens import Tokenizer
from braid.errors import BraidError
from braid.predict.output import written

_ESCAPED = re.compile(r"[\s\\\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True)
class Table:
    """What was written: *tokens*, vectors of *size*, and how many tokens had to be *escaped*."""

    tokens: int
    size: int
    escaped: int


def escape(token: str) -> str:
    r"""A token without spaces, as the format needs: white space, control characters and backslashes become `\x20`,
    `\u3000`, `\x5c`. Python reads it back by `re.sub(r"\\(x..|u....)", lambda m: chr(int(m[1][1:], 16)), name)`."""

    def spelt(match: re.Match[str]) -> str:
        code = ord(match[0])
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"

    return _ESCAPED.sub(spelt, token)


def write_table(table_VM: np.ndarray, tokenizer: Tokenizer, out: Path) -> Table:
    """Write each token's vector, in the order of ids: a line `V M`, then `token x1 ... xM` (word2vec's text format,
    which gensim's `KeyedVectors.load_word2vec_format` reads). Numbers have the 9 digits that restore every float32.

    Raises BraidError for a folder that is not there. Rows behind the last token, which no text reaches, and ids without
    a token are left out."""
    names = {number: token for token, number in tokenizer.rust.get_vocab(with_added_tokens=True).items()}
    ids = sorted(number for number in names if number < len(table_VM))
    if not ids:
        raise BraidError("the tokenizer has no token")
    line = " %.9g" * table_VM.shape[1] + "\n"
    escaped = 0
    with written(out, source="") as file:
        file.write(f"{len(ids)} {table_VM.shape[1]}\n")
        for number in ids:
            name = escape(names[number])
            escaped += name != names[number]
            file.write(name + line % tuple(table_VM[number].tolist()))
    return Table(len(ids), int(table_VM.shape[1]), escaped)
