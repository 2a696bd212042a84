"""Registration of `csr` and `gcn_norm`."""

import torch
from torch import Tensor

from .. import native, reference

Transposed = tuple[Tensor, Tensor, Tensor]


@torch.library.custom_op("graphstill::csr", mutates_args=())
def csr(edge_index: Tensor, num_src: int, num_dst: int) -> tuple[Tensor, Tensor, Tensor]:
    """See `reference.csr`."""
    if edge_index.is_cpu and not native.problem():
        return native.csr(edge_index, num_src, num_dst)
    return reference.csr(edge_index, num_src, num_dst)


@torch.library.register_fake("graphstill::csr")
def _(edge_index: Tensor, num_src: int, num_dst: int) -> tuple[Tensor, Tensor, Tensor]:
    num_edges = edge_index.shape[1]
    return (
        edge_index.new_empty(num_dst + 1),
        edge_index.new_empty(num_edges, dtype=torch.int32),
        edge_index.new_empty(num_edges),
    )


def transpose(rowptr: Tensor, col: Tensor, num_src: int) -> Transposed:
    """Return rowptr_t [M + 1], row_t [E] and perm_t [E]: the out-edges of each source node."""
    row = reference.rows(rowptr, col.numel())
    edge_index = torch.stack([row, col.to(torch.int64)])
    return torch.ops.graphstill.csr(edge_index, rowptr.numel() - 1, num_src)


@torch.library.custom_op("graphstill::gcn_norm", mutates_args=())
def gcn_norm(
    rowptr: Tensor,
    col: Tensor,
    weight: Tensor | None,
    in_degree: Tensor | None,
    fill_value: float,
    add_self_loops: bool,
) -> tuple[Tensor, Tensor]:
    """See `reference.gcn_norm`; not differentiable, `functional.gcn_norm` is."""
    floats = [t for t in (weight, in_degree) if t is not None and t.numel()]
    if rowptr.is_cpu and not native.problem() and all(t.dtype == torch.float32 for t in floats):
        return native.gcn_norm(rowptr, col, weight, in_degree, fill_value, add_self_loops)
    return reference.gcn_norm(rowptr, col, weight, in_degree, fill_value, add_self_loops)


@torch.library.register_fake("graphstill::gcn_norm")
def _(
    rowptr: Tensor,
    col: Tensor,
    weight: Tensor | None,
    in_degree: Tensor | None,
    fill_value: float,
    add_self_loops: bool,
) -> tuple[Tensor, Tensor]:
    dtype = torch.float32 if weight is None else weight.dtype
    scale = rowptr.new_empty(rowptr.shape[0] - 1, dtype=dtype)
    return scale, torch.empty_like(scale)


def transposed_or_built(
    transposed: list[Tensor | None], rowptr: Tensor, col: Tensor, num_src: int
) -> Transposed:
    """Return the transposed graph as it was given, or build it."""
    rowptr_t, row_t, perm_t = transposed
    if rowptr_t is None or row_t is None or perm_t is None:
        return transpose(rowptr, col, num_src)
    return rowptr_t, row_t, perm_t


def needs_grad(ctx, index: int) -> bool:
    """Return whether an argument needs a gradient; torch does not list those left at defaults."""
    return index < len(ctx.needs_input_grad) and ctx.needs_input_grad[index]
