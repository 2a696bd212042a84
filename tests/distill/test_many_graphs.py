"""Inductive settings: test nodes, or whole graphs, that training never sees."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from graphstill.distill import (
    Architecture,
    DataError,
    DistillSettings,
    NodeData,
    OnlineSettings,
    Split,
    TrainSettings,
    call,
    digits,
    distill,
    join,
    load_run,
    predict,
    train,
    train_together,
)
from graphstill.distill.labels import score
from graphstill.distill.many_graphs import largest_component_of
from graphstill.distill.parts import largest_component

SETTINGS = TrainSettings(epochs=4, lr=0.02)


def graph(seed: int, nodes: int = 30) -> Data:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(nodes, 6, generator=generator)
    pairs = torch.randint(0, nodes, (2, 4 * nodes), generator=generator)
    return Data(x=x, edge_index=pairs, y=(x[:, :3].abs() > 0.7).float())


def five(**changes: object) -> NodeData:
    graphs = [graph(seed, 20 + 5 * seed) for seed in range(5)]
    return join(graphs[:2], graphs[2:3], graphs[3:], graph_names="abcde", **changes)


def architecture(data: NodeData, name: str = "GraphSAGE", **arguments: object) -> Architecture:
    return Architecture(
        name=name,
        in_channels=data.num_features,
        hidden_channels=8,
        num_layers=2,
        out_channels=data.num_classes,
        arguments=arguments,
    )


def test_training_sees_training_graphs_alone() -> None:
    data = five()
    seen = data.observed()
    assert data.split_name == "by graph, 2 / 1 / 2"
    assert torch.equal(seen.x, torch.cat([graph(0, 20).x, graph(1, 25).x]))
    assert seen.graph.num_edges == 4 * 45
    assert torch.equal(seen.train, torch.arange(45))
    assert seen.val.numel() == 0
    validation = seen.validation
    assert validation is not None
    assert torch.equal(validation.x, graph(2, 30).x)
    assert torch.equal(validation.y[validation.val], graph(2, 30).y)
    assert validation.train.numel() == 0
    assert torch.equal(validation.n_id, torch.arange(45, 75))


def test_what_is_in_test_graphs_changes_nothing() -> None:
    data, runs = five(), []
    for x in (data.x, data.x.index_fill(0, data.split.test, 1e6)):
        changed = replace(data, x=x)
        settings = SETTINGS.model_copy(update={"epochs": 12})
        taught = train(architecture(data, norm="batch_norm"), changed, settings, progress=False)
        method = DistillSettings(terms=[{"term": "lsp"}])
        runs.append(distill(taught, architecture(data), changed, SETTINGS, method, progress=False))
        runs += train_together(
            architecture(data, "GCN"), changed, SETTINGS, OnlineSettings(students=2)
        )
    for a, b in zip(runs[:3], runs[3:], strict=True):
        for name, tensor in a.module.state_dict().items():
            assert torch.equal(tensor, b.module.state_dict()[name])
        assert a.accuracy["val"] == b.accuracy["val"]


def test_each_test_graph_is_reported() -> None:
    data = five()
    # a norm over all nodes of a graph: others beside it would change its answers
    run = train(architecture(data, norm="graph_norm"), data, SETTINGS, progress=False)
    assert list(run.accuracy) == ["train", "val", "test", "test_d", "test_e"]
    alone = graph(4, 40)
    logits = run.module(alone.x, alone.edge_index).detach()
    assert torch.equal(predict(run.module, data)[-40:], logits)
    assert run.accuracy["test_e"] == pytest.approx(score(logits, alone.y, "micro-f1"))


def test_graphs_that_do_not_fit_together() -> None:
    first, second, third = (graph(seed) for seed in range(3))
    with pytest.raises(DataError, match="test must not be empty"):
        join([first], [second], [])
    with pytest.raises(DataError, match="graph 2 needs x, edge_index and y, it has"):
        join([first], [second], [Data(x=third.x)])
    third.y = third.y[:, :2]
    with pytest.raises(DataError, match="same features and labels"):
        join([first], [second], [third])


def test_names_are_as_many_as_graphs() -> None:
    with pytest.raises(DataError, match="3 graphs need as many names"):
        join([graph(0)], [graph(1)], [graph(2)], graph_names=["a"])
    with pytest.raises(DataError, match="training sees none"):
        five().with_unseen(0.2, 0)


def test_unseen_nodes_and_their_edges_are_not_observed() -> None:
    data = digits().with_unseen(0.2, seed=3)
    unseen, seen = data.unseen, data.observed()
    assert unseen is not None
    assert unseen.numel() == round(0.2 * data.split.test.numel())
    assert bool(torch.isin(unseen, data.split.test).all())
    assert data.split_name == "20 + 30 per class, seed 0, 0.2 of test unseen, seed 3"
    assert not torch.isin(seen.n_id, unseen).any()
    assert seen.x.shape[0] == data.num_nodes - unseen.numel()
    assert torch.equal(seen.n_id[seen.train], data.split.train)
    assert torch.equal(seen.y[seen.val], data.y[data.split.val])
    pairs = set(
        zip(*data.edge_index[:, ~torch.isin(data.edge_index, unseen).any(0)].tolist(), strict=True)
    )
    col, row = seen.graph.col.long(), rows(seen.graph.rowptr)
    assert set(zip(*seen.n_id[torch.stack([col, row])].tolist(), strict=True)) == pairs
    assert not torch.equal(digits().with_unseen(0.2, seed=4).unseen, unseen)


def rows(rowptr: Tensor) -> Tensor:
    return torch.arange(rowptr.numel() - 1).repeat_interleave(rowptr.diff())


def test_what_unseen_nodes_hold_changes_nothing(tmp_path: Path) -> None:
    data = digits().with_unseen(0.2, seed=0)
    runs = []
    for number, x in enumerate((data.x, data.x.index_fill(0, data.unseen, 1e6))):
        changed = replace(data, x=x)
        taught = train(
            architecture(data), changed, SETTINGS, directory=tmp_path / str(number), progress=False
        )
        method = DistillSettings(terms=())
        runs.append(distill(taught, architecture(data, "MLP"), changed, SETTINGS, method))
    for name, tensor in runs[0].module.state_dict().items():
        assert torch.equal(tensor, runs[1].module.state_dict()[name])
    loaded = load_run(tmp_path / "0")
    with pytest.raises(DataError, match="use the same data and split seed"):
        distill(loaded, architecture(data), digits(), SETTINGS, DistillSettings(terms=()))


def test_observed_nodes_are_answered_without_the_unseen() -> None:
    data = digits().with_unseen(0.2, seed=0)
    run = train(architecture(data), data, SETTINGS, progress=False)
    logits, seen = predict(run.module, data), data.observed()
    assert torch.equal(logits[seen.n_id], call(run.module, seen.x, seen.graph).detach())
    whole = run.module(data.x, data.graph).detach()
    assert torch.equal(logits[data.unseen], whole[data.unseen])
    observed = data.split.test[~torch.isin(data.split.test, data.unseen)]
    right = (logits.argmax(1) == data.y).double()
    found = run.accuracy
    assert found["test_inductive"] == pytest.approx(float(right[data.unseen].mean()))
    assert found["test_observed"] == pytest.approx(float(right[observed].mean()))
    mixed = 0.8 * found["test_observed"] + 0.2 * found["test_inductive"]
    assert found["production"] == pytest.approx(mixed, abs=1e-3)
    assert found["production"] == pytest.approx(found["test"])


@pytest.mark.parametrize("share", [0.0, 1.0, 1e-9])
def test_a_share_must_leave_both_parts(share: float) -> None:
    with pytest.raises(DataError, match="leaves none on one side"):
        digits().with_unseen(share, 0)


def test_another_split_has_nothing_unseen() -> None:
    data = digits().with_unseen(0.2, 0)
    assert data.with_split(Split.fractions(data.num_nodes, 0.2, 0.2, 1), "b").unseen is None


def test_the_largest_component() -> None:
    pairs = torch.tensor([[0, 1, 4, 5, 6], [1, 0, 5, 6, 2]])
    assert largest_component(pairs, 8).tolist() == [2, 4, 5, 6]
    assert largest_component(pairs[:, :0], 3).tolist() == [0]
    x, y = torch.arange(8.0).unsqueeze(1), torch.arange(8)
    split = Split(torch.tensor([1, 2]), torch.tensor([4, 7]), torch.tensor([6]))
    found = largest_component_of(NodeData("parts", x, pairs, y, split))
    assert found.y.tolist() == [2, 4, 5, 6]
    assert found.edge_index.tolist() == [[1, 2, 3], [2, 3, 0]]
    assert [part.tolist() for part in (found.split.train, found.split.val, found.split.test)] == [
        [0],
        [1],
        [3],
    ]
    assert found.split_name == "own, largest component"
