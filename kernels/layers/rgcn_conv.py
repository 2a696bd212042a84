"""RGCNConv: the layer of relational graph convolutional networks, as PyG spells it."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .. import functional
from ..relations import RelationalGraph
from .common import UnsupportedError, glorot_, require_default_flow, widths_of

if TYPE_CHECKING:
    from torch_geometric import nn as pyg

_REDUCE = {"mean": "mean", "add": "sum", "sum": "sum"}
_Features = Tensor | None


class RGCNConv(torch.nn.Module):
    """Relational convolution: x'_i = Σ_r mean_{j ∈ N_r(i)} W_r x_j + W_root x_i + b.

    Arguments, initialisation and state dict are those of `torch_geometric.nn.RGCNConv` and
    `FastRGCNConv`. Neighbours of one relation are averaged before they are transformed.

    Args:
        in_channels: Width of the input, or (source, destination) widths of a bipartite graph; the
            number of nodes where the input is None or node ids.
        out_channels: Width of the output.
        num_relations: Number of relations R.
        num_bases: Number of bases whose mixtures the matrices are, W_r = Σ_b a_rb V_b.
        num_blocks: Number of diagonal blocks that the matrices have.
        aggr: "mean", "add" or "sum", within a relation.
        root_weight: Whether to add W_root x_i.
        is_sorted: Accepted for PyG's sake and without effect: hold a RelationalGraph instead.
        bias: Whether to add a bias.

    References:
        Schlichtkrull et al., "Modeling Relational Data with Graph Convolutional Networks", ESWC
        2018, https://arxiv.org/abs/1703.06103
    """

    def __init__(
        self,
        in_channels: int | tuple[int, int],
        out_channels: int,
        num_relations: int,
        num_bases: int | None = None,
        num_blocks: int | None = None,
        aggr: str = "mean",
        root_weight: bool = True,
        is_sorted: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if aggr not in _REDUCE:
            raise ValueError(f"aggr must be one of {', '.join(_REDUCE)}, got {aggr!r}")
        if num_bases is not None and num_blocks is not None:
            raise ValueError("give num_bases or num_blocks, not both")
        self.in_channels, self.out_channels, self.aggr = in_channels, out_channels, aggr
        self.num_relations, self.num_bases, self.num_blocks = num_relations, num_bases, num_blocks
        self.is_sorted = is_sorted
        source, target = widths_of(in_channels)
        shape = (num_bases or num_relations, source, out_channels)
        if num_blocks is not None:
            if source % num_blocks or out_channels % num_blocks:
                raise ValueError(f"{num_blocks} blocks do not divide {source} and {out_channels}")
            shape = (num_relations, num_blocks, source // num_blocks, out_channels // num_blocks)
        parameter = torch.nn.Parameter
        self.weight = parameter(torch.empty(shape))
        self.comp = parameter(torch.empty(num_relations, num_bases)) if num_bases else None
        self.root = parameter(torch.empty(target, out_channels)) if root_weight else None
        self.bias = parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    @classmethod
    def from_pyg(cls, conv: "pyg.RGCNConv") -> "RGCNConv":
        """Return a layer with a PyG layer's settings; its parameters are still to be moved."""
        require_default_flow(conv)
        aggr = conv.aggr
        if not isinstance(aggr, str) or aggr not in _REDUCE:
            raise UnsupportedError(f"aggr={aggr!r} is neither mean nor sum")
        return cls(
            conv.in_channels,
            conv.out_channels,
            conv.num_relations,
            conv.num_bases,
            conv.num_blocks,
            aggr,
            conv.root is not None,
            conv.is_sorted,
            conv.bias is not None,
        )

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for parameter in (self.weight, self.comp, self.root):
            if parameter is not None:
                glorot_(parameter)
        if self.bias is not None:
            torch.nn.init.zeros_(self.bias)

    def forward(
        self,
        x: _Features | tuple[_Features, Tensor],
        edge_index: Tensor | RelationalGraph,
        edge_type: Tensor | None = None,
    ) -> Tensor:
        """Convolve.

        Args:
            x: Node features [N, F]; or node ids [N], or None for all nodes in order, of which each
                has a row of W_r as its features; or a pair of sources' and destinations'.
            edge_index: The graph, [2, E] with edge_type, or a RelationalGraph.
            edge_type: Relation of each edge, [E]; belongs to an edge list.

        Returns:
            [N, out_channels].
        """
        source, target = x if isinstance(x, tuple) else (x, x)
        if source is None:
            source = torch.arange(self.weight.shape[1], device=self.weight.device)
        target = source if target is None else target
        graph = self._graph(edge_index, edge_type, source.size(0), target.size(0))
        settings = {
            "bias": self.bias,
            "residual": self._root(target),
            "reduce": _REDUCE[self.aggr],
        }
        if source.is_floating_point():
            return functional.rgcn(graph, source, self._matrices(), **settings)
        if self.num_blocks is not None:
            raise ValueError("block-diagonal matrices need features, not node ids")
        tables = self.weight.index_select(1, source)
        return functional.rgcn_embeddings(graph, tables, self.comp, **settings)

    def _graph(
        self,
        edge_index: Tensor | RelationalGraph,
        edge_type: Tensor | None,
        num_src: int,
        num_dst: int,
    ) -> RelationalGraph:
        if isinstance(edge_index, RelationalGraph):
            return edge_index
        if edge_type is None:
            raise ValueError("an edge list needs edge_type, the relation of each edge")
        size = (num_src, num_dst)
        return RelationalGraph.from_edge_index(edge_index, edge_type, self.num_relations, size=size)

    def _matrices(self) -> Tensor:
        if self.comp is None:
            return self.weight
        return torch.einsum("rb,bio->rio", self.comp, self.weight)

    def _root(self, target: Tensor) -> Tensor | None:
        if self.root is None:
            return None
        return target @ self.root if target.is_floating_point() else self.root[target]

    def extra_repr(self) -> str:
        """Describe the layer in one line."""
        return f"{self.in_channels}, {self.out_channels}, num_relations={self.num_relations}"
