"""What is asked of a node: which of C classes it has, or of each of C labels whether it has it.

Classes are [N] int64; several labels are [N, C] float32, zeros and ones. Which of the two it is
decides the loss, the soft loss and the metric, and nothing else.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import DataError

# in place of a label that training must not see, or that there is none of
HIDDEN = -1

Metric = Literal["accuracy", "micro-f1", "roc-auc"]


def check_labels(y: Tensor, num_classes: int) -> None:
    """Check the labels of nodes that have some.

    Args:
        y: Classes [n], or labels [n, C].
        num_classes: Number of classes C.

    Raises:
        DataError: If a class is out of range, or a label is neither 0 nor 1.
    """
    if y.dim() == 2 and not bool(((y == 0) | (y == 1)).all()):
        wrong = y[(y != 0) & (y != 1)][0]
        raise DataError(f"several labels per node must be 0 or 1, got {float(wrong):g}")
    if y.dim() == 1 and y.numel() and not 0 <= int(y.min()) <= int(y.max()) < num_classes:
        raise DataError(
            f"labels must be in [0, {num_classes}), got {int(y.min())} to {int(y.max())}; nodes "
            "without a label may be in none of train, val and test"
        )


def label_loss(logits: Tensor, y: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return cross-entropy, mean over nodes; or the binary one, mean over nodes and labels.

    Args:
        logits: [n, C].
        y: Classes [n], or labels [n, C].
        smoothing: Share of each label that is spread evenly over all its values.
    """
    if y.dim() == 1:
        return F.cross_entropy(logits, y, label_smoothing=smoothing)
    y = y.to(logits.dtype)
    return F.binary_cross_entropy_with_logits(logits, (1 - smoothing) * y + smoothing / 2)


def log_probabilities(logits: Tensor, y: Tensor) -> Tensor:
    """Return log-probabilities of classes, [n, C]; or of yes and no to each label, [n, C, 2].

    Args:
        logits: [n, C].
        y: What such answers are to: classes [N], or labels [N, C].
    """
    if y.dim() == 1:
        return F.log_softmax(logits, dim=-1)
    return F.logsigmoid(torch.stack([logits, -logits], dim=-1))


def divergence(own: Tensor, other: Tensor) -> Tensor:
    """Return KL(other ‖ own) of log-probabilities, mean over nodes, and over labels if several."""
    return F.kl_div(own, other, reduction="none", log_target=True).sum(dim=-1).mean()


def score(logits: Tensor, y: Tensor, metric: Metric) -> float:
    """Return how good answers are, 0-1.

    Args:
        logits: [n, C].
        y: Classes [n], or labels [n, C].
        metric: "accuracy": share of nodes whose class has the largest logit. "micro-f1": F1 over
            all labels of all nodes, a label being given where its logit is positive. "roc-auc":
            area under the ROC curve of one of two classes, or the mean over labels that some nodes
            have and some have not.
    """
    if metric == "accuracy":
        return float((logits.argmax(dim=-1) == y).double().mean())
    if metric == "micro-f1":
        return _micro_f1(logits > 0, y > 0)
    if y.dim() == 1:
        return _roc_auc(logits[:, 1] - logits[:, 0], y == 1)
    areas = [_roc_auc(z, t) for z, t in zip(logits.T, y.T > 0, strict=True) if 0 < t.sum() < len(t)]
    return sum(areas) / len(areas) if areas else float("nan")


def fitting_metric(metric: Metric | None, y: Tensor, num_classes: int) -> Metric:
    """Return a metric, or the usual one of such labels.

    Raises:
        DataError: If such labels cannot be measured by it.
    """
    usual: Metric = "accuracy" if y.dim() == 1 else "micro-f1"
    fits = metric in (None, usual) or (metric == "roc-auc" and (y.dim() == 2 or num_classes == 2))
    if not fits:
        kind = "several labels per node" if y.dim() == 2 else f"one of {num_classes} classes"
        raise DataError(f"{kind} cannot be measured by {metric}; {usual} is usual")
    return metric or usual


def _micro_f1(said: Tensor, true: Tensor) -> float:
    both, all_of_them = (said & true).sum(), said.sum() + true.sum()
    return float(2 * both.double() / all_of_them) if all_of_them else 1.0


def _roc_auc(scores: Tensor, positive: Tensor) -> float:
    """Return the Mann-Whitney statistic over its maximum, from ranks; ties share theirs."""
    _, place, count = scores.unique(return_inverse=True, return_counts=True)
    last = count.cumsum(0).double()
    rank = (last - (count - 1) / 2)[place]
    ones = int(positive.sum())
    zeros = len(positive) - ones
    if not ones or not zeros:
        return float("nan")
    return float((rank[positive].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def as_labels(y: Tensor) -> Tensor:
    """Return labels in the type that they are kept in: [N, 1] is one class, bool is 0 or 1."""
    if y.dim() == 2 and y.shape[1] == 1 and not y.is_floating_point() and y.dtype != torch.bool:
        return y.squeeze(1)
    return y.float() if y.dim() == 2 else y
