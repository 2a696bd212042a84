"""GCNConv: the layer of graph convolutional networks, as PyG spells it."""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ..graph import CSRGraph
from .common import SymmetricNorm, as_graph, glorot_, known_widths, require_plain_sum

if TYPE_CHECKING:
    from torch_geometric import nn as pyg


class GCNConv(SymmetricNorm):
    """Graph convolution: X' = D̂^(-1/2) Â D̂^(-1/2) X Θ + b, with  = A + I.

    Arguments, initialisation and state dict are those of `torch_geometric.nn.GCNConv`. What
    differs: the normalisation is a factor per node, self loops are never written into the graph,
    and the product with Θ comes before or after the aggregation, whichever moves fewer features.

    Args:
        in_channels: Width F of the input.
        out_channels: Width of the output.
        improved: Weigh added self loops by 2; as in PyG it acts on weighted graphs only.
        cached: Accepted for PyG's sake and without effect: hold a CSRGraph instead.
        add_self_loops: Whether to add self loops; None means whenever `normalize` is on.
        normalize: Whether to normalise at all.
        bias: Whether to add a bias.

    References:
        Kipf and Welling, "Semi-Supervised Classification with Graph Convolutional Networks", ICLR
        2017, equation 8, https://arxiv.org/abs/1609.02907
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        improved: bool = False,
        cached: bool = False,
        add_self_loops: bool | None = None,
        normalize: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if add_self_loops and not normalize:
            raise ValueError("add_self_loops=True needs normalize=True")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.improved, self.cached, self.normalize = improved, cached, normalize
        self.add_self_loops = normalize if add_self_loops is None else add_self_loops
        self.lin = torch.nn.Linear(in_channels, out_channels, bias=False)
        self.bias = torch.nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    @classmethod
    def from_pyg(cls, conv: "pyg.GCNConv") -> "GCNConv":
        """Return a layer with a PyG layer's settings; its parameters are still to be moved."""
        require_plain_sum(conv)
        return cls(
            known_widths(conv.in_channels, conv.lin),  # type: ignore[reportArgumentType]
            conv.out_channels,
            conv.improved,
            conv.cached,
            conv.add_self_loops,
            conv.normalize,
            conv.bias is not None,
        )

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        glorot_(self.lin.weight)
        if self.bias is not None:
            torch.nn.init.zeros_(self.bias)

    def forward(
        self, x: Tensor, edge_index: Tensor | CSRGraph, edge_weight: Tensor | None = None
    ) -> Tensor:
        """Convolve.

        Args:
            x: Node features, [N, in_channels].
            edge_index: The graph, [2, E] or a CSRGraph.
            edge_weight: Weight of each edge, [E].

        Returns:
            [N, out_channels].
        """
        graph = as_graph(edge_index, x.size(0), x.size(0))
        if self.in_channels < self.out_channels:
            return F.linear(self.propagate(graph, x, edge_weight), self.lin.weight, self.bias)
        return self.propagate(graph, self.lin(x), edge_weight, bias=self.bias)

    def extra_repr(self) -> str:
        """Describe the layer in one line."""
        return f"{self.in_channels}, {self.out_channels}"
