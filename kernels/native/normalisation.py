"""The normalisation of GCN."""

import torch
from torch import Tensor

from .library import call, optional, walked


def gcn_norm(
    rowptr: Tensor,
    col: Tensor,
    weight: Tensor | None,
    in_degree: Tensor | None,
    fill_value: float,
    add_self_loops: bool,
) -> tuple[Tensor, Tensor]:
    """Compute `reference.gcn_norm` in float32."""
    rows, rowptr, col = walked(rowptr, col)
    weight = optional("weight", weight, col.numel())
    given = None if in_degree is None or in_degree.numel() == 0 else in_degree
    degrees = optional("in_degree", given, rows)
    scale = rowptr.new_empty(rows, dtype=torch.float32)
    self_weight = torch.empty_like(scale)
    settings = (1.0 if weight is None else float(fill_value), int(add_self_loops))
    call("gcn_norm", rows, rowptr, col, weight, degrees, *settings, scale, self_weight)
    return scale, self_weight
