"""Losses as modules, and the objective that weighs and names them.

A term sees a student's pass, a teacher's and the labels that training may see, and returns a
scalar. Trainable parts of a term (projections, attention) are parameters like any other: the
optimiser finds them, checkpoints hold them, and nothing of them is in the student.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from .data import Observed


@dataclass(frozen=True, eq=False)
class Pass:
    """One run of a network: its logits [N, C], and the tapped layers' outputs, each [N, width]."""

    logits: Tensor
    layers: list[Tensor] = field(default_factory=list)


class Term(torch.nn.Module):
    """A loss: `forward(student: Pass, teacher: Pass | None, data: Observed)` returns a scalar."""


class Supervised(Term):
    """Cross-entropy with the labels of the training nodes."""

    def forward(self, student: Pass, teacher: Pass | None, data: Observed) -> Tensor:
        """Return the mean over the training nodes."""
        return F.cross_entropy(student.logits[data.train], data.y[data.train])


class LogitKD(Term):
    """Soft labels: T² · KL(softmax(z_teacher / T) ‖ softmax(z_student / T)), mean over all nodes.

    Args:
        temperature: T; above 1 softens both distributions.

    References:
        Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, section 2,
        https://arxiv.org/abs/1503.02531
    """

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.temperature = temperature

    def forward(self, student: Pass, teacher: Pass | None, data: Observed) -> Tensor:
        """Return the mean over all nodes, whose labels it does not need."""
        student_log = F.log_softmax(student.logits / self.temperature, dim=-1)
        teacher_log = F.log_softmax(_given(teacher).logits / self.temperature, dim=-1)
        divergence = F.kl_div(student_log, teacher_log, reduction="batchmean", log_target=True)
        return self.temperature**2 * divergence


class Objective(torch.nn.Module):
    """A weighted sum of named terms.

    Args:
        terms: Weight and term by name; a weight of zero leaves a term out.
    """

    def __init__(self, terms: Mapping[str, tuple[float, Term]]) -> None:
        super().__init__()
        self.weights = {name: weight for name, (weight, _) in terms.items() if weight != 0}
        self.terms = torch.nn.ModuleDict({name: terms[name][1] for name in self.weights})
        if not self.weights:
            raise ValueError("an objective needs at least one term with a weight other than zero")

    def forward(self, student: Pass, teacher: Pass | None, data: Observed) -> dict[str, Tensor]:
        """Return each term before weighting, and their weighted sum as "total"."""
        losses = {name: term(student, teacher, data) for name, term in self.terms.items()}
        total = torch.stack([self.weights[name] * loss for name, loss in losses.items()]).sum()
        return {**losses, "total": total}


def _given(teacher: Pass | None) -> Pass:
    if teacher is None:
        raise ValueError("this loss needs a teacher")
    return teacher
