"""What attention layers do with their heads."""

import torch.nn.functional as F
from torch import Tensor

from .. import functional
from ..graph import CSRGraph


def sum_attended(
    graph: CSRGraph,
    x: Tensor,
    attention: Tensor,
    own: Tensor | None,
    dropout: float,
    bias: Tensor | None = None,
) -> Tensor:
    """Drop out attention and sum with what is left, as layers in training do.

    Args:
        graph: The graph, N destinations, M sources, E edges.
        x: Features of the source nodes, heads side by side, [M, H · C].
        attention: Attention of each edge in CSR order, [E, H].
        own: Attention of each node to itself, [N, H], or None.
        dropout: Probability with which an attention coefficient is dropped.
        bias: Added to every row, [H · C].
    """
    out = functional.spmm_csr(graph, x, F.dropout(attention, dropout))
    if own is not None:
        heads = x.unflatten(1, (own.shape[1], -1))
        out = out + (F.dropout(own, dropout).unsqueeze(-1) * heads).flatten(1)
    return out if bias is None else out + bias


def join_heads(x: Tensor, heads: int, bias: Tensor | None = None) -> Tensor:
    """Average heads that lie side by side: [N, H · C] becomes [N, C]."""
    out = x.unflatten(1, (heads, -1)).mean(dim=1)
    return out if bias is None else out + bias
