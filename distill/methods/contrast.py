"""G-CRD: a node's student embedding should be nearest to its own teacher embedding.

    loss = mean_v -log( exp(ŝ[v] · t̂[v] / τ) / Σ_u exp(ŝ[v] · t̂[u] / τ) )

with ŝ and t̂ the projected last hidden layers, rows scaled to length 1, over nodes drawn each step.

Reference: Joshi et al., "On Representation Knowledge Distillation for Graph Neural Networks", IEEE
TNNLS 2022, equation 8, https://arxiv.org/abs/2111.04964
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..data import Observed
from ..losses import Pass, Term, given
from .features import projector
from .projections import drawn


class GCRD(Term):
    """Contrastive distillation of the last hidden layer.

    Args:
        teacher_width: Width of the teacher's layer.
        student_width: Width of the student's layer.
        dim: Width of the common space.
        temperature: τ.
        nodes: Most nodes that are contrasted, drawn each step.
    """

    def __init__(
        self,
        teacher_width: int,
        student_width: int,
        dim: int = 64,
        temperature: float = 0.075,
        nodes: int = 2048,
    ) -> None:
        super().__init__()
        self.teacher = projector(teacher_width, dim)
        self.student = projector(student_width, dim)
        self.temperature = temperature
        self.nodes = nodes

    def forward(self, student: Pass, teacher: Pass | None, data: Observed) -> Tensor:
        """Return the mean over the nodes that were drawn."""
        own, other = drawn(student, given(teacher), self.nodes)
        pair = (self.student(own).unsqueeze(0), self.teacher(other).unsqueeze(0))
        return contrast(*pair, self.temperature).squeeze()


def contrast(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return InfoNCE of embeddings [S, m, d] and [T, m, d] of some layers for all pairs, [T, S].

    A row's partner is the row of the same number.
    """
    own, other = F.normalize(student, dim=2) / temperature, F.normalize(teacher, dim=2)
    layers, nodes, teachers = *own.shape[:2], len(other)
    # rows are (s, v, t), so that softmax and cross-entropy are one operation each
    logits = (own.flatten(0, 1) @ other.flatten(0, 1).T).view(-1, nodes)
    partner = torch.arange(nodes, device=own.device).repeat_interleave(teachers).repeat(layers)
    losses = F.cross_entropy(logits, partner, reduction="none")
    return losses.view(layers, nodes, teachers).mean(dim=1).T
