"""Edge lists sorted by destination."""

import torch
from torch import Tensor

from .. import reference
from .library import call


def csr(edge_index: Tensor, num_src: int, num_dst: int) -> tuple[Tensor, Tensor, Tensor]:
    """Compute `reference.csr`."""
    if num_src > torch.iinfo(torch.int32).max:
        return reference.csr(edge_index, num_src, num_dst)  # says what is wrong
    src, dst = (ids.to(torch.int64).contiguous() for ids in edge_index)
    num_edges = src.numel()
    rowptr, perm = dst.new_empty(num_dst + 1), dst.new_empty(num_edges)
    col, bad = dst.new_empty(num_edges, dtype=torch.int32), torch.empty(1, dtype=torch.int64)
    call("csr", src, dst, num_edges, num_src, num_dst, rowptr, col, perm, bad)
    if int(bad) >= 0:
        return reference.csr(edge_index, num_src, num_dst)
    return rowptr, col, perm
