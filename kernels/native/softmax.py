"""Softmax over each row's edges, where the attention itself is wanted."""

from torch import Tensor

from ..cpu.precision import in_float32
from .library import call, values


@in_float32()
def edge_softmax(rowptr: Tensor, score: Tensor) -> Tensor:
    """Compute `reference.edge_softmax`."""
    edges, heads = score.shape
    score, out = values("score", score, edges, heads), score.new_empty(edges, heads)
    call("edge_softmax", rowptr.numel() - 1, rowptr.contiguous(), score, out, heads)
    return out


@in_float32()
def edge_softmax_backward(grad: Tensor, rowptr: Tensor, attention: Tensor) -> Tensor:
    """Return the gradient of the scores: p_e (g_e - Σ p g of its row)."""
    edges, heads = attention.shape
    grad = values("grad", grad, edges, heads)
    attention, out = values("attention", attention, edges, heads), grad.new_empty(edges, heads)
    rows, rowptr = rowptr.numel() - 1, rowptr.contiguous()
    call("edge_softmax_backward", rows, rowptr, grad, attention, out, heads)
    return out
