"""GCN2Conv: the layer of GCNII, as PyG spells it."""

from math import log
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..graph import CSRGraph
from .common import SymmetricNorm, as_graph, glorot_, require_plain_sum

if TYPE_CHECKING:
    from torch_geometric import nn as pyg


class GCN2Conv(SymmetricNorm):
    """Graph convolution with initial residual and identity mapping.

    X' = ((1-α) P̂ X + α X⁰) ((1-β) I + β Θ₁), or with two weights
    X' = (1-α) P̂ X ((1-β) I + β Θ₁) + α X⁰ ((1-β) I + β Θ₂), P̂ GCN's normalised adjacency.

    Arguments, initialisation and state dict are those of `torch_geometric.nn.GCN2Conv`.

    Args:
        channels: Width F of input and output.
        alpha: Strength α of the initial residual.
        theta: Strength θ of the identity mapping; β = log(θ / layer + 1). Without theta and layer,
            β = 1.
        layer: Depth of this layer, from 1.
        shared_weights: Whether both terms share Θ₁.
        cached: Accepted for PyG's sake and without effect: hold a CSRGraph instead.
        add_self_loops: Whether to add self loops.
        normalize: Whether to normalise the adjacency.

    References:
        Chen et al., "Simple and Deep Graph Convolutional Networks", ICML 2020, equation 5,
        https://arxiv.org/abs/2007.02133
    """

    def __init__(
        self,
        channels: int,
        alpha: float,
        theta: float | None = None,
        layer: int | None = None,
        shared_weights: bool = True,
        cached: bool = False,
        add_self_loops: bool = True,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        if (theta is None) != (layer is None):
            raise ValueError("theta and layer go together: give both or neither")
        self.channels, self.alpha, self.cached = channels, alpha, cached
        self.beta = 1.0 if theta is None or layer is None else log(theta / layer + 1)
        self.add_self_loops, self.normalize = add_self_loops and normalize, normalize
        self.weight1 = torch.nn.Parameter(torch.empty(channels, channels))
        self.weight2 = (
            None if shared_weights else torch.nn.Parameter(torch.empty(channels, channels))
        )
        self.reset_parameters()

    @classmethod
    def from_pyg(cls, conv: "pyg.GCN2Conv") -> "GCN2Conv":
        """Return a layer with a PyG layer's settings; its parameters are still to be moved."""
        require_plain_sum(conv)
        layer = cls(
            conv.channels,
            conv.alpha,
            shared_weights=conv.weight2 is None,
            cached=conv.cached,
            add_self_loops=conv.add_self_loops,
            normalize=conv.normalize,
        )
        layer.beta = conv.beta  # PyG keeps β only, not the θ and depth it came from
        return layer

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        glorot_(self.weight1)
        if self.weight2 is not None:
            glorot_(self.weight2)

    def forward(
        self,
        x: Tensor,
        x_0: Tensor,
        edge_index: Tensor | CSRGraph,
        edge_weight: Tensor | None = None,
    ) -> Tensor:
        """Convolve.

        Args:
            x: Node features, [N, channels].
            x_0: Features of the first layer, [N, channels].
            edge_index: The graph, [2, E] or a CSRGraph.
            edge_weight: Weight of each edge, [E].

        Returns:
            [N, channels].
        """
        graph = as_graph(edge_index, x.size(0), x.size(0))
        if self.weight2 is None and self.alpha != 0:
            # (1-α)/α P̂ X + X⁰, the rest of α in the product: X⁰ is added in passing, unscaled
            factor = (1 - self.alpha) / self.alpha
            x = self.propagate(graph, x, edge_weight, factor=factor, residual=x_0)
            return self._mapped(x, self.weight1, self.alpha)
        x = self.propagate(graph, x, edge_weight, factor=1 - self.alpha)
        if self.weight2 is None:
            return self._mapped(x, self.weight1)
        return self._mapped(x, self.weight1) + self._mapped(x_0, self.weight2, self.alpha)

    def _mapped(self, x: Tensor, weight: Tensor, factor: float = 1.0) -> Tensor:
        """Return factor · x ((1-β) I + β Θ)."""
        alpha, beta = factor * self.beta, factor * (1 - self.beta)
        return torch.addmm(x, x, weight, beta=beta, alpha=alpha)

    def extra_repr(self) -> str:
        """Describe the layer in one line."""
        return f"{self.channels}, alpha={self.alpha}, beta={self.beta}"
