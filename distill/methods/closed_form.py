"""Dissimilarities without projections: nothing can be trained to look alike but the student.

A trainable projection, or a mean over nodes, can be brought near its target without moving the
student. These two cannot: they compare layers node by node, up to what a linear map may change.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from .pairs import AttentionKind, LayerPairs, attention, draw, sampled


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

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """Return D, [teacher layers, student layers]."""
        nodes = draw(student[0], self.nodes)
        layers = sampled(teacher, nodes)
        # all teacher layers side by side: one product for each student layer
        targets, owner = side_by_side(layers)
        variance = _by_layer(targets.square().sum(dim=0), owner, len(layers))
        explained = [
            _by_layer(self._explained(layer, targets), owner, len(layers))
            for layer in sampled(student, nodes)
        ]
        tiny = torch.finfo(targets.dtype).tiny
        return 1 - torch.stack(explained, dim=1) / variance.clamp(min=tiny).unsqueeze(1)

    def _explained(self, layer: Tensor, targets: Tensor) -> Tensor:
        """Return ‖t‖² - ‖t - S b‖² of each column t, [Σ d_i]."""
        centred = layer - layer.mean(dim=0)
        gram = (centred.T @ centred).double()
        cross = (centred.T @ targets).double()
        penalty = self.ridge * gram.trace() / gram.shape[0] + torch.finfo(layer.dtype).tiny
        eye = torch.eye(gram.shape[0], dtype=gram.dtype, device=gram.device)
        b = torch.linalg.solve(gram + penalty * eye, cross)
        return ((2 * cross - gram @ b) * b).sum(dim=0).to(layer.dtype)


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

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """Return D, [teacher layers, student layers]."""
        nodes = draw(student[0], self.nodes)
        t, t_owner = side_by_side(sampled(teacher, nodes))
        s, s_owner = side_by_side(sampled(student, nodes))
        shape = (len(teacher), len(student))
        cross = _by_layer((t.T @ s).square(), t_owner, shape[0])
        cross = _by_layer(cross.T, s_owner, shape[1]).T  # ‖S_jᵀ T_i‖²
        scale = _lengths(t, t_owner).unsqueeze(1) * _lengths(s, s_owner).unsqueeze(0)
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


def side_by_side(layers: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return layers centred over nodes, [nodes, Σ width], and which layer a column belongs to."""
    columns = torch.cat([layer - layer.mean(dim=0) for layer in layers], dim=1)
    numbers = torch.arange(len(layers), device=columns.device)
    widths = torch.tensor([layer.shape[1] for layer in layers], device=columns.device)
    return columns, torch.repeat_interleave(numbers, widths)


def _by_layer(columns: Tensor, owner: Tensor, layers: int) -> Tensor:
    """Return sums over the columns of each layer; the first dimension of what is given."""
    return columns.new_zeros(layers, *columns.shape[1:]).index_add(0, owner, columns)


def _lengths(columns: Tensor, owner: Tensor) -> Tensor:
    """Return ‖Hᵀ H‖ of each layer H."""
    layers = columns.split(owner.bincount().tolist(), dim=1)
    return torch.stack([(layer.T @ layer).norm() for layer in layers])
