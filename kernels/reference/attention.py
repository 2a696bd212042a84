"""Attention: a softmax over each node's in-edges, and the sums it weights."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .graph import rows
from .spmm import activate


def edge_softmax(rowptr: Tensor, score: Tensor) -> Tensor:
    """Turn scores into weights that sum to one over each row: exp(s_e) / Σ exp(s) of its row.

    Args:
        rowptr: Where each row's edges start, [N + 1].
        score: Score of each edge, [E, H].

    Returns:
        The attention of each edge, [E, H].
    """
    return _softmax(rows(rowptr, score.shape[0]), score, rowptr.numel() - 1)[0]


def edge_softmax_own(rowptr: Tensor, score: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """Turn scores into weights as `edge_softmax` does, a row's own score being one edge more.

    Args:
        rowptr: Where each row's edges start, [N + 1].
        score: Score of each edge, [E, H].
        own: Score of each row itself, [N, H].

    Returns:
        The attention of each edge, [E, H], and of each row to itself, [N, H].
    """
    nodes = torch.arange(rowptr.numel() - 1, device=score.device)
    row = torch.cat([rows(rowptr, score.shape[0]), nodes])
    both = _softmax(row, torch.cat([score, own]), nodes.numel())[0]
    return both[: score.shape[0]].clone(), both[score.shape[0] :].clone()


def _softmax(row: Tensor, score: Tensor, num_nodes: int) -> tuple[Tensor, Tensor]:
    """Return the softmax [E, H] over each row, in any order, and lse [N, H], -inf if empty."""
    top = score.detach().new_full((num_nodes, score.shape[1]), -torch.inf)
    top = top.scatter_reduce(0, row.unsqueeze(-1).expand_as(score), score.detach(), "amax")
    top = torch.where(top.isinf(), 0.0, top)
    exp = (score - top[row]).exp()
    total = torch.zeros_like(top).index_add(0, row, exp)
    return exp / total[row], total.log() + top


def _edges(rowptr: Tensor, col: Tensor, add_self_loops: bool) -> tuple[Tensor, Tensor]:
    """Return the row and the source of each edge, every node having one self loop if asked."""
    row, source, num_nodes = rows(rowptr, col.numel()), col.to(torch.int64), rowptr.numel() - 1
    if not add_self_loops:
        return row, source
    kept, nodes = row != source, torch.arange(num_nodes, device=col.device)
    return torch.cat([row[kept], nodes]), torch.cat([source[kept], nodes])


def _attend(
    row: Tensor, source: Tensor, score: Tensor, value: Tensor, num_nodes: int
) -> tuple[Tensor, Tensor]:
    """Return Σ softmax(score) · value [N, H · C] and lse [N, H]."""
    attention, lse = _softmax(row, score, num_nodes)
    heads = value[source].unflatten(1, (score.shape[1], -1))  # [E, H, C]
    message = (attention.unsqueeze(-1) * heads).flatten(1)
    return value.new_zeros(num_nodes, value.shape[1]).index_add(0, row, message), lse


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
    row, source = _edges(rowptr, col, add_self_loops)
    score = F.leaky_relu(alpha_src[source] + alpha_dst[row], negative_slope)  # [E, H]
    out, lse = _attend(row, source, score, x, rowptr.numel() - 1)
    return out if bias is None else out + bias, lse


def gat_update(
    rowptr: Tensor,
    col: Tensor,
    x: Tensor,
    alpha_src: Tensor,
    alpha_dst: Tensor,
    linear_weight: Tensor,
    bias: Tensor | None = None,
    negative_slope: float = 0.2,
    add_self_loops: bool = False,
    activation: str = "none",
) -> Tensor:
    """Attend, multiply and average the heads: a layer whose product comes after its sums.

        out[i] = act(1/H Σ_h gat(x)_h[i] · W_h + bias),    linear_weight = [W_1 … W_H]

    The same as `gat` of x · linear_weight with its heads averaged, from rows of F features in
    place of H · C: Σ_e p_e (x[j] W) = (Σ_e p_e x[j]) W.

    Args:
        rowptr: Where each row's edges start, [N + 1].
        col: Source of each edge, [E].
        x: Features of the source nodes, [M, F], which all heads share.
        alpha_src: Score of each source node, [M, H].
        alpha_dst: Score of each destination node, [N, H].
        linear_weight: What the sums are multiplied with, [F, H · C].
        bias: Added to every row, [C].
        negative_slope: Slope of the LeakyReLU below zero.
        add_self_loops: As in `gat`.
        activation: "none", "relu" or "elu", of the answers.

    Returns:
        out [N, C].
    """
    heads = alpha_src.shape[1]
    settings = negative_slope, add_self_loops
    sums, _ = gat(rowptr, col, x.repeat(1, heads), alpha_src, alpha_dst, None, *settings)
    weights = linear_weight.unflatten(1, (heads, -1))  # [F, H, C]
    out = torch.einsum("nhf,fhc->nc", sums.unflatten(1, (heads, -1)), weights) / heads
    return activate(out if bias is None else out + bias, activation)


def gatv2(
    rowptr: Tensor,
    col: Tensor,
    x_l: Tensor,
    x_r: Tensor,
    att: Tensor,
    bias: Tensor | None = None,
    negative_slope: float = 0.2,
    add_self_loops: bool = False,
) -> tuple[Tensor, Tensor]:
    """Attend with scores that see both ends of an edge at once; heads side by side.

        s_e = att · LeakyReLU(x_l[col[e]] + x_r[i])    per head
        out[i] = Σ_e softmax_e(s) · x_l[col[e]] + bias

    Args:
        rowptr: Where each row's edges start, [N + 1].
        col: Source of each edge, [E].
        x_l: Features of the source nodes, [M, H · C].
        x_r: Features of the destination nodes, [N, H · C].
        att: Attention vectors, [H, C].
        bias: Added to every row, [H · C].
        negative_slope: Slope of the LeakyReLU below zero.
        add_self_loops: Whether a node attends to itself exactly once, whatever loops the edges
            hold; needs N = M.

    Returns:
        out [N, H · C], just the bias for a row that attends to nothing; lse [N, H], the logarithm
        of Σ exp(s), -inf for such a row.

    References:
        Brody et al., "How Attentive are Graph Attention Networks?", ICLR 2022, equation 7,
        https://arxiv.org/abs/2105.14491
    """
    row, source = _edges(rowptr, col, add_self_loops)
    both = F.leaky_relu(x_l[source] + x_r[row], negative_slope)
    score = (both.unflatten(1, tuple(att.shape)) * att).sum(-1)
    out, lse = _attend(row, source, score, x_l, rowptr.numel() - 1)
    return out if bias is None else out + bias, lse


def gatv2_update(
    rowptr: Tensor,
    col: Tensor,
    x: Tensor,
    x_dst: Tensor,
    weight_l: Tensor,
    weight_r: Tensor,
    att: Tensor,
    bias_l: Tensor | None = None,
    bias_r: Tensor | None = None,
    bias: Tensor | None = None,
    negative_slope: float = 0.2,
    add_self_loops: bool = False,
    mean_heads: bool = False,
    activation: str = "none",
) -> Tensor:
    """Multiply both ends, attend as GATv2 does, and activate: a whole layer.

        x_l = x · weight_l + bias_l,    x_r = x_dst · weight_r + bias_r
        out = act(gatv2(x_l, x_r) + bias), or the mean over its heads

    Args:
        rowptr: Where each row's edges start, [N + 1].
        col: Source of each edge, [E].
        x: Features of the source nodes, [M, F].
        x_dst: Features of the destination nodes, [N, D].
        weight_l: What sources are multiplied by, [F, H · C].
        weight_r: What destinations are multiplied by, [D, H · C].
        att: Attention vectors, [H, C].
        bias_l: Added to the sources' products, [H · C].
        bias_r: Added to the destinations' products, [H · C].
        bias: Added to every row of the answer, [H · C], or [C] where heads are averaged.
        negative_slope: Slope of the LeakyReLU below zero.
        add_self_loops: As in `gatv2`.
        mean_heads: Whether heads are averaged, and not laid side by side.
        activation: "none", "relu" or "elu", of the answers.

    Returns:
        out [N, H · C], or [N, C].
    """
    x_l, x_r = _linear(x, weight_l, bias_l), _linear(x_dst, weight_r, bias_r)
    out, _ = gatv2(rowptr, col, x_l, x_r, att, None, negative_slope, add_self_loops)
    out = out.unflatten(1, tuple(att.shape)).mean(1) if mean_heads else out
    return activate(out if bias is None else out + bias, activation)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x @ weight if bias is None else x @ weight + bias


def dot_attention(
    rowptr: Tensor, col: Tensor, query: Tensor, key: Tensor, value: Tensor, heads: int
) -> tuple[Tensor, Tensor]:
    """Attend by scaled dot products over each node's in-neighbours; heads side by side.

        s_e = query[i] · key[col[e]] / √C    per head
        out[i] = Σ_e softmax_e(s) · value[col[e]]

    Args:
        rowptr: Where each row's edges start, [N + 1].
        col: Source of each edge, [E].
        query: Queries of the destination nodes, [N, H · C].
        key: Keys of the source nodes, [M, H · C].
        value: Values of the source nodes, [M, H · C].
        heads: Number of heads H.

    Returns:
        out [N, H · C], zero for a row without edges; lse [N, H], -inf for such a row.

    References:
        Shi et al., "Masked Label Prediction: Unified Message Passing Model for Semi-Supervised
        Classification", IJCAI 2021, equations 3-4, https://arxiv.org/abs/2009.03509
    """
    row, source = _edges(rowptr, col, add_self_loops=False)
    pairs = (query[row] * key[source]).unflatten(1, (heads, -1))
    score = pairs.sum(-1) / pairs.shape[-1] ** 0.5
    return _attend(row, source, score, value, rowptr.numel() - 1)
