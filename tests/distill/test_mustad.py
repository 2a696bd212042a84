"""MustaD: a student of one shared layer, and its loss, against their formulas written out."""

from math import log
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from graphstill.distill import Architecture, Observed, Pass, TrainSettings, build, digits, train
from graphstill.distill.methods import MustaD
from graphstill.distill.models import hidden_convs
from graphstill.export import check_parity, export_run, rebuild
from graphstill.kernels import CSRGraph

N, C = 12, 4


def network(name: str, layers: int, **arguments: float) -> torch.nn.Module:
    sizes = {"in_channels": 6, "hidden_channels": 5, "out_channels": C}
    return build(Architecture(name=name, num_layers=layers, arguments=arguments, **sizes)).double()


def adjacency(edge_index: Tensor) -> Tensor:
    dense = torch.eye(N, dtype=torch.float64)
    dense.index_put_((edge_index[1], edge_index[0]), torch.ones(edge_index.shape[1]).double(), True)
    scale = dense.sum(1).rsqrt()
    return scale.unsqueeze(1) * dense * scale


@pytest.fixture
def edges() -> Tensor:
    return torch.tensor([[0, 1, 2, 3, 4, 7, 8, 1], [1, 2, 3, 4, 0, 8, 7, 0]])


def test_one_gcnii_layer_is_applied_with_each_depths_beta(edges: Tensor) -> None:
    module, x = network("SharedGCNII", 7, alpha=0.2, theta=0.7), torch.randn(N, 6).double()
    a, weight = adjacency(edges), module.convs[0].weight1
    h = first = module.lin_in(x).relu()
    for depth in range(1, 8):
        beta = log(0.7 / depth + 1)
        mixed = 0.8 * a @ h + 0.2 * first
        h = ((1 - beta) * mixed + beta * mixed @ weight).relu()
    torch.testing.assert_close(module(x, edges), module.lin_out(h))


def test_one_gcn_layer_is_applied_again_and_again(edges: Tensor) -> None:
    module, x = network("SharedGCN", 3), torch.randn(N, 6).double()
    a, conv, h = adjacency(edges), module.convs[0], module.lin_in(x).relu()
    for _ in range(3):
        h = (a @ h @ conv.lin.weight.t() + conv.bias).relu()
    torch.testing.assert_close(module(x, edges), module.lin_out(h))


@pytest.mark.parametrize("name", ["SharedGCN", "SharedGCNII"])
def test_depth_costs_no_parameters(name: str) -> None:
    counts = [sum(p.numel() for p in network(name, k).parameters()) for k in (1, 2, 64)]
    assert len(set(counts)) == 1
    assert hidden_convs(network(name, 2)) == ["convs.0#0", "convs.0#1"]


def test_a_shared_student_stays_small_on_disk_and_exports(tmp_path: Path) -> None:
    data = digits()
    sizes = {"in_channels": 64, "hidden_channels": 4, "out_channels": 10}
    architecture = Architecture(name="SharedGCNII", num_layers=6, **sizes)
    run = train(architecture, data, TrainSettings(epochs=2), directory=tmp_path, progress=False)
    assert len(safetensors.torch.load_file(tmp_path / "weights.safetensors")) == 5
    bundle = export_run(run, tmp_path / "bundle")
    assert bundle.manifest.hops == 6
    assert bundle.manifest.parameters == 64 * 4 + 4 + 16 + 40 + 10
    assert check_parity(rebuild(bundle), bundle).ok


@pytest.mark.parametrize("width", [5, 7])
def test_mustads_loss_is_its_formula(width: int) -> None:
    graph = CSRGraph.from_edge_index(torch.randint(0, N, (2, 20)), N)
    train = torch.arange(5)
    data = Observed(torch.randn(N, 3), graph, torch.arange(N) % C, train, train + 5, C)
    student, teacher = (
        Pass(torch.randn(N, C).double(), [torch.randn(N, w).double()]) for w in (5, width)
    )
    term = MustaD(width, 5, predictions=3.0, embeddings=0.5).double()
    assert isinstance(term.match, torch.nn.Identity) == (width == 5)
    total = torch.zeros((), dtype=torch.float64)
    for v in range(5):
        p, q = (teacher.logits[v] / 2).softmax(0), student.logits[v].softmax(0)
        total = total + 3 * (p * (p / q).log()).sum() / 5
        p = teacher.layers[0][v].softmax(0)
        q = term.match(student.layers[0][v]).softmax(0)
        total = total + 0.5 * (p * (p / q).log()).sum() / 5
    torch.testing.assert_close(term(student, teacher, data), total)
