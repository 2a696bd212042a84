"""SAGEConv: the layer of GraphSAGE, as PyG spells it."""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
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


class SAGEConv(torch.nn.Module):
    """GraphSAGE: x'_i = W_l · mean_{j ∈ N(i)} x_j + W_r x_i, or with another aggregation.

    Arguments, initialisation and state dict are those of `torch_geometric.nn.SAGEConv`. What
    differs: for means and sums the product with W_l comes before or after the aggregation,
    whichever moves fewer features. The paper's pooling is `aggr="max"` with `project=True`.

    Args:
        in_channels: Width of the input, or (source, destination) widths of a bipartite graph.
        out_channels: Width of the output.
        aggr: "mean", "add" or "sum", "max", "min".
        normalize: Whether to scale each output row to length 1.
        root_weight: Whether to add W_r x_i.
        project: Whether to send source features through a linear layer and a ReLU first.
        bias: Whether to add a bias.

    References:
        Hamilton et al., "Inductive Representation Learning on Large Graphs", NeurIPS 2017,
        algorithm 1, https://arxiv.org/abs/1706.02216
    """

    def __init__(
        self,
        in_channels: int | tuple[int, int],
        out_channels: int,
        aggr: str = "mean",
        normalize: bool = False,
        root_weight: bool = True,
        project: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if aggr not in REDUCTIONS:
            raise ValueError(f"aggr must be one of {', '.join(REDUCTIONS)}, got {aggr!r}")
        self.in_channels, self.out_channels, self.aggr = in_channels, out_channels, aggr
        self.normalize, self.root_weight, self.project = normalize, root_weight, project
        source, target = widths_of(in_channels)
        if project:
            self.lin = torch.nn.Linear(source, source)
        self.lin_l = torch.nn.Linear(source, out_channels, bias=bias)
        if root_weight:
            self.lin_r = torch.nn.Linear(target, out_channels, bias=False)

    @classmethod
    def from_pyg(cls, conv: "pyg.SAGEConv") -> "SAGEConv":
        """Return a layer with a PyG layer's settings; its parameters are still to be moved."""
        require_default_flow(conv)
        aggr, target = conv.aggr, conv.lin_r if conv.root_weight else None
        if not isinstance(aggr, str) or aggr not in REDUCTIONS:
            raise UnsupportedError(f"aggr={aggr!r} is not one of {', '.join(REDUCTIONS)}")
        return cls(
            known_widths(conv.in_channels, conv.lin_l, target),
            conv.out_channels,
            aggr,
            conv.normalize,
            conv.root_weight,
            conv.project,
            conv.lin_l.bias is not None,
        )

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for layer in self.children():
            assert isinstance(layer, torch.nn.Linear)
            layer.reset_parameters()

    def forward(
        self,
        x: Tensor | tuple[Tensor, Tensor | None],
        edge_index: Tensor | CSRGraph,
        size: tuple[int, int] | None = None,
    ) -> Tensor:
        """Convolve.

        Args:
            x: Node features [N, F], or source [M, F_s] and destination [N, F_d] features.
            edge_index: The graph, [2, E] or a CSRGraph.
            size: (num_src, num_dst), needed where a bipartite call has no destination features.

        Returns:
            [N, out_channels].
        """
        source, target = x if isinstance(x, (tuple, list)) else (x, x)
        num_dst = size[1] if size is not None else (source if target is None else target).size(0)
        graph = as_graph(edge_index, source.size(0), num_dst)
        if self.project:
            source = self.lin(source).relu()
        root, reduce = self.lin_r if self.root_weight else None, REDUCTIONS[self.aggr]
        out = sum_and_root(graph, source, target, self.lin_l, root, reduce)
        return F.normalize(out, p=2.0, dim=-1) if self.normalize else out

    def extra_repr(self) -> str:
        """Describe the layer in one line."""
        return f"{self.in_channels}, {self.out_channels}, aggr={self.aggr}"
