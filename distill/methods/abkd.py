"""ABKD: attention decides which layers of the teacher each layer of the student learns from.

With T_i [N, d_i] the teacher's layers, S_j [N, d_j] the student's, t̄ and s̄ their means over nodes:

    D_ij = ‖ norm(P X_i t̄_i) - norm(P Y_j s̄_j) ‖²        in [0, 4]

X and Y are a linear map of each layer, P one of all; they are trained with the student, as is the
attention that weighs the pairs (`pairs`). The paper gives attention, distance and their row-wise
mean; that each embedding is scaled to length 1 before the distance is our reading of its
normalisation, and keeps the maps from shrinking to nothing.

Reference: Ahluwalia et al., "ABKD: Graph Neural Network Compression with Attention-Based Knowledge
Distillation", 2023, equations 3-5, https://arxiv.org/abs/2310.15938v1
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..losses import Pass
from .pairs import AttentionKind, LayerPairs, attention
from .projections import Projections, means


class PooledDistance(torch.nn.Module):
    """The distance of layers' means over nodes, in a common subspace.

    Args:
        teacher_widths: Width of each teacher layer.
        student_widths: Width of each student layer.
        dim: Width of the common space.
    """

    def __init__(
        self, teacher_widths: Sequence[int], student_widths: Sequence[int], dim: int = 64
    ) -> None:
        super().__init__()
        self.teacher = Projections(teacher_widths, dim)
        self.student = Projections(student_widths, dim)
        self.subspace = torch.nn.Linear(dim, dim, bias=False)

    def forward(self, student: Pass, teacher: Pass) -> Tensor:
        """Return D, [teacher layers, student layers], in [0, 4]."""
        t = F.normalize(self.subspace(self.teacher(means(teacher))[:, 0]), dim=1)
        s = F.normalize(self.subspace(self.student(means(student))[:, 0]), dim=1)
        return (t.unsqueeze(1) - s.unsqueeze(0)).square().sum(dim=-1)


def abkd(
    teacher_widths: Sequence[int],
    student_widths: Sequence[int],
    dim: int = 64,
    kind: AttentionKind = "learned",
) -> LayerPairs:
    """Return ABKD's term for layers of these widths."""
    return LayerPairs(
        attention(kind, teacher_widths, student_widths, dim),
        PooledDistance(teacher_widths, student_widths, dim),
    )
