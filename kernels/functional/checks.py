"""What is checked before an operator runs, and the order of what belongs to edges."""

import torch
from torch import Tensor

from ..graph import CSRGraph


def check_features(graph: CSRGraph, x: Tensor) -> None:
    """Refuse features that do not belong to the graph's source nodes."""
    if x.dim() != 2 or x.shape[0] != graph.num_src:
        raise ValueError(
            f"x must be [num_src, F] with num_src = {graph.num_src}, got {list(x.shape)}; "
            "was the graph built with another number of nodes?"
        )
    if x.device != graph.col.device:
        raise ValueError(f"x is on {x.device}, the graph on {graph.col.device}; use graph.to()")


def check_shape(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    """Refuse a tensor that has not the shape it must have."""
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} must be {list(shape)}, got {list(tensor.shape)}")


def check_heads(x: Tensor, heads: int) -> None:
    """Refuse features that a number of heads cannot share evenly."""
    if heads < 1 or x.shape[1] % heads:
        raise ValueError(f"x is {x.shape[1]} wide, which {heads} heads cannot share evenly")


def csr_order(graph: CSRGraph, weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Bring edge weights, [E] or [E, H], into CSR order and a dtype."""
    if weight.dim() not in (1, 2) or weight.shape[0] != graph.num_edges:
        raise ValueError(
            f"weight needs one value per edge, [{graph.num_edges}], or one per head, "
            f"[{graph.num_edges}, H], got {list(weight.shape)}"
        )
    return weight.index_select(0, graph.perm).to(dtype)


def transposed(graph: CSRGraph, *inputs: Tensor | None) -> tuple[Tensor | None, ...]:
    """Return the transposed graph where a backward pass will want it."""
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in inputs):
        return graph.transposed
    return (None, None, None)
