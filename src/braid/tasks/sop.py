"""sop: sentence order prediction (ALBERT, arXiv 1909.11942, section 3.1)."""

from __future__ import annotations

from typing import ClassVar, Literal

from braid.data.corpus.rows import Pairing
from braid.tasks.sentence_pairs import PairTask


class Sop(PairTask):
    """Whether two parts of one document stand in their order (ALBERT)."""

    type: Literal["sop"] = "sop"
    pairing: ClassVar[Pairing] = "order"
