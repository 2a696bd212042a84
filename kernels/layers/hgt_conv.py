"""HGTConv: the layer of the heterogeneous graph transformer, as PyG spells it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import functional, reference
from ..graph import CSRGraph
from .common import as_graph, require, require_plain_sum

if TYPE_CHECKING:
    from torch_geometric import nn as pyg

EdgeType = tuple[str, str, str]


class HGTConv(torch.nn.Module):
    """Attention over neighbours of all types at once, keys and values by type of edges.

        a_e = softmax_e(p_r · (K_s x_j W_r^k) · (Q_t x_i) / √C)    per head, over all in-edges of i
        x'_i = σ(s_t) · A_t gelu(Σ_e a_e V_s x_j W_r^v) + (1 - σ(s_t)) · x_i

    with s, t the types of source j and destination i, and r that of the edge; without x_i where
    widths differ. Arguments, initialisation and state dict are those of
    `torch_geometric.nn.HGTConv`. For each type of destinations, all its in-edges are one graph.

    Args:
        in_channels: Width of the input, or widths by type of nodes.
        out_channels: Width of the output, H · C.
        metadata: Types of nodes, and of edges.
        heads: Number of heads H.

    References:
        Hu et al., "Heterogeneous Graph Transformer", WWW 2020, https://arxiv.org/abs/2003.01332
    """

    def __init__(
        self,
        in_channels: int | Mapping[str, int],
        out_channels: int,
        metadata: tuple[Sequence[str], Sequence[EdgeType]],
        heads: int = 1,
    ) -> None:
        super().__init__()
        if out_channels % heads != 0:
            raise ValueError(
                f"out_channels must be a multiple of {heads} heads, got {out_channels}"
            )
        self.node_types, self.edge_types = list(metadata[0]), [*map(tuple, metadata[1])]
        if isinstance(in_channels, int):
            in_channels = dict.fromkeys(self.node_types, in_channels)
        self.in_channels, self.out_channels, self.heads = dict(in_channels), out_channels, heads
        width, count = out_channels // heads, heads * len(self.edge_types)
        self.kqv_lin = _ByType(self.in_channels, 3 * out_channels)
        self.out_lin = _ByType(dict.fromkeys(self.node_types, out_channels), out_channels)
        self.k_rel, self.v_rel = _Matrices(count, width), _Matrices(count, width)
        self.skip = torch.nn.ParameterDict({kind: torch.ones(1) for kind in self.node_types})
        self.p_rel = torch.nn.ParameterDict(
            {"__".join(kind): torch.ones(1, heads) for kind in self.edge_types}
        )

    @classmethod
    def from_pyg(cls, conv: "pyg.HGTConv") -> "HGTConv":
        """Return a layer with a PyG layer's settings; its parameters are still to be moved."""
        require_plain_sum(conv)
        linears: Any = conv.kqv_lin.lins
        widths = {kind: int(linear.in_channels) for kind, linear in linears.items()}
        require(min(widths.values()) > 0, "its lazy input widths are not known yet; call it once")
        return cls(widths, conv.out_channels, (conv.node_types, conv.edge_types), conv.heads)

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for part in (self.kqv_lin, self.out_lin, self.k_rel, self.v_rel):
            part.reset_parameters()
        for parameter in (*self.skip.values(), *self.p_rel.values()):
            torch.nn.init.ones_(parameter)

    def forward(
        self,
        x_dict: Mapping[str, Tensor],
        edge_index_dict: Mapping[EdgeType, Tensor | CSRGraph],
    ) -> dict[str, Tensor]:
        """Attend.

        Args:
            x_dict: Features by type of nodes, each [N, F].
            edge_index_dict: The graph by type of edges, each [2, E] or a CSRGraph.

        Returns:
            [N, out_channels] for each type of nodes that edges may end in.
        """
        keys, queries, values = {}, {}, {}
        for kind, linear in self.kqv_lin.lins.items():
            if kind in x_dict:
                parts = linear(x_dict[kind]).chunk(3, dim=1)
                keys[kind], queries[kind], values[kind] = parts
        out = {}
        for kind in queries.keys() & {target for _, _, target in self.edge_types}:
            incoming = {r: edges for r, edges in edge_index_dict.items() if r[2] == kind}
            attended = self._attend(queries[kind], keys, values, incoming)
            out[kind] = self._output(kind, attended, x_dict[kind])
        return {kind: out[kind] for kind in queries if kind in out}

    def _attend(
        self,
        query: Tensor,
        keys: Mapping[str, Tensor],
        values: Mapping[str, Tensor],
        incoming: Mapping[EdgeType, Tensor | CSRGraph],
    ) -> Tensor:
        """Return what nodes of one type hear from all their neighbours, [N, H · C]."""
        if not incoming:
            return torch.zeros_like(query)
        key = [self._related(keys[r[0]], self.k_rel.weight, r, self._priority(r)) for r in incoming]
        value = [self._related(values[r[0]], self.v_rel.weight, r) for r in incoming]
        graph = _joined(list(incoming.values()), [k.size(0) for k in key], query.size(0))
        return functional.dot_attention(
            graph, query.contiguous(), torch.cat(key), torch.cat(value), heads=self.heads
        )

    def _priority(self, relation: EdgeType) -> Tensor:
        return self.p_rel["__".join(relation)].view(-1, 1, 1)

    def _related(
        self, x: Tensor, weight: Tensor, relation: EdgeType, scale: Tensor | float = 1.0
    ) -> Tensor:
        """Multiply each head's channels by the relation's matrix for that head."""
        matrices = weight[self.edge_types.index(relation) :: len(self.edge_types)] * scale
        heads = x.view(x.size(0), self.heads, -1).transpose(0, 1)  # [H, N, C]
        return (heads @ matrices).transpose(0, 1).reshape(x.shape)

    def _output(self, kind: str, attended: Tensor, x: Tensor) -> Tensor:
        out = self.out_lin.lins[kind](F.gelu(attended))
        if out.size(-1) != x.size(-1):
            return out
        share = self.skip[kind].sigmoid()
        return share * out + (1 - share) * x

    def extra_repr(self) -> str:
        """Describe the layer in one line."""
        return f"{self.in_channels}, {self.out_channels}, heads={self.heads}"


