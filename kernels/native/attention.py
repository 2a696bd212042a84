"""Attention over in-neighbours, by three kinds of scores."""

from torch import Tensor

from ..cpu.precision import in_float32
from .library import call, optional, values, walked

Transposed = tuple[Tensor, Tensor, Tensor]
_ADDITIVE, _DYNAMIC, _SCALED = range(3)


def _forward(
    kind: int,
    rowptr: Tensor,
    col: Tensor,
    value: Tensor,
    scored: tuple[Tensor, Tensor],
    att: Tensor | None,
    bias: Tensor | None,
    heads: int,
    slope: float,
    add_self_loops: bool,
) -> tuple[Tensor, Tensor]:
    """Return out [N, H · C] and lse [N, H]."""
    rows, rowptr, col = walked(rowptr, col)
    sources, width = value.shape
    tensors = (
        values("value", value, sources, width),
        *_scored(kind, scored, rows, sources, heads, width),
        optional("att", att, heads, width // heads),
        optional("bias", bias, width),
    )
    out, lse = value.new_empty(rows, width), value.new_empty(rows, heads)
    settings = (heads, width // heads, slope, int(add_self_loops))
    call("attention", kind, rows, rowptr, col, *tensors, out, lse, *settings)
    return out, lse


def _scored(
    kind: int, scored: tuple[Tensor, Tensor], rows: int, sources: int, heads: int, width: int
) -> tuple[Tensor, Tensor]:
    """Return both that are scored, checked: those of sources first, but for a query and a key."""
    ends = (rows, sources) if kind == _SCALED else (sources, rows)
    columns = heads if kind == _ADDITIVE else width
    first, second = (
        values(f"what is scored of {end} nodes", tensor, end, columns)
        for tensor, end in zip(scored, ends, strict=True)
    )
    return first, second


def _backward(
    kind: int,
    grad: Tensor,
    rowptr: Tensor,
    col: Tensor,
    transposed: Transposed,
    value: Tensor,
    scored: tuple[Tensor, Tensor],
    att: Tensor | None,
    lse: Tensor,
    mean: Tensor,
    slope: float,
    add_self_loops: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Return the gradients of value, of both that are scored, and of att."""
    rows, rowptr, col = walked(rowptr, col)
    (sources, width), heads = value.shape, lse.shape[1]
    first, second = _scored(kind, scored, rows, sources, heads, width)
    inputs = (
        values("grad", grad, rows, width),
        values("value", value, sources, width),
        first,
        second,
        optional("att", att, heads, width // heads),
        values("lse", lse, rows, heads),
        values("mean", mean, rows, heads),
    )
    dvalue, datt = (
        value.new_empty(sources, width),
        None if att is None else att.new_empty(att.shape),
    )
    # what GATv2 scores is what it sums, and its gradient one tensor
    da = dvalue if kind == _DYNAMIC else value.new_empty(first.shape)
    db = value.new_empty(second.shape)
    rowptr_t, row_t, _perm_t = transposed
    settings = (heads, width // heads, slope, int(add_self_loops))
    graph = (rows, rowptr, col, sources, rowptr_t, row_t)
    call("attention_backward", kind, *graph, *inputs, dvalue, da, db, datt, *settings)
    return dvalue, da, db, datt


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
    scored, heads = (alpha_src, alpha_dst), alpha_src.shape[1]
    return _forward(
        _ADDITIVE, rowptr, col, x, scored, None, bias, heads, negative_slope, add_self_loops
    )


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
    """Return the gradients of x, alpha_src and alpha_dst."""
    graph, scored = (rowptr, col, transposed), (alpha_src, alpha_dst)
    settings = (negative_slope, add_self_loops)
    return _backward(_ADDITIVE, grad, *graph, x, scored, None, lse, mean, *settings)[:3]


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
    scored, heads = (x_l, x_r), att.shape[0]
    return _forward(
        _DYNAMIC, rowptr, col, x_l, scored, att, bias, heads, negative_slope, add_self_loops
    )


@in_float32()
def gatv2_backward(
    grad: Tensor,
    rowptr: Tensor,
    col: Tensor,
    transposed: Transposed,
    x_l: Tensor,
    x_r: Tensor,
    att: Tensor,
    lse: Tensor,
    mean: Tensor,
    negative_slope: float,
    add_self_loops: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x_l, x_r and att."""
    graph, settings = (rowptr, col, transposed), (negative_slope, add_self_loops)
    _, dx_l, dx_r, datt = _backward(
        _DYNAMIC, grad, *graph, x_l, (x_l, x_r), att, lse, mean, *settings
    )
    assert datt is not None
    return dx_l, dx_r, datt


@in_float32(keep=1)
def dot_attention(
    rowptr: Tensor, col: Tensor, query: Tensor, key: Tensor, value: Tensor, num_heads: int
) -> tuple[Tensor, Tensor]:
    """Compute `reference.dot_attention`."""
    factor = (query.shape[1] // num_heads) ** -0.5
    return _forward(_SCALED, rowptr, col, value, (query, key), None, None, num_heads, factor, False)


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
    """Return the gradients of query, key and value."""
    factor, graph = (query.shape[1] // lse.shape[1]) ** -0.5, (rowptr, col, transposed)
    dvalue, dquery, dkey, _ = _backward(
        _SCALED, grad, *graph, value, (query, key), None, lse, mean, factor, False
    )
    return dquery, dkey, dvalue
