"""TransformerConv: dot-product attention over neighbours, as PyG spells it."""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import functional
from ..graph import CSRGraph
from .common import as_graph, known_widths, require_plain_sum, widths_of
from .heads import Weights, attention_weights, edge_features, join_heads

if TYPE_CHECKING:
    from torch_geometric import nn as pyg


class TransformerConv(torch.nn.Module):
    """Attention: x'_i = W_s x_i + Σ_j α_ij W_v x_j, α = softmax_j (W_q x_i · W_k x_j) / √C.

    Arguments, initialisation and state dict are those of `torch_geometric.nn.TransformerConv`. With
    features of edges, with `dropout` in training and where it is asked for, the attention of size
    [E, H] is written out, otherwise it never is.

    Args:
        in_channels: Width of the input, or (source, destination) widths of a bipartite graph.
        out_channels: Width C of one head.
        heads: Number of heads H.
        concat: Whether heads are concatenated, else averaged.
        beta: Whether a learned gate weighs the skip connection against the attention.
        dropout: Probability with which an attention coefficient is dropped in training.
        edge_dim: Width of the edges' features, whose W_e e_ij is added to keys and values, or None.
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
        edge_dim: int | None = None,
        bias: bool = True,
        root_weight: bool = True,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.heads = in_channels, out_channels, heads
        self.concat, self.dropout, self.root_weight = concat, dropout, root_weight
        self.beta, self.edge_dim = beta and root_weight, edge_dim
        source, target = widths_of(in_channels)
        width, total = heads * out_channels, out_channels * (heads if concat else 1)
        self.lin_key = torch.nn.Linear(source, width, bias=bias)
        self.lin_query = torch.nn.Linear(target, width, bias=bias)
        self.lin_value = torch.nn.Linear(source, width, bias=bias)
        self.lin_edge = None
        if edge_dim is not None:
            self.lin_edge = torch.nn.Linear(edge_dim, width, bias=False)
        self.lin_skip = torch.nn.Linear(target, total, bias=bias)
        self.lin_beta = torch.nn.Linear(3 * total, 1, bias=False) if self.beta else None

    @classmethod
    def from_pyg(cls, conv: "pyg.TransformerConv") -> "TransformerConv":
        """Return a layer with a PyG layer's settings; its parameters are still to be moved."""
        require_plain_sum(conv)
        return cls(
            known_widths(conv.in_channels, conv.lin_key, conv.lin_query),
            conv.out_channels,
            conv.heads,
            conv.concat,
            conv.beta,
            conv.dropout,
            conv.edge_dim,
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
        return_attention_weights: bool | None = None,
    ) -> Tensor | tuple[Tensor, Weights]:
        """Attend.

        Args:
            x: Node features [N, F], or source [M, F_s] and destination [N, F_d] features.
            edge_index: The graph, [2, E] or a CSRGraph.
            edge_attr: Features of the edges, [E, edge_dim]; needed with `edge_dim`, else None.
            return_attention_weights: Whether to return the edges and their attention [E, H] too.

        Returns:
            [N, heads · out_channels], or [N, out_channels] without `concat`.
        """
        x_src, x_dst = (x, x) if isinstance(x, Tensor) else x
        graph = as_graph(edge_index, x_src.size(0), x_dst.size(0))
        query, key, value = self.lin_query(x_dst), self.lin_key(x_src), self.lin_value(x_src)
        edge = self._edges(graph, edge_attr)
        dropped, weights = self.training and self.dropout > 0, None
        if dropped or edge is not None or return_attention_weights:
            attention = functional.dot_attention_weights(
                graph, query, key, heads=self.heads, edge=edge
            )
            weights = (
                attention_weights(graph, attention, None) if return_attention_weights else None
            )
            kept = F.dropout(attention, self.dropout) if dropped else attention
            out = functional.spmm_csr(graph, value, kept)
            out = out if edge is None else out + functional.edge_sum(graph, edge, kept)
        else:
            out = functional.dot_attention(graph, query, key, value, heads=self.heads)
        out = out if self.concat else join_heads(out, self.heads)
        out = self._skip(out, x_dst) if self.root_weight else out
        return out if weights is None else (out, weights)

    def _edges(self, graph: CSRGraph, edge_attr: Tensor | None) -> Tensor | None:
        """Return W_e e of the edges, [E, H · C] in CSR order."""
        if (edge_attr is None) != (self.lin_edge is None):
            raise ValueError("edge_attr must be given if, and only if, the layer has an edge_dim")
        if edge_attr is None or self.lin_edge is None or self.edge_dim is None:
            return None
        return self.lin_edge(edge_features(graph, edge_attr, self.edge_dim))

    def _skip(self, out: Tensor, x: Tensor) -> Tensor:
        """Add W_s x, or weigh it against the attention by a learned gate."""
        skip = self.lin_skip(x)
        if self.lin_beta is None:
            return out + skip
        gate = self.lin_beta(torch.cat([out, skip, out - skip], dim=-1)).sigmoid()
        return gate * skip + (1 - gate) * out

    def extra_repr(self) -> str:
        """Describe the layer in one line."""
        return f"{self.in_channels}, {self.out_channels}, heads={self.heads}"
