"""What a trained network is like beside its accuracy, kept in its run directory.

diagnostics.json holds, of the test nodes (where a node has several labels, each of them is an
answer of its own, and a class is a label),

    students    for each student (one, but for peers)
        accuracy, confidence   means; a node's confidence is its largest probability
        ece                    Σ_b n_b / n · | accuracy_b - confidence_b | over 15 bins b
        agreement              share of nodes for which the teacher names the same class
        calibration            nodes, accuracy and confidence of each bin
        degree                 nodes and accuracy by number of incoming edges: 0, 1, 2-3, 4-7, …
        class                  nodes and accuracy by class
    attention   of each term over layer pairs, its map [teacher layers, student layers]

Maps are those of the trained objective, as it was after the last epoch, for the student's best one.
Empty bins hold null. Reference of ECE: Guo et al., "On Calibration of Modern Neural Networks", ICML
2017, equation 3, https://arxiv.org/abs/1706.04599
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checkpoint import write_in_one_step
from ..data import NodeData
from ..distillation import learnt
from ..evaluate import predict
from ..methods import Attention, LayerPairs
from ..runs import Run

DIAGNOSTICS = "diagnostics.json"
BINS = 15


def diagnose(
    students: Sequence[Run],
    data: NodeData,
    folder: Path,
    *,
    teacher: Run | None = None,
    source: Run | None = None,
) -> dict[str, Any]:
    """Diagnose a run's students, write the file into its directory, and return what it holds.

    Args:
        students: The students.
        data: The data they were trained on.
        folder: The run directory.
        teacher: Whom they are to agree with.
        source: The run they learnt from, for attention maps.
    """
    taught = None if teacher is None else predict(teacher.module, data)
    found: dict[str, Any] = {
        "students": [answers(predict(run.module, data), data, taught) for run in students]
    }
    if source is not None:
        found["attention"] = attention_maps(source, students[0], data, folder)
    write_in_one_step(folder / DIAGNOSTICS, (json.dumps(_rounded(found)) + "\n").encode())
    return found


def read_diagnostics(folder: Path) -> dict[str, Any] | None:
    """Return what a run directory's file holds, or None if there is none."""
    path = folder / DIAGNOSTICS
    return json.loads(path.read_text()) if path.is_file() else None


def brief(found: dict[str, Any] | None) -> dict[str, float | None]:
    """Return what a line of results says of diagnostics; of several students, the mean."""
    students = found["students"] if found else []
    return {
        name: float(sum(s[name] for s in students) / len(students))
        if students and students[0][name] is not None
        else None
        for name in ("ece", "agreement")
    }


def answers(logits: Tensor, data: NodeData, taught: Tensor | None = None) -> dict[str, Any]:
    """Return a network's diagnostics on the test nodes.

    Args:
        logits: Its logits, [N, C].
        data: The data.
        taught: The teacher's logits, [N, C].
    """
    test = data.split.test
    y = data.y[test]
    chosen, confidence = _chosen(logits[test], y.dim() == 2)
    right = (chosen == y).double()
    bins = (confidence * BINS).ceil().long().clamp(1, BINS) - 1
    calibration = {**_grouped(bins, right, BINS), "confidence": _means(bins, confidence, BINS)}
    agreed = None
    if taught is not None:
        agreed = float((chosen == _chosen(taught[test], y.dim() == 2)[0]).double().mean())
    degree = data.in_degree[test]
    bucket = torch.where(degree > 0, degree.clamp(min=1).double().log2().floor() + 1, 0.0).long()
    classes = y if y.dim() == 1 else torch.arange(data.num_classes).expand(y.shape)
    buckets = int(bucket.max()) + 1 if len(bucket) else 0
    return {
        "accuracy": float(right.mean()),
        "confidence": float(confidence.mean()),
        "ece": _ece(calibration),
        "agreement": agreed,
        "calibration": calibration,
        "degree": {"from": [0, *(2**i for i in range(buckets - 1))][:buckets]}
        | _grouped(bucket, right, buckets),
        "class": _grouped(classes, right, data.num_classes),
    }


def _chosen(logits: Tensor, several: bool) -> tuple[Tensor, Tensor]:
    """Return the answers and the probability of each: classes [n], or of each label [n, C]."""
    if several:
        probability = logits.double().sigmoid()
        chosen = (probability > 0.5).double()
        return chosen, torch.maximum(probability, 1 - probability)
    confidence, chosen = logits.double().softmax(dim=-1).max(dim=-1)
    return chosen, confidence


def attention_maps(teacher: Run, student: Run, data: NodeData, folder: Path) -> dict[str, Any]:
    """Return the learned map of each of a run's terms over layer pairs, [teacher, student]."""
    objective, own, taught = learnt(teacher, student, data, folder)
    with torch.no_grad():
        return {
            name: term.attention(own, taught).tolist()
            for name, term in objective.terms.items()
            if isinstance(term, LayerPairs) and isinstance(term.attention, Attention)
        }


def _grouped(group: Tensor, right: Tensor, count: int) -> dict[str, list[Any]]:
    nodes = group.flatten().bincount(minlength=count).tolist()
    return {"nodes": nodes, "accuracy": _means(group, right, count)}


def _means(group: Tensor, values: Tensor, count: int) -> list[float | None]:
    """Return the mean of values in each group; a group may be of nodes, or of each value."""
    if group.dim() < values.dim():
        values = values.mean(dim=1)
    group, values = group.flatten(), values.flatten()
    sums = torch.zeros(count, dtype=torch.float64).index_add_(0, group, values)
    nodes = group.bincount(minlength=count)
    return [s / n if n else None for s, n in zip(sums.tolist(), nodes.tolist(), strict=True)]


def _ece(calibration: dict[str, list[Any]]) -> float:
    columns = (calibration[name] for name in ("nodes", "accuracy", "confidence"))
    gaps = [n * abs(a - c) for n, a, c in zip(*columns, strict=True) if n]
    return float(sum(gaps) / sum(calibration["nodes"]))


def _rounded(value: Any) -> Any:
    """Return numbers with six significant digits: files are to be small."""
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
