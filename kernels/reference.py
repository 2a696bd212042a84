"""Every operator in plain PyTorch: the definition the other implementations are tested against.

These run on any device and in any floating-point type, and use only differentiable tensor
operations, so float64 autograd through them defines the gradients too. Clarity comes first; `cpu`
and `triton_spmm` hold the fast forms.

Shapes: N destination nodes, M source nodes (N = M unless a graph is bipartite), E edges, F
features, H heads, C channels per head. A graph is given by its in-edges in CSR form: `rowptr` [N +
1] int64 and `col` [E] int32, the source of each edge, rows being destinations.
"""

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


def spmm(
    rowptr: Tensor,
    col: Tensor,
    x: Tensor,
    weight: Tensor | None = None,
    src_scale: Tensor | None = None,
    dst_scale: Tensor | None = None,
    self_weight: Tensor | None = None,
    bias: Tensor | None = None,
    reduce: str = "sum",
) -> Tensor:
    """Sum or average the features of each node's in-neighbours.

    With u = src_scale · x and R_i = 1 for a sum, 1 / max(degree of i, 1) for a mean,

        out[i] = dst_scale[i] · (R_i Σ_e weight[e] · u[col[e]] + self_weight[i] · u[i]) + bias.

    A row without edges sums to zero. What is None drops out of the formula.

    Args:
        rowptr: Where each row's edges start, [N + 1].
        col: Source of each edge, [E].
        x: Features of the source nodes, [M, F].
        weight: Weight of each edge in CSR order, [E].
        src_scale: Factor of each source node, [M].
        dst_scale: Factor of each destination node, [N].
        self_weight: Weight of each node's own features, [N]; needs N = M.
        bias: Added to every row, [F].
        reduce: "sum" or "mean".

    Returns:
        The aggregated features, [N, F], in the dtype of x.
    """
    row = rows(rowptr, col.numel())
    u = x if src_scale is None else src_scale.unsqueeze(-1) * x
    message = u[col] if weight is None else weight.unsqueeze(-1) * u[col]  # [E, F]
    out = x.new_zeros(rowptr.numel() - 1, x.shape[-1]).index_add(0, row, message)
    if reduce == "mean":
        out = out / rowptr.diff().clamp(min=1).unsqueeze(-1)
    if self_weight is not None:
        out = out + self_weight.unsqueeze(-1) * u
    if dst_scale is not None:
        out = dst_scale.unsqueeze(-1) * out
    return (out if bias is None else out + bias).to(x.dtype)


def sddmm(rowptr: Tensor, col: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Multiply the two ends of each edge: out[e] = a[i] · b[col[e]], i the row of e.

    Args:
        rowptr: Where each row's edges start, [N + 1].
        col: Source of each edge, [E].
        a: Features of the destination nodes, [N, F].
        b: Features of the source nodes, [M, F].

    Returns:
        One dot product per edge in CSR order, [E].
    """
    return (a[rows(rowptr, col.numel())] * b[col]).sum(-1)


def gat(
    rowptr: Tensor,
    col: Tensor,
    x: Tensor,
    alpha_src: Tensor,
    alpha_dst: Tensor,
    bias: Tensor | None = None,
    negative_slope: float = 0.2,
    add_self_loops: bool = False,
) -> tuple[Tensor, Tensor]:
    """Attend over each node's in-neighbours and sum their features, per head, heads side by side.

        s_e = LeakyReLU(alpha_src[col[e]] + alpha_dst[i])
        out[i] = Σ_e softmax_e(s) · x[col[e]] + bias

    Args:
        rowptr: Where each row's edges start, [N + 1].
        col: Source of each edge, [E].
        x: Features of the source nodes, [M, H · C].
        alpha_src: Score of each source node, [M, H].
        alpha_dst: Score of each destination node, [N, H].
        bias: Added to every row, [H · C].
        negative_slope: Slope of the LeakyReLU below zero.
        add_self_loops: Whether a node attends to itself exactly once, whatever loops the edges
            hold; needs N = M.

    Returns:
        out [N, H · C], just the bias for a row that attends to nothing; lse [N, H], the logarithm
        of Σ exp(s), -inf for such a row.

    References:
        Veličković et al., "Graph Attention Networks", ICLR 2018, equations 1-4,
        https://arxiv.org/abs/1710.10903
    """
    row, num_nodes = rows(rowptr, col.numel()), rowptr.numel() - 1
    source = col.to(torch.int64)
    if add_self_loops:
        kept, nodes = row != source, torch.arange(num_nodes, device=col.device)
        row, source = torch.cat([row[kept], nodes]), torch.cat([source[kept], nodes])
    score = F.leaky_relu(alpha_src[source] + alpha_dst[row], negative_slope)  # [E, H]
    top = score.detach().new_full((num_nodes, score.shape[1]), -torch.inf)
    top = top.scatter_reduce(0, row.unsqueeze(-1).expand_as(score), score.detach(), "amax")
    top = torch.where(top.isinf(), 0.0, top)
    exp = (score - top[row]).exp()
    total = torch.zeros_like(top).index_add(0, row, exp)
    attention = exp / total[row]
    heads = x[source].unflatten(1, (score.shape[1], -1))  # [E, H, C]
    message = (attention.unsqueeze(-1) * heads).flatten(1)
    out = x.new_zeros(num_nodes, x.shape[1]).index_add(0, row, message)
    return out if bias is None else out + bias, total.log() + top
