"""Losses as modules, and the objective that weighs and names them.

A term sees a student's pass, a teacher's (or, where students teach each other, a peer's) and the
labels that training may see, and returns a scalar. Trainable parts of a term (projections,
attention) are parameters like any other: the optimiser finds them, checkpoints hold them, and
nothing of them is in the student.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from .data import Observed
from .errors import TapError
from .labels import divergence, label_loss, log_probabilities
from .schedule import Schedule, at

Rows = Literal["all", "train"]

_Kept = TypeVar("_Kept")


@dataclass(frozen=True, eq=False)
class Pass:
    """One run of a network: its logits [N, C], and the tapped layers' outputs, each [N, width]."""

    logits: Tensor
    layers: list[Tensor] = field(default_factory=list)
    _kept: dict[object, Any] = field(default_factory=dict, init=False, repr=False)

    def kept(self, key: object, make: Callable[[], _Kept]) -> _Kept:
        """Return what is derived from this pass, made once: a frozen teacher's stays the same."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def first(self, count: int) -> "Pass":
        """Return the answers for the first nodes."""
        return self._of(lambda h: h[:count])

    def rows(self, nodes: Tensor) -> "Pass":
        """Return the answers for some nodes, in their order."""
        return self._of(lambda h: h[nodes.to(h.device)].to(nodes.device))

    def _of(self, part: Callable[[Tensor], Tensor]) -> "Pass":
        logits = part(self.logits)
        return Pass(logits, [logits if h is self.logits else part(h) for h in self.layers])

    @property
    def last_hidden(self) -> Tensor:
        """The last tapped layer that is not the logits.

        Raises:
            TapError: If there is none.
        """
        hidden = [layer for layer in self.layers if layer is not self.logits]
        if not hidden:
            raise TapError("this loss needs a hidden layer; tap one")
        return hidden[-1]


class Term(torch.nn.Module):
    """A loss: `forward(student: Pass, teacher: Pass | None, data: Observed)` returns a scalar.

    Attributes:
        epoch: The epoch, for what changes with it; `Objective.begin` sets it.
        over_edges: Whether the loss compares the two ends of edges. Of a sampled batch it then sees
            all nodes and the seeds' in-edges; other losses see the seeds alone, because other nodes
            have not all of their neighbours there.
    """

    epoch: int = 0
    over_edges: bool = False


class Supervised(Term):
    """Cross-entropy with the labels of the training nodes, the binary one where there are several.

    Args:
        label_smoothing: Share of each label that is spread evenly over all its values.
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(self, student: Pass, teacher: Pass | None, data: Observed) -> Tensor:
        """Return the mean over the training nodes; 0 where a sampled batch has none."""
        logits, labels = student.logits[data.train], data.y[data.train]
        if data.train_size is None and data.train.numel():
            return label_loss(logits, labels, self.label_smoothing)
        mean = label_loss(logits, labels, self.label_smoothing) if data.train.numel() else 0.0
        return logits.sum() * 0 + mean * data.train.numel() / (data.train_size or 1.0)


class LogitKD(Term):
    """Soft labels: T² · KL(softmax(z_teacher / T) ‖ softmax(z_student / T)), mean over nodes.

    With a peer in the teacher's place it is deep mutual learning, with an MLP as student GLNN. Of
    several labels per node each is a distribution over yes and no: T² · KL(σ(z_teacher / T) ‖
    σ(z_student / T)), mean over nodes and labels, as their cross-entropy is.

    Args:
        temperature: T; above 1 softens both distributions. May be a schedule.
        rows: Which nodes count: all that the task asks about, whose labels it does not need, or
            those that train.

    References:
        Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, section 2,
        https://arxiv.org/abs/1503.02531
        Zhang et al., "Deep Mutual Learning", CVPR 2018, equation 5,
        https://arxiv.org/abs/1706.00384
        Zhang et al., "Graph-less Neural Networks", ICLR 2022, equation 1,
        https://arxiv.org/abs/2110.08727
    """

    def __init__(self, temperature: float | Schedule = 1.0, rows: Rows = "all") -> None:
        super().__init__()
        values = (
            [value for _, value in temperature.points]
            if isinstance(temperature, Schedule)
            else [temperature]
        )
        if min(values) <= 0:
            raise ValueError(f"temperature must be positive, got {min(values)}")
        self.temperature = temperature
        self.rows: Rows = rows

    def forward(self, student: Pass, teacher: Pass | None, data: Observed) -> Tensor:
        """Return the mean over the nodes that count."""
        temperature, taught = at(self.temperature, self.epoch), given(teacher)

        def softened(logits: Tensor) -> Tensor:
            nodes = data.train if self.rows == "train" else data.asked
            counted = logits if nodes is None else logits[nodes]
            return log_probabilities(counted / temperature, data.y)

        other = taught.kept(("soft", temperature, self.rows), lambda: softened(taught.logits))
        return temperature**2 * divergence(softened(student.logits), other)


