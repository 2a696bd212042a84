"""Gradients that can be differentiated again.

Fused backward passes write no graph for autograd. Where one is asked for (`create_graph=True`:
gradient penalties, forces as gradients of energies), torch differentiates the plain definition
instead, which holds what the kernels spare: tensors of size [E, H · C].
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def differentiable_gradients(
    definition: Callable[..., Tensor], inputs: Sequence[Tensor | None], grad: Tensor
) -> list[Tensor | None]:
    """Return the definition's gradient of each input, None where none is needed."""
    with torch.enable_grad():
        # a tensor may come twice, and each of its places has a gradient of its own
        own = [t.view_as(t) if t is not None and t.requires_grad else t for t in inputs]
        wanted = [t for t in own if t is not None and t.requires_grad]
        found = iter(torch.autograd.grad(definition(*own), wanted, grad, create_graph=True))
    return [next(found) if t is not None and t.requires_grad else None for t in own]
