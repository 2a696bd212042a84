"""Dissimilarities without projections: nothing can be trained to look alike but the student.

A trainable projection, or a mean over nodes, can be brought near its target without moving the
student. These two cannot: they compare layers node by node, up to what a linear map may change.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..losses import Pass
from .pairs import AttentionKind, LayerPairs, attention
from .projections import draw


class Unexplained(torch.nn.Module):
    """1 - R²: the share of a teacher layer's variance that a ridge regression on a student's lacks.

        D_ij = ‖T_i - S_j B‖² / ‖T_i‖²,    B = (S_jᵀ S_j + λ I)⁻¹ S_jᵀ T_i

    of layers centred over nodes, with λ = ridge · trace(S_jᵀ S_j) / d_j, so that the scale of a
    layer does not matter. In [0, 1].

    Args:
        ridge: Relative strength of the penalty.
        nodes: Nodes drawn each step; None means all.
    """

    def __init__(self, ridge: float = 1e-3, nodes: int | None = None) -> None:
        super().__init__()
        self.ridge = ridge
        self.nodes = nodes

    def forward(self, student: Pass, teacher: Pass) -> Tensor:
        """Return D, [teacher layers, student layers]."""
        nodes = draw(student, self.nodes)
        # all layers side by side: one product for all pairs
        targets, own = centred(teacher, nodes), centred(student, nodes)
        variance = by_layer(targets.square().sum(dim=0), teacher)
        products = (own.T @ targets).split(_widths(student))
        grams = [layer.T @ layer for layer in own.split(_widths(student), dim=1)]
        explained = [
            by_layer(self._explained(*pair), teacher) for pair in zip(grams, products, strict=True)
        ]
        tiny = torch.finfo(targets.dtype).tiny
        return 1 - torch.stack(explained, dim=1) / variance.clamp(min=tiny).unsqueeze(1)

    def _explained(self, gram: Tensor, product: Tensor) -> Tensor:
        """Return ‖t‖² - ‖t - S b‖² of each column t, [Σ d_i], from Sᵀ S and Sᵀ T."""
        square, cross = gram.double(), product.double()
        penalty = self.ridge * square.trace() / len(square) + torch.finfo(gram.dtype).tiny
        eye = torch.eye(len(square), dtype=square.dtype, device=square.device)
        b = torch.linalg.solve(square + penalty * eye, cross)
        return ((2 * cross - square @ b) * b).sum(dim=0).to(gram.dtype)


class CKADistance(torch.nn.Module):
    """1 - linear CKA of centred layers: D_ij = 1 - ‖S_jᵀ T_i‖² / (‖S_jᵀ S_j‖ ‖T_iᵀ T_i‖).

    Args:
        nodes: Nodes drawn each step; None means all.

    References:
        Kornblith et al., "Similarity of Neural Network Representations Revisited", ICML 2019,
        section 3, https://arxiv.org/abs/1905.00414
    """

    def __init__(self, nodes: int | None = None) -> None:
        super().__init__()
        self.nodes = nodes

    def forward(self, student: Pass, teacher: Pass) -> Tensor:
        """Return D, [teacher layers, student layers]."""
        nodes = draw(student, self.nodes)
        t, s = centred(teacher, nodes), centred(student, nodes)
        cross = by_layer((t.T @ s).square(), teacher)
        cross = by_layer(cross.T, student).T  # ‖S_jᵀ T_i‖²
        scale = _lengths(t, teacher).unsqueeze(1) * _lengths(s, student).unsqueeze(0)
        return 1 - cross / scale.clamp(min=torch.finfo(t.dtype).tiny)


def unexplained(
    teacher_widths: Sequence[int],
    student_widths: Sequence[int],
    dim: int = 64,
    kind: AttentionKind = "uniform",
    *,
    ridge: float = 1e-3,
    nodes: int | None = None,
) -> LayerPairs:
    """Return the term of 1 - R² for layers of these widths."""
    pairs = attention(kind, teacher_widths, student_widths, dim)
    return LayerPairs(pairs, Unexplained(ridge, nodes))


def cka(
    teacher_widths: Sequence[int],
    student_widths: Sequence[int],
    dim: int = 64,
    kind: AttentionKind = "uniform",
    *,
    nodes: int | None = None,
) -> LayerPairs:
    """Return the term of 1 - CKA for layers of these widths."""
    return LayerPairs(attention(kind, teacher_widths, student_widths, dim), CKADistance(nodes))


def centred(answer: Pass, nodes: Tensor | None) -> Tensor:
    """Return all layers side by side, centred over some nodes, or all; [nodes, Σ width]."""
    columns = answer.kept("columns", lambda: torch.cat(answer.layers, dim=1))
    if nodes is None:
        return answer.kept("centred", lambda: columns - columns.mean(dim=0))
    chosen = columns.index_select(0, nodes)
    return chosen.sub_(chosen.mean(dim=0))


def by_layer(columns: Tensor, answer: Pass) -> Tensor:
    """Return sums over the columns of each layer; the first dimension of what is given."""
    widths = _widths(answer)
    if len(set(widths)) == 1:
        return columns.unflatten(0, (len(widths), widths[0])).sum(dim=1)
    return torch.stack([part.sum(dim=0) for part in columns.split(widths)])


def _lengths(columns: Tensor, answer: Pass) -> Tensor:
    """Return ‖Hᵀ H‖ of each layer H."""
    return torch.stack([(h.T @ h).norm() for h in columns.split(_widths(answer), dim=1)])


def _widths(answer: Pass) -> list[int]:
    return [layer.shape[1] for layer in answer.layers]
