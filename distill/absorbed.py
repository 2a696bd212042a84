"""A student of one layer, from the layer of a deeper one that absorbs most of its teacher.

A term with learned attention (ABKD, STRIDE) leaves a map A [T, S]: which of the student's layers
each of the teacher's layers goes to. Where most rows choose one layer, that layer has learnt most
of what the teacher has to teach:

    j = argmax_j |{i : argmax_j A_ij = j}|,  of equals the one with the larger Σ_i A_ij

A network of one layer takes over its weights and the linear layers at both ends. The paper says so
much and no more. GCNII's β depends on depth, and the layer is now the first: the matrix becomes
Θ' = ((β₁ - β_j) I + β_j Θ) / β₁, with which it still computes (1-β_j) I + β_j Θ.

Reference: Ahluwalia et al., "STRIDE: Structure and Embedding Distillation with Attention for Graph
Neural Networks", section 3.2.3, second version of https://arxiv.org/abs/2310.15938
"""

import re
from math import log

import torch
from torch import Tensor

from .errors import TrainingError
from .losses import Objective, Pass
from .methods import Attention, LayerPairs
from .models import Architecture

# networks with a linear layer at both ends
_LINEAR_ENDS = ("GCNII",)


def check_linear_ends(architecture: Architecture) -> None:
    """Refuse a network without linear layers at both ends: no layer of it can stand alone.

    Raises:
        ValueError: If it is one.
    """
    if architecture.name not in _LINEAR_ENDS or architecture.num_layers < 2:
        raise ValueError(
            "a student of one layer is made from a GCNII of two or more, which has linear layers "
            f"at both ends; got {architecture.name} of {architecture.num_layers}"
        )


def attention_map(objective: Objective, own: Pass, taught: Pass) -> Tensor:
    """Return the map of an objective's first term with learned attention, [T, S].

    Args:
        objective: What a student was trained with.
        own: The trained student's answers and layers.
        taught: The teacher's.

    Raises:
        ValueError: If no term has learned attention.
    """
    for term in objective.terms.values():
        if isinstance(term, LayerPairs) and isinstance(term.attention, Attention):
            with torch.no_grad():
                return term.attention(own, taught)
    raise ValueError(
        "which layer absorbs the teacher is said by learned attention; use a term such as abkd or "
        f"stride, got {', '.join(objective.terms)}"
    )


def absorbing(attention: Tensor) -> int:
    """Return the column that most rows choose; of equals the one with the largest sum."""
    chosen = torch.bincount(attention.argmax(dim=1), minlength=attention.shape[1])
    most = chosen == chosen.max()
    return int(attention.sum(dim=0).masked_fill(~most, -1.0).argmax())


def layer_of(tap: str) -> int:
    """Return the number of the convolution behind a tap: "act#2", "convs.2" or "convs.2…".

    Raises:
        TrainingError: If the tap is none of them.
    """
    found = re.match(r"(?:act#|convs\.)(\d+)", tap)
    if found is None:
        raise TrainingError(
            f"most of the teacher goes to {tap or 'the logits'!r}, which is no convolution; leave "
            "it out of student_layers"
        )
    return int(found[1])


def one_layer(
    architecture: Architecture, state: dict[str, Tensor], layer: int
) -> tuple[Architecture, dict[str, Tensor]]:
    """Return a network of one layer and its state, from a layer of a deeper one, from 0.

    Raises:
        ValueError: If the network has no linear layers at both ends.
    """
    check_linear_ends(architecture)
    theta = float(architecture.arguments.get("theta", 0.5))
    first, beta = log(theta + 1), log(theta / (layer + 1) + 1)
    kept = {name: tensor.clone() for name, tensor in state.items() if name.startswith("lin_")}
    for name, tensor in state.items():
        if name.startswith(f"convs.{layer}."):
            same = torch.eye(len(tensor), dtype=tensor.dtype)
            kept[f"convs.0.{name.split('.', 2)[2]}"] = (
                (first - beta) * same + beta * tensor
            ) / first
    return architecture.model_copy(update={"num_layers": 1}), kept
