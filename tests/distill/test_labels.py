"""Several labels per node, two classes, and what answers are measured by."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import f1_score, roc_auc_score
from torch import Tensor
from torch_geometric.data import Data

from graphstill.distill import (
    Architecture,
    DataError,
    DistillSettings,
    LogitKD,
    NodeData,
    Observed,
    OnlineSettings,
    Pass,
    Split,
    Supervised,
    TrainSettings,
    accuracies,
    digits,
    distill,
    train,
    train_together,
)
from graphstill.distill.labels import score
from graphstill.distill.methods import DeepSupervision

N, C = 60, 5


def several(**changes: Any) -> NodeData:
    """Digits with a label for each of the ten, and one for being odd."""
    data = digits()
    y = torch.cat([F.one_hot(data.y, 10), (data.y % 2).unsqueeze(1)], dim=1).float()
    return replace(data, **{"y": y, "class_names": None, **changes})


@pytest.fixture
def observed() -> Observed:
    torch.manual_seed(0)
    y = torch.full((N, C), -1.0)
    y[:30] = torch.randint(0, 2, (30, C)).float()
    graph = digits().graph
    return Observed(torch.randn(N, 3), graph, y, torch.arange(20), torch.arange(20, 30), C)


def logits() -> Tensor:
    return torch.randn(N, C, dtype=torch.float64)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_supervised_is_the_binary_cross_entropy(smoothing: float, observed: Observed) -> None:
    z = logits()
    y = observed.y[:20].double() * (1 - smoothing) + smoothing / 2
    p = z[:20].sigmoid()
    wanted = -(y * p.log() + (1 - y) * (1 - p).log()).mean()
    torch.testing.assert_close(Supervised(smoothing)(Pass(z), None, observed), wanted)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_logit_kd_is_the_divergence_of_each_label(temperature: float, observed: Observed) -> None:
    student, teacher = logits(), logits()
    p, q = (teacher / temperature).sigmoid(), (student / temperature).sigmoid()
    divergence = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
    got = LogitKD(temperature)(Pass(student), Pass(teacher), observed)
    torch.testing.assert_close(got, temperature**2 * divergence.mean())
    assert LogitKD(temperature)(Pass(teacher), Pass(teacher), observed).abs() < 1e-12


def test_logit_kd_of_sure_answers_is_finite(observed: Observed) -> None:
    student = torch.full((N, C), -200.0, requires_grad=True)
    loss = LogitKD()(Pass(student), Pass(torch.full((N, C), 200.0)), observed)
    loss.backward()
    torch.testing.assert_close(loss.detach(), torch.tensor(200.0))
    assert student.grad is not None
    assert bool(student.grad.isfinite().all())


def test_deep_supervision_takes_several_labels(observed: Observed) -> None:
    heads, layers = DeepSupervision([4, 6], C), [torch.randn(N, 4), torch.randn(N, 6)]
    wanted = sum(
        F.binary_cross_entropy_with_logits(head(h[:20]), observed.y[:20])
        for head, h in zip(heads.heads, layers, strict=True)
    )
    torch.testing.assert_close(heads(Pass(torch.zeros(N, C), layers), None, observed), wanted)


def test_metrics_are_scikit_learns() -> None:
    torch.manual_seed(1)
    z, y = logits().round(decimals=1), torch.randint(0, 2, (N, C))
    y[:, 4] = 1  # a label that all nodes have cannot be ranked
    said = z > 0
    assert score(z, y.float(), "micro-f1") == pytest.approx(f1_score(y, said, average="micro"))
    areas = [roc_auc_score(y[:, i], z[:, i]) for i in range(4)]
    assert score(z, y.float(), "roc-auc") == pytest.approx(sum(areas) / 4)
    two = z[:, :2]
    wanted = roc_auc_score(y[:, 0], two[:, 1] - two[:, 0])
    assert score(two, y[:, 0], "roc-auc") == pytest.approx(wanted)
    assert score(z, z.argmax(dim=1), "accuracy") == 1.0
    assert score(-torch.ones(3, 2), torch.zeros(3, 2), "micro-f1") == 1.0


def test_training_sees_labels_of_train_and_val_alone() -> None:
    data = several()
    seen = data.observed()
    assert data.num_classes == 11
    assert set(seen.y[data.split.test].unique().tolist()) == {-1.0}
    assert torch.equal(seen.y[data.split.val], data.y[data.split.val])


def test_yes_and_no_become_numbers() -> None:
    yes = several(y=several().y > 0)
    assert yes.y.dtype == torch.float32
    assert torch.equal(yes.y, several().y)
    masks = {
        f"{name}_mask": torch.arange(6) // 2 == i for i, name in enumerate(("train", "val", "test"))
    }
    pyg = Data(
        x=torch.ones(6, 1), edge_index=torch.zeros(2, 0).long(), y=torch.eye(6).bool(), **masks
    )
    assert NodeData.from_pyg(pyg).metric_name == "micro-f1"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"y": several().y * 2}, "must be 0 or 1, got 2"),
        ({"class_names": ["a", "b"]}, "11 labels need as many class_names, got 2"),
        ({"metric": "accuracy"}, "several labels per node cannot be measured by accuracy"),
        ({"y": digits().y, "metric": "micro-f1"}, "one of 10 classes cannot be measured by micro"),
        ({"y": digits().y, "metric": "roc-auc"}, "one of 10 classes cannot be measured by roc"),
    ],
)
def test_labels_and_metrics_that_do_not_fit(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        several(**changes)


def architecture(data: NodeData, hidden: int) -> Architecture:
    return Architecture(
        name="GCN",
        in_channels=data.num_features,
        hidden_channels=hidden,
        num_layers=3,
        out_channels=data.num_classes,
    )


def test_every_kind_of_run_learns_several_labels() -> None:
    data, settings = several(), TrainSettings(epochs=25, lr=0.02, select="metric")
    taught = train(architecture(data, 32), data, settings, progress=False)
    assert taught.accuracy["test"] > 0.5
    assert taught.provenance["metric"] == "micro-f1"
    terms = [{"term": "lsp"}, {"term": "abkd", "weight": 0.01}, {"term": "g-crd", "nodes": 64}]
    method = DistillSettings(alpha=0.5, terms=terms)
    settings = settings.model_copy(update={"epochs": 10})
    small = architecture(data, 8)
    student = distill(taught, small, data, settings, method, progress=False)
    peers = train_together(small, data, settings, OnlineSettings(supervision=0.5))
    assert min(run.accuracy["val"] for run in (student, *peers)) > 0.1
    whole = student.module(data.x, data.graph)
    assert accuracies(whole, data) == student.accuracy


def test_two_classes_are_measured_by_area() -> None:
    data = digits()
    split = Split.fractions(data.num_nodes, 0.3, 0.3, 0)
    changes = {"class_names": None, "metric": "roc-auc", "split": split}
    odd = replace(data, y=data.y % 2, **changes)
    run = train(architecture(odd, 8), odd, TrainSettings(epochs=20, lr=0.02), progress=False)
    z = run.module(odd.x, odd.graph).detach()[split.test]
    wanted = roc_auc_score(odd.y[split.test], z[:, 1] - z[:, 0])
    assert run.accuracy["test"] == pytest.approx(wanted)
