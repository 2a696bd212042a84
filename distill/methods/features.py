"""FitNet and attention transfer: the last hidden layers of both, node by node."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..data import Observed
from ..losses import Pass, Term, given


class FitNet(Term):
    """Features: mean over nodes and channels of (norm(p(s)) - norm(q(t)))².

    p and q are trained: a linear layer, a batch norm and a ReLU each.

    Args:
        teacher_width: Width of the teacher's last hidden layer.
        student_width: Width of the student's.
        dim: Width of the common space.

    References:
        Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015, equation 3,
        https://arxiv.org/abs/1412.6550; rows scaled to length 1 as in Joshi et al.,
        https://arxiv.org/abs/2111.04964
    """

    def __init__(self, teacher_width: int, student_width: int, dim: int = 64) -> None:
        super().__init__()
        self.teacher = projector(teacher_width, dim)
        self.student = projector(student_width, dim)

    def forward(self, student: Pass, teacher: Pass | None, data: Observed) -> Tensor:
        """Return the mean over all nodes."""
        own = F.normalize(self.student(student.last_hidden), dim=1)
        return F.mse_loss(own, F.normalize(self.teacher(given(teacher).last_hidden), dim=1))


class AttentionTransfer(Term):
    """Where activations are large: mean over nodes of (norm(a_s) - norm(a_t))².

    a[v] = Σ_d h[v, d]², and norm is over the nodes.

    References:
        Zagoruyko and Komodakis, "Paying More Attention to Attention", ICLR 2017, equation 2,
        https://arxiv.org/abs/1612.03928
    """

    def forward(self, student: Pass, teacher: Pass | None, data: Observed) -> Tensor:
        """Return the mean over all nodes."""
        return F.mse_loss(_energy(student.last_hidden), _energy(given(teacher).last_hidden))


def _energy(layer: Tensor) -> Tensor:
    return F.normalize(layer.square().sum(dim=1), dim=0)


def projector(width: int, dim: int) -> torch.nn.Sequential:
    """Return what a layer is compared through: linear, batch norm, ReLU."""
    return torch.nn.Sequential(
        torch.nn.Linear(width, dim), torch.nn.BatchNorm1d(dim), torch.nn.ReLU()
    )
