"""nsp: next sentence prediction (BERT, arXiv 1810.04805, section 3.1)."""

from __future__ import annotations

from typing import ClassVar, Literal

from braid.data.corpus.rows import Pairing
from braid.tasks.sentence_pairs import PairTask


class Nsp(PairTask):
    """Whether the second part follows the first, or comes from another document (BERT)."""

    type: Literal["nsp"] = "nsp"
    pairing: ClassVar[Pairing] = "next"
