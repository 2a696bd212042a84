"""STRIDE, the second version of ABKD: distances node by node, and of structure.

With t̂_i = norm(P X_i T_i) and ŝ_j = norm(P Y_j S_j), rows scaled to length 1:

    D_ij = mean_v ‖ t̂_i[v] - ŝ_j[v] ‖²
           + γ · mean_v -log( exp(ŝ_j[v] · t̂_i[v] / τ) / Σ_u exp(ŝ_j[v] · t̂_i[u] / τ) )

the second line, G-CRD's contrast, having projections of its own. Both are taken on nodes drawn anew
each step: the contrast of all pairs of layers over all pairs of nodes would fit no memory. γ and
the scaling of rows are ours where the paper is silent.

Reference: the same authors' "STRIDE: Structure and Embedding Distillation with Attention for Graph
Neural Networks", second version of https://arxiv.org/abs/2310.15938
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..losses import Pass
from .contrast import contrast
from .pairs import AttentionKind, LayerPairs, attention
from .projections import ByWidth, Projections, draw, rows


class NodeDistance(torch.nn.Module):
    """The mean squared distance of each node's embeddings in a common subspace.

    Args:
        teacher_widths: Width of each teacher layer.
        student_widths: Width of each student layer.
        dim: Width of the common space.
        nodes: Nodes drawn each step; None means all.
    """

    def __init__(
        self,
        teacher_widths: Sequence[int],
        student_widths: Sequence[int],
        dim: int = 64,
        nodes: int | None = 512,
    ) -> None:
        super().__init__()
        self.teacher = Projections(teacher_widths, dim)
        self.student = Projections(student_widths, dim)
        self.subspace = torch.nn.Linear(dim, dim, bias=False)
        self.nodes = nodes

    def forward(self, student: Pass, teacher: Pass) -> Tensor:
        """Return D, [teacher layers, student layers], in [0, 4]."""
        nodes = draw(student, self.nodes)
        t = self._embed(self.teacher, rows(teacher, nodes))
        s = self._embed(self.student, rows(student, nodes))
        count = t.shape[1] // self.subspace.out_features
        # ‖t - s‖² = ‖t‖² + ‖s‖² - 2 t · s, and a row of zeros has no length 1
        lengths = t.square().sum(dim=1).unsqueeze(1) + s.square().sum(dim=1).unsqueeze(0)
        return (lengths - 2 * t @ s.T) / count

    def _embed(self, maps: Projections, layers: ByWidth) -> Tensor:
        return F.normalize(self.subspace(maps(layers)), dim=2).flatten(1)


class StructuralDistance(torch.nn.Module):
    """G-CRD's contrast of every pair of layers.

    Args:
        teacher_widths: Width of each teacher layer.
        student_widths: Width of each student layer.
        dim: Width of the common space.
        temperature: τ.
        nodes: Nodes drawn each step; memory grows with their square, times all pairs of layers.
    """

    def __init__(
        self,
        teacher_widths: Sequence[int],
        student_widths: Sequence[int],
        dim: int = 64,
        temperature: float = 0.075,
        nodes: int = 128,
    ) -> None:
        super().__init__()
        self.teacher = Projections(teacher_widths, dim)
        self.student = Projections(student_widths, dim)
        self.temperature = temperature
        self.nodes = nodes

    def forward(self, student: Pass, teacher: Pass) -> Tensor:
        """Return D, [teacher layers, student layers]."""
        nodes = draw(student, self.nodes)
        own, other = self.student(rows(student, nodes)), self.teacher(rows(teacher, nodes))
        return contrast(own, other, self.temperature)


class _Both(torch.nn.Module):
    def __init__(self, nodes: NodeDistance, structure: StructuralDistance, gamma: float) -> None:
        super().__init__()
        self.nodes, self.structure, self.gamma = nodes, structure, gamma

    def forward(self, student: Pass, teacher: Pass) -> Tensor:
        return self.nodes(student, teacher) + self.gamma * self.structure(student, teacher)


def stride(
    teacher_widths: Sequence[int],
    student_widths: Sequence[int],
    dim: int = 64,
    kind: AttentionKind = "learned",
    *,
    embedding: bool = True,
    structure: bool = True,
    gamma: float = 1.0,
    temperature: float = 0.075,
    nodes: int = 128,
) -> LayerPairs:
    """Return STRIDE's term for layers of these widths, or one of its halves (E- and S-STRIDE).

    Raises:
        ValueError: If both halves are left out.
    """
    widths = (teacher_widths, student_widths, dim)
    if not embedding and not structure:
        raise ValueError("STRIDE needs embedding, structure or both")
    pairs = attention(kind, *widths)
    if not structure:
        return LayerPairs(pairs, NodeDistance(*widths, nodes))
    contrasted = StructuralDistance(*widths, temperature, nodes)
    if not embedding:
        return LayerPairs(pairs, contrasted)
    return LayerPairs(pairs, _Both(NodeDistance(*widths, nodes), contrasted, gamma))
