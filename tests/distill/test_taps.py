"""Taps: layers seen by path, and loud about every way this can go wrong."""

import pytest
import torch
from torch import Tensor
from torch_geometric import nn as pyg
from torch_geometric.data import HeteroData
from torch_geometric.nn import Linear, SAGEConv, to_hetero

from graphstill.distill import (
    DataError,
    Distiller,
    LogitKD,
    Objective,
    Role,
    Supervised,
    TapError,
    Taps,
    build,
    hidden_layers,
)
from graphstill.distill.methods import abkd
from graphstill.distill.models import Architecture

X, EDGES = torch.randn(5, 4), torch.tensor([[0, 1, 2], [1, 2, 3]])


def model() -> torch.nn.Module:
    return pyg.GCN(4, 8, 3, 2)


def test_layers_are_seen_in_the_order_asked_for() -> None:
    module = model()
    with Taps(module, ["act#1", "convs.0", "", "act#0"]) as taps:
        logits = module(X, EDGES)
    second, first_conv, whole, first = taps.outputs()
    assert torch.equal(whole, logits)
    assert torch.equal(first, first_conv.relu())
    assert second.shape == (5, 8)


def test_hooks_are_gone_afterwards() -> None:
    module = model()
    with Taps(module, ["convs.0"]):
        module(X, EDGES)
    assert not module.convs[0]._forward_hooks


def test_gradients_flow_through_taps() -> None:
    module = model()
    with Taps(module, ["convs.0"]) as taps:
        module(X, EDGES)
    taps.outputs()[0].sum().backward()
    assert module.convs[0].lin.weight.grad is not None


def test_a_layer_that_is_not_there_names_near_misses() -> None:
    with pytest.raises(TapError, match=r"conv\.0.*did you mean convs\.0"):
        Taps(model(), ["conv.0"])


def test_a_layer_that_did_not_run() -> None:
    module = model()
    module.add_module("unused", torch.nn.Identity())
    with Taps(module, ["unused", "convs.0"]) as taps:
        module(X, EDGES)
    with pytest.raises(TapError, match=r"'unused' did not run, 'convs\.0' did"):
        taps.outputs()


def test_a_layer_that_ran_twice_must_be_told_apart() -> None:
    module = model()
    with Taps(module, ["act"]) as taps:
        module(X, EDGES)
    with pytest.raises(TapError, match=r"ran 2 times.*act#0"):
        taps.outputs()


def test_a_call_that_did_not_happen() -> None:
    module = model()
    with Taps(module, ["act#2"]) as taps:
        module(X, EDGES)
    with pytest.raises(TapError, match="ran only 2 times"):
        taps.outputs()
    with pytest.raises(TapError, match="number of a call"):
        Taps(module, ["act#first"])


