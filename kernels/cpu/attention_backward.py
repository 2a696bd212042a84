"""Gradients of `gat` and `dot_attention`; attention is recomputed from lse."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import reference
from .attention import dot_scores, gat_scores, mask_loops_
from .blocks import bag_per_head, heads, row_sum
from .precision import in_float32
from .spmm import sddmm

Transposed = tuple[Tensor, Tensor, Tensor]


@in_float32()
def gat_backward(
    grad: Tensor,
    rowptr: Tensor,
    col: Tensor,
    transposed: Transposed,
    x: Tensor,
    alpha_src: Tensor,
    alpha_dst: Tensor,
    lse: Tensor,
    mean: Tensor,
    negative_slope: float,
    add_self_loops: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, alpha_src and alpha_dst.

    With p_e the attention of edge e and g = grad: dx[j] = Σ p_e g[i] over the out-edges of j, and
    the score's gradient is p_e (g[i] · x[j] - mean[i]), per head; mean is what the gradients
    g · x are on average, g[i] · out[i] without the bias.
    """
    rowptr_t, row_t, perm_t = transposed
    row, grad = reference.rows(rowptr, col.numel()), grad.contiguous()
    score = gat_scores(row, col, alpha_src, alpha_dst, negative_slope)
    rises = score > 0
    if add_self_loops:
        mask_loops_(score, row, col)
    attention = score.sub_(lse.index_select(0, row)).exp_()
    dscore = sddmm(rowptr, col, grad, x, lse.shape[1]).sub_(mean.index_select(0, row))
    dscore.mul_(attention)
    dscore = torch.where(rises, dscore, negative_slope * dscore)
    dx = bag_per_head(rowptr_t, row_t, grad, attention, perm_t)
    dsrc, ddst = row_sum(rowptr_t, dscore, perm_t), row_sum(rowptr, dscore)
    if add_self_loops:
        raw = alpha_src + alpha_dst
        own = (F.leaky_relu(raw, negative_slope) - lse).exp()
        heads(dx, own).addcmul_(own.unsqueeze(-1), heads(grad, own))
        dot = (heads(grad, own) * heads(x, own)).sum(-1)
        dself = own * (dot - mean)
        dself = torch.where(raw > 0, dself, negative_slope * dself)
        dsrc, ddst = dsrc + dself, ddst + dself
    return dx, dsrc, ddst


@in_float32()
def dot_attention_backward(
    grad: Tensor,
    rowptr: Tensor,
    col: Tensor,
    transposed: Transposed,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    lse: Tensor,
    mean: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of query, key and value.

    With p_e the attention and g = grad: dvalue[j] = Σ p_e g[i], the score's gradient is
    s'_e = p_e (g[i] · value[j] - mean[i]), dquery[i] = Σ s'_e key[j] / √C, and dkey alike.
    """
    rowptr_t, row_t, perm_t = transposed
    row, grad, num_heads = reference.rows(rowptr, col.numel()), grad.contiguous(), lse.shape[1]
    attention = dot_scores(rowptr, col, query, key, num_heads)
    attention.sub_(lse.index_select(0, row)).exp_()
    dscore = sddmm(rowptr, col, grad, value, num_heads).sub_(mean.index_select(0, row))
    dscore.mul_(attention).mul_((query.shape[1] // num_heads) ** -0.5)
    dquery = bag_per_head(rowptr, col, key, dscore)
    dkey = bag_per_head(rowptr_t, row_t, query, dscore, perm_t)
    dvalue = bag_per_head(rowptr_t, row_t, grad, attention, perm_t)
    return dquery, dkey, dvalue
