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
    require,
    require_plain_sum,
    widths_of,
)
from .heads import join_heads, sum_attended

if TYPE_CHECKING:
    from torch_geometric import nn as pyg


class GATConv(torch.nn.Module):
    """Graph attention: x'_i = Σ_j α_ij Θ x_j, α = softmax_j LeakyReLU(a_s·Θx_j + a_d·Θx_i).

    Arguments, initialisation and state dict are those of `torch_geometric.nn.GATConv`; edge
    features (`edge_dim`) are not covered. With `dropout` in training the attention of size [E, H]
    is written out, otherwise it never is.

    Args:
        in_channels: Width of the input, or (source, destination) widths of a bipartite graph.
        out_channels: Width C of one head.
        heads: Number of heads H.
        concat: Whether heads are concatenated, else averaged.
        negative_slope: Slope of the LeakyReLU below zero.
        dropout: Probability with which an attention coefficient is dropped in training.
        add_self_loops: Whether each node attends to itself.
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
        bias: bool = True,
        residual: bool = False,
    ) -> None:
        super().__init__()
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
        self.res = torch.nn.Linear(target, total, bias=False) if residual else None
        self.bias = torch.nn.Parameter(torch.empty(total)) if bias else None
        self.reset_parameters()

    @classmethod
    def from_pyg(cls, conv: "pyg.GATConv") -> "GATConv":
        """Return a layer with a PyG layer's settings; its parameters are still to be moved."""
        require_plain_sum(conv)
        require(conv.edge_dim is None, f"edge_dim={conv.edge_dim}: edge features are not covered")
        linears: Any = (conv.lin,) if conv.lin is not None else (conv.lin_src, conv.lin_dst)
        return cls(
            known_widths(conv.in_channels, *linears),
            conv.out_channels,
            conv.heads,
            conv.concat,
            conv.negative_slope,
            conv.dropout,
            conv.add_self_loops,
            conv.bias is not None,
            conv.residual,
        )

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for layer in (self.lin, self.lin_src, self.lin_dst, self.res):
            if layer is not None:
                glorot_(layer.weight)
        glorot_(self.att_src)
        glorot_(self.att_dst)
        if self.bias is not None:
            torch.nn.init.zeros_(self.bias)

    def forward(
        self,
        x: Tensor | tuple[Tensor, Tensor],
        edge_index: Tensor | CSRGraph,
        edge_attr: Tensor | None = None,
        size: tuple[int, int] | None = None,
    ) -> Tensor:
        """Attend.

        Args:
            x: Node features [N, F], or source [M, F_s] and destination [N, F_d] features.
            edge_index: The graph, [2, E] or a CSRGraph.
            edge_attr: Must be None; PyG's layer without `edge_dim` ignores it.
            size: Must agree with x where it is given.

        Returns:
            [N, heads · out_channels], or [N, out_channels] without `concat`.
        """
        x_src, x_dst = (x, x) if isinstance(x, Tensor) else x
        num_src, num_dst = x_src.size(0), x_dst.size(0)
        check_size(size, num_src, num_dst)
        graph = as_graph(edge_index, num_src, num_dst)
        h_src, alpha_src, alpha_dst = self._transform(x_src, x_dst)
        bias = self.bias if self.concat else None
        out = self._attend(graph, h_src, alpha_src, alpha_dst, bias)
        if not self.concat:
            out = join_heads(out, self.heads, self.bias)
        return out if self.res is None else out + self.res(x_dst)

    def _transform(self, x_src: Tensor, x_dst: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return Θx [M, H · C] and both scores, [M, H] and [N, H]."""
        if self.lin is not None:
            h_src = self.lin(x_src)
            h_dst = h_src if x_src is x_dst else self.lin(x_dst)
        else:
            assert self.lin_src is not None
            assert self.lin_dst is not None
            h_src, h_dst = self.lin_src(x_src), self.lin_dst(x_dst)
        alpha_src = h_src @ _block_diagonal(self.att_src)
        alpha_dst = h_dst @ _block_diagonal(self.att_dst)
        return h_src, alpha_src, alpha_dst

    def _attend(
        self,
        graph: CSRGraph,
        h: Tensor,
        alpha_src: Tensor,
        alpha_dst: Tensor,
        bias: Tensor | None,
    ) -> Tensor:
        settings = {"negative_slope": self.negative_slope, "add_self_loops": self.add_self_loops}
        if not (self.training and self.dropout > 0):
            return functional.gat(graph, h, alpha_src, alpha_dst, bias=bias, **settings)
        attention, own = functional.gat_attention(graph, alpha_src, alpha_dst, **settings)
        return sum_attended(graph, h, attention, own, self.dropout, bias)

    def extra_repr(self) -> str:
        """Describe the layer in one line."""
        return f"{self.in_channels}, {self.out_channels}, heads={self.heads}"


def _block_diagonal(att: Tensor) -> Tensor:
    """Return [H·C, H]: a product with it is the sum over channels of att · h, head by head."""
    heads = att.shape[1]
    identity = torch.eye(heads, dtype=att.dtype, device=att.device)
    return (att[0].unsqueeze(-1) * identity.unsqueeze(1)).reshape(-1, heads)
