"""Attention whose scores are cheap: of size [E, H], summed by `bag` one head at a time."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import reference
from .blocks import bag_per_head, heads, row_sum
from .precision import in_float32
from .spmm import sddmm


@in_float32()
def edge_softmax(rowptr: Tensor, score: Tensor) -> Tensor:
    """Compute `reference.edge_softmax`."""
    return softmax_(rowptr, reference.rows(rowptr, score.shape[0]), score.clone(), None)[0]


@in_float32()
def edge_softmax_backward(grad: Tensor, rowptr: Tensor, attention: Tensor) -> Tensor:
    """Return the gradient of the scores: p_e (g_e - Σ p g of its row)."""
    part = attention * grad
    total = row_sum(rowptr, part)
    row = reference.rows(rowptr, grad.shape[0])
    return part.sub_(attention * total.index_select(0, row))


def softmax_(
    rowptr: Tensor, row: Tensor, score: Tensor, own: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Turn scores [E, H] into attention, in place; own is each node's score of itself [N, H].

    Returns attention [E, H] and lse [N, H].
    """
    top = torch.segment_reduce(score, "max", offsets=rowptr, axis=0)
    top = top if own is None else torch.maximum(top, own)
    top = torch.where(top.isinf(), 0.0, top)
    exp = score.sub_(top.index_select(0, row)).exp_()
    total = row_sum(rowptr, exp)
    if own is not None:
        total += (own - top).exp()
    return exp.div_(total.index_select(0, row)), total.log() + top


@in_float32(keep=1)
def gat(
    rowptr: Tensor,
    col: Tensor,
    x: Tensor,
    alpha_src: Tensor,
    alpha_dst: Tensor,
    bias: Tensor | None,
    negative_slope: float,
    add_self_loops: bool,
) -> tuple[Tensor, Tensor]:
    """Compute `reference.gat`."""
    row = reference.rows(rowptr, col.numel())
    score = gat_scores(row, col, alpha_src, alpha_dst, negative_slope)
    own = None
    if add_self_loops:
        mask_loops_(score, row, col)
        own = F.leaky_relu(alpha_src + alpha_dst, negative_slope)
    attention, lse = softmax_(rowptr, row, score, own)
    out = bag_per_head(rowptr, col, x, attention)
    if own is not None:
        heads(out, own).addcmul_((own - lse).exp().unsqueeze(-1), heads(x, own))
    return out if bias is None else out.add_(bias), lse


def gat_scores(
    row: Tensor, col: Tensor, alpha_src: Tensor, alpha_dst: Tensor, negative_slope: float
) -> Tensor:
    """Return the score of each edge, [E, H]."""
    score = alpha_src.index_select(0, col).add_(alpha_dst.index_select(0, row))
    return F.leaky_relu_(score, negative_slope)


def mask_loops_(score: Tensor, row: Tensor, col: Tensor) -> None:
    """Leave out the self loops that the edges hold: each node has one of its own."""
    score.index_fill_(0, (row == col).nonzero().squeeze(1), -torch.inf)  # few, if any


@in_float32(keep=1)
def dot_attention(
    rowptr: Tensor, col: Tensor, query: Tensor, key: Tensor, value: Tensor, num_heads: int
) -> tuple[Tensor, Tensor]:
    """Compute `reference.dot_attention`."""
    score = dot_scores(rowptr, col, query, key, num_heads)
    attention, lse = softmax_(rowptr, reference.rows(rowptr, col.numel()), score, None)
    return bag_per_head(rowptr, col, value, attention), lse


def dot_scores(rowptr: Tensor, col: Tensor, query: Tensor, key: Tensor, num_heads: int) -> Tensor:
    """Return the score of each edge, [E, H]."""
    channels = query.shape[1] // num_heads
    return sddmm(rowptr, col, query, key, num_heads).mul_(channels**-0.5)
