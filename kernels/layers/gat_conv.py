"""GATConv: the layer of graph attention networks, as PyG spells it."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .. import functional
from ..graph import CSRGraph
from .common import (
    as_graph,
    check_size,
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


class GATConv(torch.nn.Module):
    """Graph attention: x'_i = Σ_j α_ij Θ x_j, α = softmax_j LeakyReLU(a_s·Θx_j + a_d·Θx_i).

    Arguments, initialisation and state dict are those of `torch_geometric.nn.GATConv`. With
    features of edges, with `dropout` in training and where it is asked for, the attention of size
    [E, H] is written out, otherwise it never is.

    Args:
        in_channels: Width of the input, or (source, destination) widths of a bipartite graph.
        out_channels: Width C of one head.
        heads: Number of heads H.
        concat: Whether heads are concatenated, else averaged.
        negative_slope: Slope of the LeakyReLU below zero.
        dropout: Probability with which an attention coefficient is dropped in training.
        add_self_loops: Whether each node attends to itself.
        edge_dim: Width of the edges' features, which a_e · Θ_e e_ij adds to the scores, or None.
        fill_value: Features of the self loops that are added: "mean" of a node's other in-edges,
            or their value, a number or [edge_dim].
        bias: Whether to add a bias.
        residual: Whether to add a learned skip connection.

    References:
        Veličković et al., "Graph Attention Networks", ICLR 2018, https://arxiv.org/abs/1710.10903
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
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.edge_dim, self.fill_value = edge_dim, checked_fill(fill_value)
        self.in_channels, self.out_channels, self.heads = in_channels, out_channels, heads
        self.concat, self.negative_slope, self.dropout = concat, negative_slope, dropout
        self.add_self_loops, self.residual = add_self_loops, residual
        width, total = heads * out_channels, out_channels * (heads if concat else 1)
        source, target = widths_of(in_channels)
        self.lin = self.lin_src = self.lin_dst = None
        if isinstance(in_channels, int):
            self.lin = torch.nn.Linear(source, width, bias=False)
        else:
            self.lin_src = torch.nn.Linear(source, width, bias=False)
            self.lin_dst = torch.nn.Linear(target, width, bias=False)
        self.att_src = torch.nn.Parameter(torch.empty(1, heads, out_channels))
        self.att_dst = torch.nn.Parameter(torch.empty(1, heads, out_channels))
        self.lin_edge = self.att_edge = None
        if edge_dim is not None:
            self.lin_edge = torch.nn.Linear(edge_dim, width, bias=False)
            self.att_edge = torch.nn.Parameter(torch.empty(1, heads, out_channels))
        self.res = torch.nn.Linear(target, total, bias=False) if residual else None
        self.bias = torch.nn.Parameter(torch.empty(total)) if bias else None
        self.reset_parameters()

    @classmethod
    def from_pyg(cls, conv: "pyg.GATConv") -> "GATConv":
        """Return a layer with a PyG layer's settings; its parameters are still to be moved."""
        require_plain_sum(conv)
        linears: Any = (conv.lin,) if conv.lin is not None else (conv.lin_src, conv.lin_dst)
        return cls(
            known_widths(conv.in_channels, *linears),
            conv.out_channels,
            conv.heads,
            conv.concat,
            conv.negative_slope,
            conv.dropout,
            conv.add_self_loops,
            conv.edge_dim,
            conv.fill_value,
            conv.bias is not None,
            conv.residual,
        )

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for layer in (self.lin, self.lin_src, self.lin_dst, self.lin_edge, self.res):
            if layer is not None:
                glorot_(layer.weight)
        for att in (self.att_src, self.att_dst, self.att_edge):
            if att is not None:
                glorot_(att)
        if self.bias is not None:
            torch.nn.init.zeros_(self.bias)

    def forward(
        self,
        x: Tensor | tuple[Tensor, Tensor],
        edge_index: Tensor | CSRGraph,
        edge_attr: Tensor | None = None,
        size: tuple[int, int] | None = None,
        return_attention_weights: bool | None = None,
    ) -> Tensor | tuple[Tensor, Weights]:
        """Attend.

        Args:
            x: Node features [N, F], or source [M, F_s] and destination [N, F_d] features.
            edge_index: The graph, [2, E] or a CSRGraph.
            edge_attr: Features of the edges, [E, edge_dim]; without effect without `edge_dim`.
            size: Must agree with x where it is given.
            return_attention_weights: Whether to return the edges, self loops last, and their
                attention [E, H] too.

        Returns:
            [N, heads · out_channels], or [N, out_channels] without `concat`.
        """
        x_src, x_dst = x if isinstance(x, (tuple, list)) else (x, x)
        num_src, num_dst = x_src.size(0), x_dst.size(0)
        check_size(size, num_src, num_dst)
        graph = as_graph(edge_index, num_src, num_dst)
        h_src, *scores = self._transform(x_src, x_dst)
        bias = self.bias if self.concat else None
        dropped = self.training and self.dropout > 0
        settings = {"negative_slope": self.negative_slope, "add_self_loops": self.add_self_loops}
        weights = None
        edge, loop = self._edge_scores(graph, edge_attr)
        if dropped or edge is not None or return_attention_weights:
            written = functional.gat_attention(graph, *scores, edge=edge, loop=loop, **settings)
            out = sum_attended(graph, h_src, *written, self.dropout if dropped else 0.0, bias)
            weights = attention_weights(graph, *written) if return_attention_weights else None
        else:
            out = functional.gat(graph, h_src, *scores, bias=bias, **settings)
        if not self.concat:
            out = join_heads(out, self.heads, self.bias)
        out = out if self.res is None else out + self.res(x_dst)
        return out if weights is None else (out, weights)

    def _edge_scores(
        self, graph: CSRGraph, edge_attr: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return what edges, [E, H] in CSR order, and self loops, [N, H], add to the scores."""
        if edge_attr is None or self.lin_edge is None:
            return None, None
        assert self.att_edge is not None
        assert self.edge_dim is not None
        weight = self.lin_edge.weight.t() @ _block_diagonal(self.att_edge)  # [D, H]
        edge = edge_features(graph, edge_attr, self.edge_dim) @ weight
        if not self.add_self_loops:
            return edge, None
        return edge, loop_features(graph, edge, self.fill_value, weight)

    def _transform(self, x_src: Tensor, x_dst: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return Θx [M, H · C] and both scores, [M, H] and [N, H]."""
        if self.lin is not None:
            h_src = self.lin(x_src)
            h_dst = h_src if x_src is x_dst else self.lin(x_dst)
        else:
            assert self.lin_src is not None
            assert self.lin_dst is not None
            h_src, h_dst = self.lin_src(x_src), self.lin_dst(x_dst)
        by_src, by_dst = _block_diagonal(self.att_src), _block_diagonal(self.att_dst)
        if h_src is not h_dst:
            return h_src, h_src @ by_src, h_dst @ by_dst
        both = h_src @ torch.cat([by_src, by_dst], dim=1)  # one pass over h, and over its gradient
        return h_src, both[:, : self.heads], both[:, self.heads :]

    def extra_repr(self) -> str:
        """Describe the layer in one line."""
        return f"{self.in_channels}, {self.out_channels}, heads={self.heads}"


def _block_diagonal(att: Tensor) -> Tensor:
    """Return [H·C, H]: a product with it is the sum over channels of att · h, head by head."""
    heads = att.shape[1]
    identity = torch.eye(heads, dtype=att.dtype, device=att.device)
    return (att[0].unsqueeze(-1) * identity.unsqueeze(1)).reshape(-1, heads)
