"""Distances of the two ends of each edge."""

from torch import Tensor

from ..cpu.precision import in_float32
from .library import call, values, walked


@in_float32()
def edge_l1(rowptr: Tensor, col: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Compute `reference.edge_l1`."""
    rows, rowptr, col = walked(rowptr, col)
    width, out = a.shape[1], a.new_empty(col.numel())
    a, b = values("a", a, rows, width), values("b", b, b.shape[0], width)
    call("edge_l1", rows, rowptr, col, a, b, out, width)
    return out


@in_float32()
def edge_l1_backward(grad: Tensor, rowptr: Tensor, col: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return the gradient of a: Σ g_e · sign(a[i] - b[col[e]]) over each row."""
    rows, rowptr, col = walked(rowptr, col)
    width = a.shape[1]
    out = a.new_empty(rows, width)
    a, b = values("a", a, rows, width), values("b", b, b.shape[0], width)
    call("edge_l1_backward", rows, rowptr, col, values("grad", grad, col.numel()), a, b, out, width)
    return out
