"""ABKD: attention decides which layers of the teacher each layer of the student learns from.

With T_i [N, d_i] the teacher's layers, S_j [N, d_j] the student's, t̄ and s̄ their means over
nodes:

    A     = softmax_j((W_i t̄_i) · (V_j s̄_j) / √d)                          each teacher row sums
    to 1 D_ij  = ‖ norm(P (X_i t̄_i)) - norm(P (Y_j s̄_j)) ‖²                      in [0, 4] loss  =
    (1 / T) Σ_i Σ_j A_ij D_ij

W, V, X, Y are a linear map of each layer, P one of all; all are trained with the student. The paper
gives attention, distance and their row-wise mean; that each embedding is scaled to length 1 before
the distance is our reading of its normalisation, and keeps the maps from shrinking to nothing.

Reference: Ahluwalia et al., "ABKD: Graph Neural Network Compression with Attention-Based Knowledge
Distillation", 2023, equations 3-5, https://arxiv.org/abs/2310.15938v1
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .data import Observed
from .losses import Pass, Term


class ABKD(Term):
    """The attention-weighted dissimilarity of all teacher and student layer pairs.

    Args:
        teacher_widths: Width of each teacher layer.
        student_widths: Width of each student layer.
        dim: Width d of the common space.
    """

    def __init__(
        self, teacher_widths: Sequence[int], student_widths: Sequence[int], dim: int = 64
    ) -> None:
        super().__init__()
        if not teacher_widths or not student_widths:
            raise ValueError("ABKD needs at least one layer of the teacher and one of the student")
        self.attention_teacher = _projections(teacher_widths, dim)
        self.attention_student = _projections(student_widths, dim)
        self.embedding_teacher = _projections(teacher_widths, dim)
        self.embedding_student = _projections(student_widths, dim)
        self.subspace = torch.nn.Linear(dim, dim, bias=False)

    def forward(self, student: Pass, teacher: Pass | None, data: Observed) -> Tensor:
        """Return the loss; nodes of all sets count, labels are not used."""
        if teacher is None:
            raise ValueError("ABKD needs a teacher")
        attention = self.attention(student.layers, teacher.layers)
        distance = self.dissimilarity(student.layers, teacher.layers)
        return (attention * distance).sum(dim=1).mean()

    def attention(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """Return A, [teacher layers, student layers], each row summing to 1."""
        query = _projected(self.attention_teacher, teacher)
        key = _projected(self.attention_student, student)
        return (query @ key.T / query.shape[1] ** 0.5).softmax(dim=1)

    def dissimilarity(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """Return D, [teacher layers, student layers], in [0, 4]."""
        t = F.normalize(self.subspace(_projected(self.embedding_teacher, teacher)), dim=1)
        s = F.normalize(self.subspace(_projected(self.embedding_student, student)), dim=1)
        return (t.unsqueeze(1) - s.unsqueeze(0)).square().sum(dim=-1)


def _projections(widths: Sequence[int], dim: int) -> torch.nn.ModuleList:
    return torch.nn.ModuleList(torch.nn.Linear(width, dim, bias=False) for width in widths)


def _projected(maps: torch.nn.ModuleList, layers: Sequence[Tensor]) -> Tensor:
    """Return the mean over nodes of each layer, projected, [layers, d]."""
    return torch.stack([f(h.mean(dim=0)) for f, h in zip(maps, layers, strict=True)])
