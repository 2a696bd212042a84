"""GATv2, whose score needs all channels of both ends of an edge: a block of edges at a time."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import reference
from .attention import mask_loops_, softmax_
from .blocks import add_rows, bag_per_head, blocks, heads
from .precision import in_float32


@in_float32(keep=1)
def gatv2(
    rowptr: Tensor,
    col: Tensor,
    x_l: Tensor,
    x_r: Tensor,
    att: Tensor,
    bias: Tensor | None,
    negative_slope: float,
    add_self_loops: bool,
) -> tuple[Tensor, Tensor]:
    """Compute `reference.gatv2`."""
    score, spread = x_l.new_empty(col.numel(), att.shape[0]), torch.block_diag(*att.unsqueeze(-1))
    for block in blocks(rowptr, col, x_l.shape[1]):
        both = _both(x_l, x_r, block.col, block.row)
        torch.mm(F.leaky_relu_(both, negative_slope), spread, out=score[block.edges])
    row, own = reference.rows(rowptr, col.numel()), None
    if add_self_loops:
        mask_loops_(score, row, col)
        own = F.leaky_relu_(x_l + x_r, negative_slope) @ spread
    attention, lse = softmax_(rowptr, row, score, own)
    out = bag_per_head(rowptr, col, x_l, attention)
    if own is not None:
        heads(out, own).addcmul_((own - lse).exp().unsqueeze(-1), heads(x_l, own))
    return out if bias is None else out.add_(bias), lse


@in_float32()
def gatv2_backward(
    grad: Tensor,
    rowptr: Tensor,
    col: Tensor,
    transposed: tuple[Tensor, Tensor, Tensor],
    x_l: Tensor,
    x_r: Tensor,
    att: Tensor,
    lse: Tensor,
    mean: Tensor,
    negative_slope: float,
    add_self_loops: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x_l, x_r and att.

    With z_e = x_l[j] + x_r[i], p_e the attention, g = grad and s'_e = p_e (g[i] · x_l[j] -
    mean[i]): dx_r[i] = att · Σ s'_e LeakyReLU'(z_e) over the in-edges of i, dx_l[j] the same over
    the out-edges of j plus Σ p_e g[i], and datt = Σ s'_e LeakyReLU(z_e), all per head.
    """
    rowptr_t, row_t, perm_t = transposed
    grad, spread = grad.contiguous(), torch.block_diag(*att.unsqueeze(-1))
    attention = x_l.new_empty(col.numel(), att.shape[0])
    dscore = torch.empty_like(attention)
    dx_l, dx_r = torch.zeros_like(x_l), torch.zeros_like(x_r)
    datt = torch.zeros_like(spread)
    for block in blocks(rowptr, col, x_l.shape[1]):
        source = x_l.index_select(0, block.col)
        dot = heads(grad.index_select(0, block.row).mul_(source), lse).sum(-1)
        both = F.leaky_relu_(source.add_(x_r.index_select(0, block.row)), negative_slope)
        score = (both @ spread).sub_(lse.index_select(0, block.row))
        if add_self_loops:
            mask_loops_(score, block.row, block.col)
        p = torch.exp(score, out=attention[block.edges])
        ds = torch.mul(p, dot.sub_(mean.index_select(0, block.row)), out=dscore[block.edges])
        datt.addmm_(both.t(), ds)
        add_rows(dx_r, block, _slope_(both, ds, negative_slope))
    for block in blocks(rowptr_t, row_t, x_l.shape[1]):
        both = _both(x_l, x_r, block.row, block.col)
        ds = dscore.index_select(0, perm_t[block.edges])
        add_rows(dx_l, block, _slope_(both, ds, negative_slope))
    own = None
    if add_self_loops:
        both = F.leaky_relu_(x_l + x_r, negative_slope)
        own = (both @ spread).sub_(lse).exp_()
        ds = own * ((heads(grad, own) * heads(x_l, own)).sum(-1) - mean)
        datt.addmm_(both.t(), ds)
        dself = _slope_(both, ds, negative_slope)
        dx_l, dx_r = dx_l.add_(dself), dx_r.add_(dself)
    dx_l.mul_(att.reshape(-1))
    if own is not None:
        heads(dx_l, own).addcmul_(own.unsqueeze(-1), heads(grad, own))
    del dscore
    dx_l.add_(bag_per_head(rowptr_t, row_t, grad, attention, perm_t))
    return dx_l, dx_r.mul_(att.reshape(-1)), _diagonal(datt, att)


def _both(x_l: Tensor, x_r: Tensor, source: Tensor, target: Tensor) -> Tensor:
    return x_l.index_select(0, source).add_(x_r.index_select(0, target))


def _slope_(both: Tensor, dscore: Tensor, negative_slope: float) -> Tensor:
    """Overwrite z, or LeakyReLU(z), with s' · LeakyReLU'(z); the sign is the same."""
    slope = both.gt_(0).mul_(1 - negative_slope).add_(negative_slope)
    heads(slope, dscore).mul_(dscore.unsqueeze(-1))
    return slope


def _diagonal(spread: Tensor, att: Tensor) -> Tensor:
    """Return the [H, C] that lie on the block diagonal of [H · C, H]."""
    per_head = spread.unflatten(0, tuple(att.shape))
    return per_head.diagonal(dim1=0, dim2=2).t().contiguous()
