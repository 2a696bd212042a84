"""TransformerConv: dot-product attention over neighbours, as PyG spells it."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .. import functional
from ..graph import CSRGraph
from .common import as_graph, known_widths, require, require_plain_sum, widths_of
from .heads import join_heads, sum_attended

if TYPE_CHECKING:
    from torch_geometric import nn as pyg


class TransformerConv(torch.nn.Module):
    """Attention: x'_i = W_s x_i + Σ_j α_ij W_v x_j, α = softmax_j (W_q x_i · W_k x_j) / √C.

    Arguments, initialisation and state dict are those of `torch_geometric.nn.TransformerConv`;
    edge features (`edge_dim`) are not covered.

    Args:
        in_channels: Width of the input, or (source, destination) widths of a bipartite graph.
        out_channels: Width C of one head.
        heads: Number of heads H.
        concat: Whether heads are concatenated, else averaged.
        beta: Whether a learned gate weighs the skip connection against the attention.
        dropout: Probability with which an attention coefficient is dropped in training.
        bias: Whether to add biases.
        root_weight: Whether to add W_s x_i.

    References:
        Shi et al., "Masked Label Prediction: Unified Message Passing Model for Semi-Supervised
        Classification", IJCAI 2021, https://arxiv.org/abs/2009.03509
    """

    def __init__(
        self,
        in_channels: int | tuple[int, int],
        out_channels: int,
        heads: int = 1,
        concat: bool = True,
        beta: bool = False,
        dropout: float = 0.0,
        bias: bool = True,
        root_weight: bool = True,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.heads = in_channels, out_channels, heads
        self.concat, self.dropout, self.root_weight = concat, dropout, root_weight
        self.beta = beta and root_weight
        source, target = widths_of(in_channels)
        width, total = heads * out_channels, out_channels * (heads if concat else 1)
        self.lin_key = torch.nn.Linear(source, width, bias=bias)
        self.lin_query = torch.nn.Linear(target, width, bias=bias)
        self.lin_value = torch.nn.Linear(source, width, bias=bias)
        self.lin_skip = torch.nn.Linear(target, total, bias=bias)
        self.lin_beta = torch.nn.Linear(3 * total, 1, bias=False) if self.beta else None

    @classmethod
    def from_pyg(cls, conv: "pyg.TransformerConv") -> "TransformerConv":
        """Return a layer with a PyG layer's settings; its parameters are still to be moved."""
        require_plain_sum(conv)
        require(conv.edge_dim is None, f"edge_dim={conv.edge_dim}: edge features are not covered")
        return cls(
            known_widths(conv.in_channels, conv.lin_key, conv.lin_query),
            conv.out_channels,
            conv.heads,
            conv.concat,
            conv.beta,
            conv.dropout,
            conv.lin_key.bias is not None,
            conv.root_weight,
        )

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for layer in self.children():
            assert isinstance(layer, torch.nn.Linear)
            layer.reset_parameters()

    def forward(
        self,
        x: Tensor | tuple[Tensor, Tensor],
        edge_index: Tensor | CSRGraph,
        edge_attr: Tensor | None = None,
    ) -> Tensor:
        """Attend.

        Args:
            x: Node features [N, F], or source [M, F_s] and destination [N, F_d] features.
            edge_index: The graph, [2, E] or a CSRGraph.
            edge_attr: Must be None: edge features are not covered.

        Returns:
            [N, heads · out_channels], or [N, out_channels] without `concat`.
        """
        if edge_attr is not None:
            raise ValueError("edge_attr is given, but edge features are not covered here")
        x_src, x_dst = (x, x) if isinstance(x, Tensor) else x
        graph = as_graph(edge_index, x_src.size(0), x_dst.size(0))
        query, key, value = self.lin_query(x_dst), self.lin_key(x_src), self.lin_value(x_src)
        out = self._attend(graph, query, key, value)
        if not self.concat:
            out = join_heads(out, self.heads)
        if not self.root_weight:
            return out
        skip = self.lin_skip(x_dst)
        if self.lin_beta is None:
            return out + skip
        gate = self.lin_beta(torch.cat([out, skip, out - skip], dim=-1)).sigmoid()
        return gate * skip + (1 - gate) * out

    def _attend(self, graph: CSRGraph, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        if not (self.training and self.dropout > 0):
            return functional.dot_attention(graph, query, key, value, heads=self.heads)
        attention = functional.dot_attention_weights(graph, query, key, heads=self.heads)
        return sum_attended(graph, value, attention, None, self.dropout)

    def extra_repr(self) -> str:
        """Describe the layer in one line."""
        return f"{self.in_channels}, {self.out_channels}, heads={self.heads}"
