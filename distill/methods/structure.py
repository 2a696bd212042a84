"""LSP and GSP: similarities between nodes, along edges or between any two."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ...kernels import CSRGraph, reference
from ..data import Observed
from ..losses import Pass, Term, given
from .projections import drawn

Kernel = Literal["rbf", "l2", "cosine", "poly"]
EdgeKernel = Callable[[Tensor, CSRGraph], Tensor]

KERNELS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "rbf": lambda a, b: (-0.5 * (a - b).square().sum(dim=-1)).exp(),
    "l2": lambda a, b: (a - b).norm(dim=-1),
    "cosine": lambda a, b: F.cosine_similarity(a, b, dim=-1),
    "poly": lambda a, b: F.cosine_similarity(a, b, dim=-1).square(),
}

# the same along the edges of a graph, [E] in CSR order, without gathering both ends where that can
# be helped
EDGE_KERNELS: dict[str, EdgeKernel] = {
    "rbf": lambda h, graph: (_products(h, graph) - _at_both_ends(_half_square(h), graph)).exp(),
    "l2": lambda h, graph: KERNELS["l2"](h[graph.col], h[_row(graph)]),
    "cosine": lambda h, graph: _products(F.normalize(h, dim=-1), graph),
    "poly": lambda h, graph: _products(F.normalize(h, dim=-1), graph).square(),
}


class LSP(Term):
    """Local structure: each node's similarities to its in-neighbours, as a distribution.

        p_e  = softmax over the in-edges of i of K(h[col[e]], h[i])
        loss = (1 / E) Σ_e p_e^teacher (log p_e^teacher - log p_e^student)

    Args:
        kernel: K: "rbf" exp(-½‖a - b‖²), "l2" ‖a - b‖, "cosine", or "poly", its square.

    References:
        Yang et al., "Distilling Knowledge from Graph Convolutional Networks", CVPR 2020,
        equations 2-6, https://arxiv.org/abs/2003.10477; mean over edges as in Joshi et al.,
        https://arxiv.org/abs/2111.04964
    """

    over_edges = True

    def __init__(self, kernel: Kernel = "rbf") -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, student: Pass, teacher: Pass | None, data: Observed) -> Tensor:
        """Return the mean over all edges."""
        kernel, taught = EDGE_KERNELS[self.kernel], given(teacher)
        own = local_structure(student.last_hidden, data.edges, kernel)
        other = taught.kept(
            ("local structure", self.kernel),
            lambda: local_structure(taught.last_hidden, data.edges, kernel).detach(),
        )
        return divergence(own, other).sum() / max(data.edges.num_edges, 1)


class GSP(Term):
    """Global structure: the similarities of any two nodes, mean of their squared difference.

        loss = mean over pairs of (K(s[u], s[v]) - K(t[u], t[v]))²

    Args:
        kernel: K, as in `LSP`.
        nodes: Most nodes that are compared, drawn each step.

    References:
        Joshi et al., "On Representation Knowledge Distillation for Graph Neural Networks", IEEE
        TNNLS 2022, equation 6, https://arxiv.org/abs/2111.04964
    """

    def __init__(self, kernel: Kernel = "rbf", nodes: int = 512) -> None:
        super().__init__()
        self.kernel = kernel
        self.nodes = nodes

    def forward(self, student: Pass, teacher: Pass | None, data: Observed) -> Tensor:
        """Return the mean over all pairs of the nodes that were drawn."""
        own, other = drawn(student, given(teacher), self.nodes)
        return F.mse_loss(self._similar(own), self._similar(other))

    def _similar(self, layer: Tensor) -> Tensor:
        return KERNELS[self.kernel](layer.unsqueeze(0), layer.unsqueeze(1))


def local_structure(layer: Tensor, graph: CSRGraph, kernel: EdgeKernel) -> Tensor:
    """Return softmax of K(h[source], h[destination]) over each node's in-edges, [E], CSR order."""
    similarity = kernel(layer, graph).unsqueeze(-1)
    return torch.ops.graphstill.edge_softmax(graph.rowptr, similarity).squeeze(-1)


def _products(layer: Tensor, graph: CSRGraph) -> Tensor:
    return torch.ops.graphstill.sddmm(graph.rowptr, graph.col, layer, layer, 1).squeeze(-1)


def _half_square(layer: Tensor) -> Tensor:
    return 0.5 * layer.square().sum(dim=-1)


def _at_both_ends(value: Tensor, graph: CSRGraph) -> Tensor:
    return value[graph.col] + value[_row(graph)]


def _row(graph: CSRGraph) -> Tensor:
    return reference.rows(graph.rowptr, graph.num_edges)


def divergence(own: Tensor, other: Tensor) -> Tensor:
    """Return p log(p / q) of each edge, p being the other's structure, which is not trained."""
    tiny = torch.finfo(own.dtype).tiny
    p = other.detach()
    return p * (p.clamp(min=tiny).log() - own.clamp(min=tiny).log())
