"""Graphs in CSR form, and the normalisation of GCN."""

import torch
import torch.nn.functional as F
from torch import Tensor


def csr(edge_index: Tensor, num_src: int, num_dst: int) -> tuple[Tensor, Tensor, Tensor]:
    """Sort an edge list by destination, stably.

    Args:
        edge_index: Sources and destinations, [2, E] int64, in any order; duplicates stay.
        num_src: Number of source nodes M, at most 2³¹ - 1.
        num_dst: Number of destination nodes N.

    Returns:
        rowptr [N + 1] int64; col [E] int32; perm [E] int64, the edge of `edge_index` that each CSR
        position holds.

    Raises:
        ValueError: If an id lies outside its range. The message names the edge.
    """
    src, dst = edge_index
    _check_ids(src, num_src, "source")
    _check_ids(dst, num_dst, "destination")
    if num_src > torch.iinfo(torch.int32).max:
        raise ValueError(f"col is int32 and holds source ids, got {num_src} source nodes")
    perm = torch.argsort(dst, stable=True)
    rowptr = torch.zeros(num_dst + 1, dtype=torch.int64, device=dst.device)
    torch.cumsum(torch.bincount(dst, minlength=num_dst), dim=0, out=rowptr[1:])
    return rowptr, src[perm].to(torch.int32), perm


def _check_ids(ids: Tensor, limit: int, role: str) -> None:
    wrong = (ids < 0) | (ids >= limit)
    if not bool(wrong.any()):
        return
    edge = int(wrong.nonzero()[0])
    raise ValueError(
        f"edge {edge} names {role} {int(ids[edge])}, ids must lie in [0, {limit}); "
        "was edge_index built for another graph, or before relabelling?"
    )


def rows(rowptr: Tensor, num_edges: int) -> Tensor:
    """Return the destination of each CSR position, [E] int64."""
    nodes = torch.arange(rowptr.numel() - 1, device=rowptr.device)
    return torch.repeat_interleave(nodes, rowptr.diff(), output_size=num_edges)


def gcn_norm(
    rowptr: Tensor,
    col: Tensor,
    weight: Tensor | None = None,
    in_degree: Tensor | None = None,
    fill_value: float = 1.0,
    add_self_loops: bool = True,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """Compute GCN's symmetric normalisation as factors per node.

    With d_i the weighted in-degree of node i, self loop included,

        scale[i] = d_i^(-1/2) (0 where d_i is 0),    self_weight[i] = l_i - Σ existing loops of i

    where l_i is the weight of the self loop that PyG's `add_remaining_self_loops` leaves: of
    existing loops the last one's, else `fill_value`, and always 1 in an unweighted graph. Then

        Â x = scale · (Σ_e weight[e] · (scale · x)[col[e]] + self_weight · (scale · x)).

    Args:
        rowptr: Where each row's edges start, [N + 1].
        col: Source of each edge, [E].
        weight: Weight of each edge in CSR order, [E]; None means 1.
        in_degree: Degrees to use instead of this graph's own, [N]; None or empty means its own. A
            k-hop subgraph needs those of the whole graph.
        fill_value: Weight of an added self loop, 2 for PyG's `improved=True`.
        add_self_loops: Whether each node gets a self loop.
        dtype: Type of the result where there is no weight.

    Returns:
        scale [N] and self_weight [N].

    References:
        Kipf and Welling, "Semi-Supervised Classification with Graph Convolutional Networks", ICLR
        2017, equation 2, https://arxiv.org/abs/1609.02907
    """
    num_nodes, row = rowptr.numel() - 1, rows(rowptr, col.numel())
    value = torch.ones(col.numel(), dtype=dtype, device=col.device) if weight is None else weight
    degree = value.new_zeros(num_nodes).index_add(0, row, value)
    self_weight = value.new_zeros(num_nodes)
    if add_self_loops:
        loop = (row == col).nonzero().squeeze(1)
        own = value.new_full((num_nodes,), 1.0 if weight is None else fill_value)
        last = torch.full((num_nodes,), -1, device=col.device)
        last = last.scatter_reduce(0, row[loop], loop, "amax")
        own = torch.where(last >= 0, F.pad(value, (0, 1))[last], own)
        self_weight = own - value.new_zeros(num_nodes).index_add(0, row[loop], value[loop])
    degree = degree + self_weight
    if in_degree is not None and in_degree.numel() > 0:
        degree = in_degree
    return torch.where(degree == 0, 0.0, degree.pow(-0.5)), self_weight
