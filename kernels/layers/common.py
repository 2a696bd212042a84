"""What the layers share: the graph they see, PyG's initialisation, normalised propagation."""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import functional
from ..graph import CSRGraph

if TYPE_CHECKING:
    from torch_geometric import nn as pyg


class UnsupportedError(ValueError):
    """A PyG layer is configured in a way that the layer here does not cover; says which."""


def as_graph(edge_index: Tensor | CSRGraph, num_src: int, num_dst: int) -> CSRGraph:
    """Return a graph as it is, or the one that an edge list [2, E] describes."""
    if isinstance(edge_index, CSRGraph):
        return edge_index
    return CSRGraph.from_edge_index(edge_index, size=(num_src, num_dst))


def glorot_(weight: Tensor) -> None:
    """Fill with U(-a, a), a = √(6 / (last two sizes summed)), as PyG's `glorot` does."""
    bound = (6.0 / (weight.shape[-2] + weight.shape[-1])) ** 0.5
    torch.nn.init.uniform_(weight, -bound, bound)


def widths_of(in_channels: int | tuple[int, int]) -> tuple[int, int]:
    """Return the widths of source and destination features."""
    return (in_channels, in_channels) if isinstance(in_channels, int) else in_channels


def check_size(size: tuple[int, int] | None, num_src: int, num_dst: int) -> None:
    """Refuse a size that does not agree with the features."""
    if size is not None and tuple(size) != (num_src, num_dst):
        raise ValueError(f"size {tuple(size)} does not agree with x: {(num_src, num_dst)}")


def known_widths(
    in_channels: int | tuple[int, int], source: "pyg.Linear", target: "pyg.Linear | None" = None
) -> int | tuple[int, int]:
    """Return what in_channels of a PyG convolution has become, lazy widths included.

    Args:
        in_channels: As the convolution was made; -1 where the width was to be found out.
        source: Its linear layer for source features, which knows the width after a first call.
        target: Its linear layer for destination features, if it has one.

    Raises:
        UnsupportedError: If a width is not known yet.
    """
    linears = [source] if target is None or isinstance(in_channels, int) else [source, target]
    widths = [linear.in_channels for linear in linears]
    require(min(widths) > 0, "its lazy input width is not known yet; call the model once")
    return widths[0] if isinstance(in_channels, int) else (widths[0], widths[-1])


def require(condition: bool, reason: str) -> None:
    """Raise UnsupportedError with the reason unless the condition holds."""
    if not condition:
        raise UnsupportedError(reason)


def require_plain_sum(conv: "pyg.MessagePassing") -> None:
    """Refuse a PyG convolution that aggregates or flows in another way than its default."""
    require(conv.aggr in ("add", "sum"), f"aggr={conv.aggr!r} is not a sum")
    require_default_flow(conv)


def require_default_flow(conv: "pyg.MessagePassing") -> None:
    """Refuse a PyG convolution whose messages flow against the edges, or whose features are 3-D."""
    flow, node_dim, decomposed = conv.flow, conv.node_dim, conv.decomposed_layers
    require(flow == "source_to_target", f"flow={flow!r}")
    require(node_dim in (-2, 0), f"node_dim={node_dim}")
    require(decomposed == 1, f"decomposed_layers={decomposed}")


class SymmetricNorm(torch.nn.Module):
    """Propagation by GCN's normalised adjacency, for the layers that use it.

    Attributes are PyG's: `improved`, `add_self_loops`, `normalize`.
    """

    improved: bool = False
    add_self_loops: bool
    normalize: bool

    def propagate(
        self,
        graph: CSRGraph,
        x: Tensor,
        edge_weight: Tensor | None,
        *,
        bias: Tensor | None = None,
        factor: float = 1.0,
        residual: Tensor | None = None,
    ) -> Tensor:
        """Return factor · Â x + bias + residual, with A for Â without `normalize`; [N, F]."""
        if not self.normalize:
            out = functional.spmm(graph, x, edge_weight)
            out = out if factor == 1.0 else factor * out
            out = out if bias is None else out + bias
            return out if residual is None else out + residual
        scale, self_weight = functional.gcn_norm(
            graph,
            edge_weight,
            fill_value=2.0 if self.improved else 1.0,
            add_self_loops=self.add_self_loops,
            dtype=x.dtype,
        )
        dst_scale = scale
        if graph.importance is not None and edge_weight is None:
            more = graph.importance.to(scale.dtype)
            # the node's own share stays 1, also where its own loop is among the sampled edges
            dst_scale, self_weight = scale * more, self_weight - 1 + 1 / more
        return functional.spmm(
            graph,
            x,
            edge_weight,
            src_scale=scale,
            dst_scale=dst_scale if factor == 1.0 else factor * dst_scale,
            self_weight=self_weight if self.add_self_loops else None,
            bias=bias,
            residual=residual,
        )


# PyG's names of reductions, by ours
REDUCTIONS = {"mean": "mean", "add": "sum", "sum": "sum", "max": "max", "min": "min"}


def sum_and_root(
    graph: CSRGraph,
    x: Tensor,
    target: Tensor | None,
    linear: torch.nn.Linear,
    root: torch.nn.Linear | None,
    reduce: str,
    edge_weight: Tensor | None = None,
) -> Tensor:
    """Return W · reduce_{j ∈ N(i)} e_ji x_j + b + W_root target_i, as GraphSAGE and GraphConv do.

    For sums and means the product with W comes before or after the aggregation, whichever moves
    fewer features.

    Args:
        graph: The graph.
        x: Features of sources, [M, F].
        target: Features of destinations; without, or without root, there is no term of theirs.
        linear: W and b.
        root: W_root.
        reduce: How neighbours are reduced.
        edge_weight: Weight of each edge, [E].

    Returns:
        [N, width of b].
    """
    own = None if target is None or root is None else (target, root.weight)
    if x.shape[-1] > linear.weight.shape[0] and reduce in ("mean", "sum"):
        residual, h = None if own is None else F.linear(*own), F.linear(x, linear.weight)
        return functional.spmm(
            graph, h, edge_weight, reduce=reduce, bias=linear.bias, residual=residual
        )
    total = functional.spmm(graph, x, edge_weight, reduce=reduce)
    if own is None:
        return linear(total)
    # the root's part first: the other product then adds to it in passing
    return torch.addmm(F.linear(*own, linear.bias), total, linear.weight.t())