class _ByType(torch.nn.Module):
    """A linear layer for each type of nodes."""

    def __init__(self, widths: Mapping[str, int], out_channels: int) -> None:
        super().__init__()
        self.lins = torch.nn.ModuleDict(
            {kind: torch.nn.Linear(width, out_channels) for kind, width in widths.items()}
        )

    def reset_parameters(self) -> None:
        for linear in self.lins.values():
            assert isinstance(linear, torch.nn.Linear)
            linear.reset_parameters()


class _Matrices(torch.nn.Module):
    """A square matrix for each head and type of edges, [H · R, C, C], heads first."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.empty(count, width, width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        bound = self.weight.shape[-1] ** -0.5
        torch.nn.init.uniform_(self.weight, -bound, bound)


def _joined(edges: Sequence[Tensor | CSRGraph], sizes: Sequence[int], num_dst: int) -> CSRGraph:
    """Return one graph of several with the same destinations, the sources side by side."""
    if len(edges) == 1:
        return as_graph(edges[0], sizes[0], num_dst)
    lists, offset = [], 0
    for edge_index, num_src in zip(edges, sizes, strict=True):
        source, target = _edge_list(edge_index)
        lists.append(torch.stack([source + offset, target]))
        offset = offset + num_src
    return CSRGraph.from_edge_index(torch.cat(lists, dim=1), size=(offset, num_dst))


def _edge_list(edges: Tensor | CSRGraph) -> tuple[Tensor, Tensor]:
    if isinstance(edges, CSRGraph):
        return edges.col.to(torch.int64), reference.rows(edges.rowptr, edges.num_edges)
    return edges[0], edges[1]
