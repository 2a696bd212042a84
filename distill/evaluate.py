"""What a network's answers are worth: accuracy on each set, agreement with another network."""

import torch
from torch import Tensor

from .batches import BatchSettings
from .data import NodeData
from .distiller import Role
from .inference import answers
from .models import call


def predict(
    module: torch.nn.Module, data: NodeData, batches: BatchSettings | None = None
) -> Tensor:
    """Return the logits of all nodes, [N, C], in evaluation mode.

    Args:
        module: The network.
        data: The data.
        batches: How it was trained on parts of the graph; with an `eval_batch_size` it answers for
            that many nodes at a time.
    """
    if batches is not None and batches.eval_batch_size is not None:
        nodes, size = torch.arange(data.num_nodes), batches.eval_batch_size
        found = answers(Role(module), data.observed(), nodes, batches.hops, size)
        return torch.cat([answer.logits for _, answer in found])
    module.eval()
    with torch.no_grad():
        return call(module, data.x, data.graph)


def accuracies(logits: Tensor, data: NodeData) -> dict[str, float]:
    """Return the accuracy on train, val and test, fractions in 0-1. Reads the test labels."""
    right = logits.argmax(dim=-1) == data.y
    parts = {"train": data.split.train, "val": data.split.val, "test": data.split.test}
    return {name: float(right[nodes].double().mean()) for name, nodes in parts.items()}


def agreement(a: Tensor, b: Tensor) -> float:
    """Return the fraction of nodes for which two networks name the same class."""
    return float((a.argmax(dim=-1) == b.argmax(dim=-1)).double().mean())
