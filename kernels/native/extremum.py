"""Largest and smallest features over in-neighbours."""

from torch import Tensor

from ..cpu.precision import in_float32
from .library import call, optional, values, walked


@in_float32()
def extremum(rowptr: Tensor, col: Tensor, x: Tensor, weight: Tensor | None, reduce: str) -> Tensor:
    """Compute `reference.extremum`."""
    rows, rowptr, col = walked(rowptr, col)
    (sources, features), weight = x.shape, optional("weight", weight, col.numel())
    x, out = values("x", x, sources, features), x.new_empty(rows, features)
    call("extremum", rows, rowptr, col, x, weight, out, features, int(reduce == "max"))
    return out


@in_float32()
def extremum_backward(
    grad: Tensor,
    rowptr: Tensor,
    col: Tensor,
    transposed: tuple[Tensor, Tensor, Tensor],
    x: Tensor,
    weight: Tensor | None,
    out: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return the gradients of x [M, F] and weight [E] (empty without weight)."""
    rows, rowptr, col = walked(rowptr, col)
    sources, features = x.shape
    x, weight = values("x", x, sources, features), optional("weight", weight, col.numel())
    out, grad = values("out", out, rows, features), values("grad", grad, rows, features)
    share, dx = x.new_empty(rows, features), x.new_empty(sources, features)
    dweight = x.new_empty(0 if weight is None else col.numel())
    graph = (rows, rowptr, col, sources, *transposed)
    call("extremum_backward", *graph, x, weight, out, grad, share, dx, dweight, features)
    return dx, dweight