def test_a_layer_that_changes_its_width() -> None:
    class Fickle(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    module = torch.nn.Sequential(Fickle())
    taps = Taps(module, ["0"])
    with taps:
        module(torch.ones(2, 3))
    taps.outputs()
    with taps:
        module(torch.ones(2, 4))
    with pytest.raises(TapError, match="gave width 4, before it was 3"):
        taps.outputs()


def test_a_layer_that_gives_no_tensor() -> None:
    class Pair(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x, x

    module = torch.nn.Sequential(Pair())
    with pytest.raises(TapError, match="gave no tensor: tuple"), Taps(module, ["0"]):
        module(torch.ones(2, 3))


@pytest.mark.parametrize(
    ("name", "layers", "taps"),
    [
        ("GCN", 3, ["act#0", "act#1"]),
        ("GraphSAGE", 2, ["act#0", ""]),
        ("GAT", 4, ["act#0", "act#1", "act#2"]),
        ("GCNII", 3, ["act#0", "act#1", "act#2"]),
        ("MLP", 3, ["act#0", "act#1"]),
        ("SharedGCN", 2, ["act#0", "act#1"]),
        ("SharedGCNII", 3, ["act#0", "act#1", "act#2"]),
    ],
)
def test_hidden_layers_of_every_network(name: str, layers: int, taps: list[str]) -> None:
    architecture = Architecture(
        name=name, in_channels=4, hidden_channels=8, num_layers=layers, out_channels=2
    )
    module = build(architecture)
    assert hidden_layers(module) == taps
    with Taps(module, taps) as watched:
        module(X) if name == "MLP" else module(X, EDGES)
    assert all(len(output) == 5 for output in watched.outputs())


def test_hidden_layers_of_an_unknown_network() -> None:
    with pytest.raises(ValueError, match="name them"):
        hidden_layers(torch.nn.Linear(2, 2))


class Typed(torch.nn.Module):
    """Two convolutions that share an activation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = SAGEConv((-1, -1), 8), SAGEConv((-1, -1), 6)
        self.act = torch.nn.ReLU()
        self.lin = Linear(-1, 3)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        x = self.act(self.conv1(x, edge_index))
        return self.lin(self.act(self.conv2(x, edge_index)))


def typed(aggr: str) -> tuple[torch.nn.Module, dict[str, Tensor], dict[tuple[str, ...], Tensor]]:
    kinds = [("author", "writes", "paper"), ("paper", "by", "author"), ("paper", "cites", "paper")]
    module = to_hetero(Typed(), (["paper", "author"], kinds), aggr=aggr)
    x = {"paper": torch.randn(9, 4), "author": torch.randn(5, 3)}
    sizes = {"paper": 9, "author": 5}
    edges = {
        kind: torch.stack([torch.randint(0, sizes[end], (14,)) for end in kind[::2]])
        for kind in kinds
    }
    module(x, edges)
    return module, x, edges


@pytest.mark.parametrize("aggr", ["sum", "mean", "max"])
def test_layers_inside_to_hetero_by_their_original_path(aggr: str) -> None:
    module, x, edges = typed(aggr)
    paths = ["conv1[paper]", "conv1[author]", "act#0[paper]", "act#1[paper]", "lin[paper]"]
    with Taps(module, paths) as taps:
        out = module(x, edges)
    first, author, active, later, logits = taps.outputs()
    copies = dict(module.named_modules())
    writes = copies["conv1.author__writes__paper"]
    cites = copies["conv1.paper__cites__paper"]
    parts = [
        writes((x["author"], x["paper"]), edges["author", "writes", "paper"]),
        cites(x["paper"], edges["paper", "cites", "paper"]),
    ]
    joined = torch.stack(parts)
    joined = joined.amax(0) if aggr == "max" else getattr(joined, aggr)(0)
    torch.testing.assert_close(first, joined)
    torch.testing.assert_close(active, joined.relu())
    torch.testing.assert_close(logits, out["paper"])
    assert author.shape == (5, 8)
    assert later.shape == (9, 6)
    torch.testing.assert_close(copies["lin.paper"](later), logits)
    first.sum().backward()
    assert writes.lin_l.weight.grad is not None


def test_wrong_layers_inside_to_hetero_name_near_misses() -> None:
    module, _, _ = typed("sum")
    with pytest.raises(TapError, match=r"did you mean conv1\[paper\]"):
        Taps(module, ["conv11[paper]"])
    with pytest.raises(TapError, match=r"for nodes of type 'venue'; did you mean"):
        Taps(module, ["conv1[venue]"])
    plain = Typed()
    with Taps(plain, ["conv1[paper]"]) as taps:
        plain(torch.randn(3, 4), torch.zeros(2, 1, dtype=torch.int64))
    with pytest.raises(TapError, match=r"conv1 gave a Tensor"):
        taps.outputs()
    with pytest.raises(TapError, match="no layer 'conv3'; did you mean conv2"):
        Taps(plain, ["conv3[paper]"])
    with pytest.raises(TapError, match="did not run"), Taps(module, ["conv1"]) as taps:
        taps.outputs()


def test_a_heterogeneous_student_learns_from_another() -> None:
    torch.manual_seed(0)
    teacher, x, edges = typed("sum")
    student, _, _ = typed("mean")
    batch = HeteroData()
    for kind, features in x.items():
        batch[kind].x = features
    for kind, edge_index in edges.items():
        batch[kind].edge_index = edge_index
    batch["paper"].y = torch.arange(9) % 3
    batch["paper"].train_mask = torch.arange(9) < 4

    def papers(module: torch.nn.Module, part: HeteroData) -> Tensor:
        return module(part.x_dict, part.edge_index_dict)["paper"]

    taps = ["conv1[paper]", "conv2[paper]"]
    terms = {
        "labels": (1.0, Supervised()),
        "logits": (1.0, LogitKD()),
        "pairs": (1.0, abkd([8, 6], [8, 6], 4)),
    }
    roles = [Role(module, taps, papers) for module in (student, teacher)]
    distiller = Distiller(roles[0], Objective(terms), roles[1], node_type="paper")
    optimizer = torch.optim.Adam(distiller.parameters(), lr=0.02)
    totals = []
    for _ in range(30):
        losses = distiller(batch)
        optimizer.zero_grad()
        losses["total"].backward()
        optimizer.step()
        totals.append(float(losses["total"].detach()))
    assert totals[-1] < 0.5 * totals[0]
    with pytest.raises(DataError, match="needs node_type, one of paper, author"):
        Distiller(roles[0], Objective(terms), roles[1])(batch)
