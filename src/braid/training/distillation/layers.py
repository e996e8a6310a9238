"""Which of a student's states learn which of its teacher's, and how far they are from them.

Shape legend: T tokens, R rows, D the student's hidden size, E the teacher's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from braid.config.distillation import HiddenConfig
from braid.errors import BraidError


def layer_map(config: HiddenConfig, student: int, teacher: int) -> list[tuple[int, int]]:
    """Pairs (student's state, teacher's), 0 being the embeddings; *student*, *teacher*: their layers.

    Raises BraidError for a map that does not fit them."""
    chosen, pairs = config.map, {0: 0} if config.embeddings else {}
    if chosen == "uniform":
        # Rounded to the nearest, halves up, where the student's number does not divide the teacher's.
        pairs |= {m: (2 * m * teacher + student) // (2 * student) for m in range(1, student + 1)}
    elif chosen == "last":
        if student > teacher:
            raise BraidError(f"distill.hidden.map: the teacher has {teacher} layers, the student {student}")
        pairs |= {m: teacher - student + m for m in range(1, student + 1)}
    elif isinstance(chosen, list):
        if len(chosen) != student:
            raise BraidError(f"distill.hidden.map: {len(chosen)} layers for the student's {student}; each needs one")
        pairs |= dict(enumerate(chosen, 1))
    else:
        pairs |= chosen
    for name, layers, found in (("student", student, pairs), ("teacher", teacher, pairs.values())):
        if wrong := [layer for layer in found if layer > layers]:
            raise BraidError(f"distill.hidden.map: the {name} has no layer {wrong[0]}; it has {layers}")
    return sorted(pairs.items())


class Matching(nn.Module):
    """How far hidden states are from a teacher's. Where widths differ, one linear layer maps the student's layers, one
    its embeddings (TinyBERT's W_h and W_e, arXiv 1909.10351, section 3.1)."""

    def __init__(
        self, config: HiddenConfig, pairs: Sequence[tuple[int, int]], hidden: int, teacher_hidden: int
    ) -> None:
        super().__init__()
        self.config, self.pairs = config, list(pairs)
        widths, differ = (hidden, teacher_hidden), hidden != teacher_hidden
        self.layers = nn.Linear(*widths) if differ and any(m for m, _ in self.pairs) else None
        self.embeddings = nn.Linear(*widths) if differ and any(m == 0 for m, _ in self.pairs) else None

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor], cu_seqlens: Tensor) -> Tensor:
        """The distance [R] of each row: the mean over its tokens, summed over pairs, times the weight. *student*,
        *teacher*: every state [T, D], [T, E]; *cu_seqlens* [R+1]."""
        apart_T = sum((self._apart(m, student[m], teacher[g]) for m, g in self.pairs), student[0].new_zeros(()).float())
        lengths_R = cu_seqlens.diff().long()
        rows = torch.arange(len(lengths_R), device=lengths_R.device)
        row_T = rows.repeat_interleave(lengths_R, output_size=len(student[0]))
        sums_R = torch.zeros(len(lengths_R), device=lengths_R.device).index_add(0, row_T, apart_T)
        return self.config.weight * sums_R / lengths_R

    def _apart(self, number: int, student_TD: Tensor, teacher_TE: Tensor) -> Tensor:
        mapped = self.layers if number else self.embeddings
        ours_TE = (student_TD if mapped is None else mapped(student_TD)).float()
        theirs_TE = teacher_TE.float()
        if self.config.loss == "cosine":
            return 1 - F.cosine_similarity(ours_TE, theirs_TE, dim=1)
        return (ours_TE - theirs_TE).square().mean(dim=1)