class Objective(torch.nn.Module):
    """A weighted sum of named terms.

    Args:
        terms: Weight and term by name; a weight of zero leaves a term out, and a schedule changes
            it from epoch to epoch.
        caps: How large a term's gradient may be at most, relative to that of the terms without a
            cap: it is scaled down to that, step by step. Terms that do not know the scale of
            layers (R², CKA) can otherwise drown the task.
    """

    def __init__(
        self,
        terms: Mapping[str, tuple[float | Schedule, Term]],
        caps: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.weights = {name: weight for name, (weight, _) in terms.items() if weight != 0}
        self.terms = torch.nn.ModuleDict({name: terms[name][1] for name in self.weights})
        self.epoch = 0
        self.caps = {name: cap for name, cap in (caps or {}).items() if name in self.weights}
        if not self.weights:
            raise ValueError("an objective needs at least one term with a weight other than zero")
        if self.caps and not self.weights.keys() - self.caps.keys():
            raise ValueError("at least one term must have no cap, for the others to be measured by")

    @property
    def over_edges(self) -> bool:
        """Whether any term compares the two ends of edges."""
        return any(term.over_edges for term in self.terms.values())

    def begin(self, epoch: int) -> None:
        """Say which epoch begins, to weights and terms that change with it."""
        self.epoch = epoch
        for term in self.terms.values():
            term.epoch = epoch  # type: ignore[assignment]

    def forward(
        self,
        student: Pass,
        teacher: Pass | None,
        data: Observed,
        trained: Sequence[Tensor] = (),
    ) -> dict[str, Tensor]:
        """Return each term before weighting, and their weighted sum as "total".

        Args:
            student: The student's pass.
            teacher: The teacher's, or a peer's.
            data: What training may see.
            trained: The student's parameters, by whose gradients caps are measured.
        """
        views = {False: (student, teacher, data), True: (student, teacher, data)}
        if data.num_seeds is not None:
            views = _of_sample(student, teacher, data, data.num_seeds)
        losses = {name: term(*views[bool(term.over_edges)]) for name, term in self.terms.items()}
        weighted = {
            name: at(self.weights[name], self.epoch) * loss for name, loss in losses.items()
        }
        task = torch.stack([weighted[name] for name in weighted if name not in self.caps]).sum()
        capped = [
            weighted[name] * _scale(weighted[name], task, cap, trained)
            for name, cap in self.caps.items()
        ]
        return {**losses, "total": torch.stack([task, *capped]).sum()}


def _of_sample(
    student: Pass, teacher: Pass | None, data: Observed, count: int
) -> dict[bool, tuple[Pass, Pass | None, Observed]]:
    """Return what losses over nodes (False) and over edges (True) see of a sampled batch."""
    taught = None if teacher is None else teacher.first(count)
    return {
        False: (student.first(count), taught, data.of_seeds()),
        True: (student, teacher, data.of_seed_edges()),
    }


def given(teacher: Pass | None) -> Pass:
    """Return the teacher's pass.

    Raises:
        ValueError: If there is none.
    """
    if teacher is None:
        raise ValueError("this loss needs a teacher")
    return teacher


def _scale(loss: Tensor, task: Tensor, cap: float, trained: Sequence[Tensor]) -> Tensor:
    """Return the factor that brings a loss's gradient to `cap` times the task's, or 1."""
    if not trained:
        raise ValueError("a cap needs the trained parameters: objective(…, trained=[…])")
    norms = []
    for term in (task, loss):
        gradients = torch.autograd.grad(term, list(trained), retain_graph=True, allow_unused=True)
        known = [g.flatten() for g in gradients if g is not None]
        norms.append(torch.cat(known).norm())
    tiny = torch.finfo(loss.dtype).tiny
    return (cap * norms[0] / norms[1].clamp(min=tiny)).clamp(max=1.0)
