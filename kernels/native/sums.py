"""Sums and means over in-neighbours, and products over edges."""

from torch import Tensor

from ..cpu.precision import in_float32
from .library import call, optional, values, walked

_ACTIVATIONS = ("none", "relu", "elu")


@in_float32()
def spmm(
    rowptr: Tensor,
    col: Tensor,
    x: Tensor,
    weight: Tensor | None,
    src_scale: Tensor | None,
    dst_scale: Tensor | None,
    self_weight: Tensor | None,
    bias: Tensor | None,
    residual: Tensor | None,
    reduce: str,
    activation: str,
) -> Tensor:
    """Compute `reference.spmm`."""
    rows, rowptr, col = walked(rowptr, col)
    sources, features = x.shape
    heads = 1 if weight is None or weight.dim() == 1 else weight.shape[1]
    weight = weight.flatten() if weight is not None and heads == 1 else weight
    tensors = (
        values("x", x, sources, features),
        optional("weight", weight, col.numel(), *([] if heads == 1 else [heads])),
        optional("src_scale", src_scale, sources),
        optional("dst_scale", dst_scale, rows),
        optional("self_weight", self_weight, rows),
        optional("bias", bias, features),
        optional("residual", residual, rows, features),
    )
    out = x.new_empty(rows, features)
    chosen = (int(reduce == "mean"), _ACTIVATIONS.index(activation))
    call("spmm", rows, rowptr, col, sources, *tensors, out, features, heads, *chosen)
    return out


@in_float32()
def sddmm(rowptr: Tensor, col: Tensor, a: Tensor, b: Tensor, num_heads: int) -> Tensor:
    """Compute `reference.sddmm`."""
    rows, rowptr, col = walked(rowptr, col)
    width = a.shape[1]
    a, b = values("a", a, rows, width), values("b", b, b.shape[0], width)
    out = a.new_empty(col.numel(), num_heads)
    call("sddmm", rows, rowptr, col, a, b, out, num_heads, width // num_heads)
    return out
