"""GraphConv: the layer of k-GNNs, as PyG spells it."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..graph import CSRGraph
from .common import (
    REDUCTIONS,
    UnsupportedError,
    as_graph,
    known_widths,
    require_default_flow,
    sum_and_root,
    widths_of,
)

if TYPE_CHECKING:
    from torch_geometric import nn as pyg


class GraphConv(torch.nn.Module):
    """Graph convolution of k-GNNs: x'_i = W_1 x_i + W_2 Σ_{j ∈ N(i)} e_ji x_j.

    Arguments, initialisation and state dict are those of `torch_geometric.nn.GraphConv`. What
    differs: for sums and means the product with W_2 comes before or after the aggregation,
    whichever moves fewer features.

    Args:
        in_channels: Width of the input, or (source, destination) widths of a bipartite graph.
        out_channels: Width of the output.
        aggr: "add" or "sum", "mean", "max", "min".
        bias: Whether to add a bias.

    References:
        Morris et al., "Weisfeiler and Leman Go Neural: Higher-order Graph Neural Networks", AAAI
        2019, equation 3, https://arxiv.org/abs/1810.02244
    """

    def __init__(
        self,
        in_channels: int | tuple[int, int],
        out_channels: int,
        aggr: str = "add",
        bias: bool = True,
    ) -> None:
        super().__init__()
        if aggr not in REDUCTIONS:
            raise ValueError(f"aggr must be one of {', '.join(REDUCTIONS)}, got {aggr!r}")
        self.in_channels, self.out_channels, self.aggr = in_channels, out_channels, aggr
        source, target = widths_of(in_channels)
        self.lin_rel = torch.nn.Linear(source, out_channels, bias=bias)
        self.lin_root = torch.nn.Linear(target, out_channels, bias=False)

    @classmethod
    def from_pyg(cls, conv: "pyg.GraphConv") -> "GraphConv":
        """Return a layer with a PyG layer's settings; its parameters are still to be moved."""
        require_default_flow(conv)
        aggr = conv.aggr
        if not isinstance(aggr, str) or aggr not in REDUCTIONS:
            raise UnsupportedError(f"aggr={aggr!r} is not one of {', '.join(REDUCTIONS)}")
        widths = known_widths(conv.in_channels, conv.lin_rel, conv.lin_root)
        return cls(widths, conv.out_channels, aggr, conv.lin_rel.bias is not None)

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        self.lin_rel.reset_parameters()
        self.lin_root.reset_parameters()

    def forward(
        self,
        x: Tensor | tuple[Tensor, Tensor | None],
        edge_index: Tensor | CSRGraph,
        edge_weight: Tensor | None = None,
        size: tuple[int, int] | None = None,
    ) -> Tensor:
        """Convolve.

        Args:
            x: Node features [N, F], or source [M, F_s] and destination [N, F_d] features.
            edge_index: The graph, [2, E] or a CSRGraph.
            edge_weight: Weight of each edge, [E].
            size: (num_src, num_dst), needed where a bipartite call has no destination features.

        Returns:
            [N, out_channels].
        """
        source, target = x if isinstance(x, (tuple, list)) else (x, x)
        num_dst = size[1] if size is not None else (source if target is None else target).size(0)
        graph = as_graph(edge_index, source.size(0), num_dst)
        reduce = REDUCTIONS[self.aggr]
        return sum_and_root(graph, source, target, self.lin_rel, self.lin_root, reduce, edge_weight)

    def extra_repr(self) -> str:
        """Describe the layer in one line."""
        return f"{self.in_channels}, {self.out_channels}, aggr={self.aggr}"
