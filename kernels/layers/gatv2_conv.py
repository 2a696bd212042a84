"""GATv2Conv: attention whose ranking of neighbours depends on who asks, as PyG spells it."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .. import functional
from ..graph import CSRGraph
from .common import (
    as_graph,
    glorot_,
    known_widths,
    require_plain_sum,
    widths_of,
)
from .heads import (
    Weights,
    attention_weights,
    checked_fill,
    edge_features,
    join_heads,
    loop_features,
    sum_attended,
)

if TYPE_CHECKING:
    from torch_geometric import nn as pyg


class GATv2Conv(torch.nn.Module):
    """Graph attention: x'_i = Σ_j α_ij Θ_l x_j, α = softmax_j a · LeakyReLU(Θ_l x_j + Θ_r x_i).

    Arguments, initialisation and state dict are those of `torch_geometric.nn.GATv2Conv`. With
    features of edges, with `dropout` in training and where it is asked for, the attention of size
    [E, H] and the sums of both ends, [E, H · C], are written out, otherwise they never are.

    Args:
        in_channels: Width of the input, or (source, destination) widths of a bipartite graph.
        out_channels: Width C of one head.
        heads: Number of heads H.
        concat: Whether heads are concatenated, else averaged.
        negative_slope: Slope of the LeakyReLU below zero.
        dropout: Probability with which an attention coefficient is dropped in training.
        add_self_loops: Whether each node attends to itself.
        edge_dim: Width of the edges' features, whose Θ_e e_ij is added to the ends, or None.
        fill_value: Features of the self loops that are added: "mean" of a node's other in-edges,
            or their value, a number or [edge_dim].
        bias: Whether to add biases.
        share_weights: Whether Θ_l and Θ_r are one.
        residual: Whether to add a learned skip connection.

    References:
        Brody et al., "How Attentive are Graph Attention Networks?", ICLR 2022,
        https://arxiv.org/abs/2105.14491
    """

    def __init__(
        self,
        in_channels: int | tuple[int, int],
        out_channels: int,
        heads: int = 1,
        concat: bool = True,
        negative_slope: float = 0.2,
        dropout: float = 0.0,
        add_self_loops: bool = True,
        edge_dim: int | None = None,
        fill_value: float | Tensor | str = "mean",
        bias: bool = True,
        share_weights: bool = False,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.edge_dim, self.fill_value = edge_dim, checked_fill(fill_value)
        self.in_channels, self.out_channels, self.heads = in_channels, out_channels, heads
        self.concat, self.negative_slope, self.dropout = concat, negative_slope, dropout
        self.add_self_loops, self.share_weights = add_self_loops, share_weights
        source, target = widths_of(in_channels)
        width, total = heads * out_channels, out_channels * (heads if concat else 1)
        self.lin_l = torch.nn.Linear(source, width, bias=bias)
        self.lin_r = self.lin_l if share_weights else torch.nn.Linear(target, width, bias=bias)
        self.att = torch.nn.Parameter(torch.empty(1, heads, out_channels))
        self.lin_edge = None
        if edge_dim is not None:
            self.lin_edge = torch.nn.Linear(edge_dim, width, bias=False)
        self.res = torch.nn.Linear(target, total, bias=False) if residual else None
        self.bias = torch.nn.Parameter(torch.empty(total)) if bias else None
        self.reset_parameters()

    @classmethod
    def from_pyg(cls, conv: "pyg.GATv2Conv") -> "GATv2Conv":
        """Return a layer with a PyG layer's settings; its parameters are still to be moved."""
        require_plain_sum(conv)
        return cls(
            known_widths(conv.in_channels, conv.lin_l, conv.lin_r),
            conv.out_channels,
            conv.heads,
            conv.concat,
            conv.negative_slope,
            conv.dropout,
            conv.add_self_loops,
            conv.edge_dim,
            conv.fill_value,
            conv.bias is not None,
            conv.share_weights,
            conv.res is not None,
        )

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for layer in (self.lin_l, self.lin_r, self.lin_edge, self.res):
            if layer is not None:
                layer.reset_parameters()  # the bias
                glorot_(layer.weight)
        glorot_(self.att)
        if self.bias is not None:
            torch.nn.init.zeros_(self.bias)

    def forward(
        self,
        x: Tensor | tuple[Tensor, Tensor],
        edge_index: Tensor | CSRGraph,
        edge_attr: Tensor | None = None,
        return_attention_weights: bool | None = None,
    ) -> Tensor | tuple[Tensor, Weights]:
        """Attend.

        Args:
            x: Node features [N, F], or source [M, F_s] and destination [N, F_d] features.
            edge_index: The graph, [2, E] or a CSRGraph.
            edge_attr: Features of the edges, [E, edge_dim].
            return_attention_weights: Whether to return the edges, self loops last, and their
                attention [E, H] too.

        Returns:
            [N, heads · out_channels], or [N, out_channels] without `concat`.
        """
        x_src, x_dst = (x, x) if isinstance(x, Tensor) else x
        graph = as_graph(edge_index, x_src.size(0), x_dst.size(0))
        x_l = self.lin_l(x_src)
        x_r = x_l if self.share_weights and x_src is x_dst else self.lin_r(x_dst)
        ends, bias = (graph, x_l, x_r, self.att[0]), self.bias if self.concat else None
        dropped, weights = self.training and self.dropout > 0, None
        settings = {"negative_slope": self.negative_slope, "add_self_loops": self.add_self_loops}
        if dropped or edge_attr is not None or return_attention_weights:
            edge, loop = self._edges(graph, edge_attr)
            written = functional.gatv2_attention(*ends, edge=edge, loop=loop, **settings)
            out = sum_attended(graph, x_l, *written, self.dropout if dropped else 0.0, bias)
            weights = attention_weights(graph, *written) if return_attention_weights else None
        else:
            out = functional.gatv2(*ends, bias=bias, **settings)
        if not self.concat:
            out = join_heads(out, self.heads, self.bias)
        out = out if self.res is None else out + self.res(x_dst)
        return out if weights is None else (out, weights)

    def _edges(
        self, graph: CSRGraph, edge_attr: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return Θ_e e of the edges, [E, H · C] in CSR order, and of self loops, [N, H · C]."""
        if edge_attr is None:
            return None, None
        if self.lin_edge is None or self.edge_dim is None:
            raise ValueError("edge_attr is given to a layer without edge_dim")
        edge = self.lin_edge(edge_features(graph, edge_attr, self.edge_dim))
        if not self.add_self_loops:
            return edge, None
        return edge, loop_features(graph, edge, self.fill_value, self.lin_edge.weight.t())

    def extra_repr(self) -> str:
        """Describe the layer in one line."""
        return f"{self.in_channels}, {self.out_channels}, heads={self.heads}"
