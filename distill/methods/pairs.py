"""All pairs of a teacher's and a student's layers, weighed by attention.

With D_ij how far student layer j is from teacher layer i, and A_ij how much that pair counts,

    loss = Σ_ij A_ij D_ij / Σ_ij A_ij

which is the row-wise mean of A ⊙ D where every teacher row of A sums to 1. What D is, is another
module's business: `abkd`, `stride`, `closed_form`.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from ..data import Observed
from ..losses import Pass, Term, given
from .projections import Projections, means

AttentionKind = Literal["learned", "detached", "teacher-axis", "uniform", "diagonal", "last"]


class LayerPairs(Term):
    """The attention-weighted dissimilarity of all layer pairs.

    Args:
        attention: A module that returns A [T, S] from the student's and the teacher's pass.
        dissimilarity: A module that returns D [T, S] from the same.
    """

    def __init__(self, attention: torch.nn.Module, dissimilarity: torch.nn.Module) -> None:
        super().__init__()
        self.attention = attention
        self.dissimilarity = dissimilarity

    def forward(self, student: Pass, teacher: Pass | None, data: Observed) -> Tensor:
        """Return the loss; nodes of all sets count, labels are not used."""
        pair = (student, given(teacher))
        weight = self.attention(*pair)
        return (weight * self.dissimilarity(*pair)).sum() / weight.sum()


class Attention(torch.nn.Module):
    """Learned attention over layer pairs, from the means of layers over nodes.

        A = softmax((W_i t̄_i) · (V_j s̄_j) / √d)

    Args:
        teacher_widths: Width of each teacher layer.
        student_widths: Width of each student layer.
        dim: Width d of the common space.
        kind: "learned": each teacher layer chooses among the student's (ABKD, equation 3);
            "teacher-axis": each student layer chooses among the teacher's; "detached": as learned,
            but the loss does not train it.
    """

    def __init__(
        self,
        teacher_widths: Sequence[int],
        student_widths: Sequence[int],
        dim: int = 64,
        kind: Literal["learned", "detached", "teacher-axis"] = "learned",
    ) -> None:
        super().__init__()
        self.kind = kind
        self.teacher = Projections(teacher_widths, dim)
        self.student = Projections(student_widths, dim)

    def forward(self, student: Pass, teacher: Pass) -> Tensor:
        """Return A, [teacher layers, student layers]."""
        query, key = self.teacher(means(teacher))[:, 0], self.student(means(student))[:, 0]
        score = query @ key.T / query.shape[1] ** 0.5
        weight = score.softmax(dim=0 if self.kind == "teacher-axis" else 1)
        return weight.detach() if self.kind == "detached" else weight


class FixedAttention(torch.nn.Module):
    """Attention that nobody learns: the controls without which learned attention proves nothing.

    Args:
        teachers: Number of teacher layers T.
        students: Number of student layers S.
        kind: "uniform": all pairs alike; "diagonal": each teacher layer with the student layer at
            the same relative depth; "last": the last pair alone.
    """

    weight: Tensor

    def __init__(
        self, teachers: int, students: int, kind: Literal["uniform", "diagonal", "last"]
    ) -> None:
        super().__init__()
        weight = torch.full((teachers, students), float(kind == "uniform"))
        if kind == "last":
            weight[-1, -1] = 1
        if kind == "diagonal":
            depth = torch.linspace(0, students - 1, teachers).round().long()
            weight[torch.arange(teachers), depth] = 1
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, student: Pass, teacher: Pass) -> Tensor:
        """Return A, [teacher layers, student layers]."""
        return self.weight.to(student.layers[0].dtype)


def attention(
    kind: AttentionKind, teacher_widths: Sequence[int], student_widths: Sequence[int], dim: int
) -> torch.nn.Module:
    """Return attention of a kind.

    Raises:
        ValueError: If there is no layer on one of the sides.
    """
    if not teacher_widths or not student_widths:
        raise ValueError(
            "layer pairs need at least one layer of the teacher and one of the student"
        )
    if kind in ("uniform", "diagonal", "last"):
        return FixedAttention(len(teacher_widths), len(student_widths), kind)
    return Attention(teacher_widths, student_widths, dim, kind)
