"""The fastest forms of the operators that torch has on a CPU.

`embedding_bag` is a sparse sum over rows: a table, indices, offsets and a weight per index are
exactly features, `col`, `rowptr` and edge weights, and it writes nothing of size [E, F]. Attention
is made of the same sum, one head at a time, over scores of size [E, H].
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from . import reference

# edges whose features fit into a core's cache together; measured, 16 times more is 10 times slower
_CPU_CHUNK = 4096
# elsewhere a launch must be worth its price
_DEVICE_CHUNK = 1 << 20


def spmm(
    rowptr: Tensor,
    col: Tensor,
    x: Tensor,
    weight: Tensor | None,
    src_scale: Tensor | None,
    dst_scale: Tensor | None,
    self_weight: Tensor | None,
    bias: Tensor | None,
    reduce: str,
) -> Tensor:
    """Compute `reference.spmm`. Half precision is summed in float32."""
    if x.dtype in (torch.float16, torch.bfloat16):
        w, s, d, o, b = (
            t if t is None else t.float() for t in (weight, src_scale, dst_scale, self_weight, bias)
        )
        return spmm(rowptr, col, x.float(), w, s, d, o, b, reduce).to(x.dtype)
    factor = weight
    if src_scale is not None:
        per_edge = src_scale.index_select(0, col)
        factor = per_edge if weight is None else weight * per_edge
    out = _bag(rowptr, col, x, factor)
    if reduce == "mean":
        out.div_(rowptr.diff().clamp_(min=1).unsqueeze(-1))
    if self_weight is not None:
        own = self_weight if src_scale is None else self_weight * src_scale
        out.addcmul_(own.unsqueeze(-1), x)
    if dst_scale is not None:
        out.mul_(dst_scale.unsqueeze(-1))
    return out if bias is None else out.add_(bias)


def sddmm(rowptr: Tensor, col: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Compute `reference.sddmm`, a few edges at a time: no [E, F] temporary."""
    row, chunk = reference.rows(rowptr, col.numel()), _CPU_CHUNK if a.is_cpu else _DEVICE_CHUNK
    pieces = [
        (a.index_select(0, i) * b.index_select(0, j)).sum(-1)
        for i, j in zip(row.split(chunk), col.split(chunk), strict=True)
    ]
    return torch.cat(pieces) if pieces else a.new_zeros(0)


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
    score = _scores(row, col, alpha_src, alpha_dst, negative_slope, add_self_loops)
    top = torch.segment_reduce(score, "max", offsets=rowptr, axis=0)
    own = None
    if add_self_loops:
        own = F.leaky_relu(alpha_src + alpha_dst, negative_slope)
        top = torch.maximum(top, own)
    top = torch.where(top.isinf(), 0.0, top)
    exp = score.sub_(top.index_select(0, row)).exp_()
    total = torch.segment_reduce(exp, "sum", offsets=rowptr, axis=0)
    if own is not None:
        total += (own - top).exp()
    lse = total.log() + top
    attention = exp.div_(total.index_select(0, row))
    out = _bag_per_head(rowptr, col, x, attention)
    if own is not None:
        _heads(out, own).addcmul_((own - lse).exp().unsqueeze(-1), _heads(x, own))
    return out if bias is None else out.add_(bias), lse


def gat_backward(
    grad: Tensor,
    rowptr: Tensor,
    col: Tensor,
    transposed: tuple[Tensor, Tensor, Tensor],
    x: Tensor,
    alpha_src: Tensor,
    alpha_dst: Tensor,
    out: Tensor,
    lse: Tensor,
    negative_slope: float,
    add_self_loops: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, alpha_src and alpha_dst.

    With p_e the attention of edge e, g = grad and out without the bias: dx[j] = Σ p_e g[i] over the
    out-edges of j, and the score's gradient is p_e (g[i] · x[j] - g[i] · out[i]), per head.
    Attention is recomputed from lse.
    """
    rowptr_t, row_t, perm_t = transposed
    row = reference.rows(rowptr, col.numel())
    score = _scores(row, col, alpha_src, alpha_dst, negative_slope, add_self_loops)
    slope = _leaky_slope(score, negative_slope)
    attention = score.sub_(lse.index_select(0, row)).exp_()
    grad, mean = grad.contiguous(), (_heads(grad, lse) * _heads(out, lse)).sum(-1)  # [N, H]
    pairs = zip(_heads(grad, lse).unbind(1), _heads(x, lse).unbind(1), strict=True)
    dots = [sddmm(rowptr, col, a, b) for a, b in pairs]
    dscore = attention * slope * (torch.stack(dots, dim=1) - mean.index_select(0, row))
    dx = _bag_per_head(rowptr_t, row_t, grad, attention.index_select(0, perm_t))
    dsrc = torch.segment_reduce(dscore.index_select(0, perm_t), "sum", offsets=rowptr_t, axis=0)
    ddst = torch.segment_reduce(dscore, "sum", offsets=rowptr, axis=0)
    if add_self_loops:
        raw = alpha_src + alpha_dst
        own = (F.leaky_relu(raw, negative_slope) - lse).exp()
        _heads(dx, own).addcmul_(own.unsqueeze(-1), _heads(grad, own))
        dot = (_heads(grad, own) * _heads(x, own)).sum(-1)
        dself = own * _leaky_slope(raw, negative_slope) * (dot - mean)
        dsrc, ddst = dsrc + dself, ddst + dself
    return dx, dsrc, ddst


def _scores(
    row: Tensor,
    col: Tensor,
    alpha_src: Tensor,
    alpha_dst: Tensor,
    negative_slope: float,
    add_self_loops: bool,
) -> Tensor:
    score = alpha_src.index_select(0, col).add_(alpha_dst.index_select(0, row))
    score = F.leaky_relu_(score, negative_slope)
    if add_self_loops:  # loops among the edges do not count
        score.masked_fill_((row == col).unsqueeze(-1), -torch.inf)
    return score


def _leaky_slope(value: Tensor, negative_slope: float) -> Tensor:
    return torch.full_like(value, negative_slope).masked_fill_(value > 0, 1.0)


def _bag(rowptr: Tensor, col: Tensor, x: Tensor, weight: Tensor | None) -> Tensor:
    if col.numel() == 0 or x.numel() == 0:
        return x.new_zeros(rowptr.numel() - 1, x.shape[-1])
    # embedding_bag wants indices and offsets of one type
    offsets = rowptr.to(col.dtype) if col.numel() < 2**31 else rowptr
    return F.embedding_bag(
        col.to(offsets.dtype),
        x.contiguous(),
        offsets,
        mode="sum",
        include_last_offset=True,
        per_sample_weights=weight,
    )


def _bag_per_head(rowptr: Tensor, col: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    out = x.new_empty(rowptr.numel() - 1, x.shape[1])
    for head, (table, target) in enumerate(
        zip(_heads(x, weight).unbind(1), _heads(out, weight).unbind(1), strict=True)
    ):
        target.copy_(_bag(rowptr, col, table, weight[:, head].contiguous()))
    return out


def _heads(x: Tensor, per_head: Tensor) -> Tensor:
    """View [N, H · C] as [N, H, C], H being the width of the other tensor."""
    return x.unflatten(1, (per_head.shape[1], -1))
