"""Dropout by 16 random bits a number, and features that are mostly zeros."""

import pytest
import torch
import torch.nn.functional as F

from graphstill.distill import Architecture, NodeData, Split, TrainSettings, build, call, train
from graphstill.distill.dropout import Dropout, dropout, exchange, mask
from graphstill.distill.models import takes_sparse
from graphstill.distill.sparse import SparseFeatures, worth_it


@pytest.mark.parametrize("p", [0.1, 0.5, 0.6, 0.999])
def test_dropout_keeps_the_share_and_the_mean(p: float) -> None:
    torch.manual_seed(0)
    factors = mask(400_001, p, torch.float64)
    assert factors.shape == (400_001,)
    assert len(factors.unique()) == 2
    deviation = (p * (1 - p) / 400_001) ** 0.5
    assert float((factors == 0).double().mean()) == pytest.approx(p, abs=4 * deviation)
    assert float(factors.max()) == pytest.approx(1 / (1 - p), rel=0.02)
    expected = 4 * deviation * float(factors.max())
    assert float(factors.mean()) == pytest.approx(1, abs=expected)


def test_dropout_masks_are_independent_along_their_draws() -> None:
    torch.manual_seed(0)
    zeros = (mask(1 << 18, 0.5, torch.float32) == 0).double() - 0.5
    for lag in (1, 2, 3, 4, 8):
        assert float((zeros[lag:] * zeros[:-lag]).mean()) == pytest.approx(0, abs=0.0025)


def test_dropout_is_repeatable_and_differentiable() -> None:
    x = torch.randn(7, 5, requires_grad=True)
    torch.manual_seed(3)
    first = dropout(x, 0.4)
    torch.manual_seed(3)
    assert torch.equal(first, dropout(x, 0.4))
    first.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad * x, first)


def test_dropout_ends_where_it_has_nothing_to_do() -> None:
    x = torch.ones(3, 3)
    assert dropout(x, 0.5, training=False) is x
    assert dropout(x, 0.0) is x
    assert bool((dropout(x, 1.0) == 0).all())
    assert dropout(torch.ones(0, 3), 0.5).shape == (0, 3)


def test_every_dropout_of_a_module_is_exchanged() -> None:
    module = torch.nn.Sequential(torch.nn.Dropout(0.3), torch.nn.ModuleList([torch.nn.Dropout()]))
    exchange(module)
    assert [m.p for m in module.modules() if isinstance(m, Dropout)] == [0.3, 0.5]


def bag_of_words() -> NodeData:
    torch.manual_seed(0)
    x = torch.randn(30, 40) * (torch.rand(30, 40) < 0.1)
    x[4] = 0
    split = Split(torch.arange(10), torch.arange(10, 20), torch.arange(20, 30))
    return NodeData("words", x, torch.randint(0, 30, (2, 90)), torch.arange(30) % 3, split)


def network(name: str, hidden_channels: int = 8) -> Architecture:
    return Architecture(
        name=name,
        in_channels=40,
        hidden_channels=hidden_channels,
        num_layers=2,
        out_channels=3,
        arguments={"norm": None} if name == "MLP" else {},
    )


def test_a_product_with_sparse_features_is_that_with_dense_ones() -> None:
    x = bag_of_words().x
    sparse, weight = SparseFeatures.of(x), torch.randn(6, 40, requires_grad=True)
    assert sparse.shape == x.shape
    assert sparse.size(0) == 30
    bias = torch.randn(6, requires_grad=True)
    torch.testing.assert_close(F.linear(sparse, weight, bias), F.linear(x, weight, bias))
    wanted = torch.autograd.grad(F.linear(x, weight, bias).square().sum(), [weight, bias])
    got = torch.autograd.grad(F.linear(sparse, weight, bias).square().sum(), [weight, bias])
    torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("name", ["GCN", "GraphSAGE", "GAT", "GCNII", "MLP"])
def test_networks_take_sparse_features_for_dense_ones(name: str) -> None:
    data, architecture = bag_of_words(), network(name)
    assert takes_sparse(architecture)
    assert data.sparse_x is not None
    torch.manual_seed(1)
    module = build(architecture).eval()
    dense, sparse = (call(module, x, data.graph) for x in (data.x, data.sparse_x))
    torch.testing.assert_close(sparse, dense)


def test_sparse_features_lose_words_in_training() -> None:
    x = SparseFeatures.of(torch.ones(100, 100))
    torch.manual_seed(0)
    half = F.dropout(x, 0.5)
    assert 0.45 < float((half.value == 0).double().mean()) < 0.55
    assert F.dropout(x, 0.5, training=False) is x


def test_rows_of_sparse_features_are_those_of_dense_ones() -> None:
    x, rows = bag_of_words().x, torch.tensor([8, 4, 4, 0])
    eye = torch.eye(x.shape[1])
    part = SparseFeatures.of(x).rows(rows)
    torch.testing.assert_close(F.linear(part, eye), x[rows])
    assert part.to("cpu").shape == (4, 40)


def test_what_does_not_begin_with_a_linear_layer_is_told_so() -> None:
    with pytest.raises(TypeError, match=r"begin with a linear layer, this network with relu"):
        torch.relu(SparseFeatures.of(torch.eye(3)))  # type: ignore[arg-type]
    assert not takes_sparse(network("GCN", hidden_channels=64))


def test_dense_features_stay_dense() -> None:
    assert not worth_it(torch.randn(5, 5))
    assert worth_it(torch.eye(10))
    data = bag_of_words()
    assert isinstance(data.observed(sparse=True).x, SparseFeatures)
    assert isinstance(data.observed().x, torch.Tensor)


def test_training_on_sparse_features() -> None:
    settings = TrainSettings(epochs=3, input_dropout=0.3)
    run = train(network("GCN"), bag_of_words(), settings, progress=False)
    assert set(run.accuracy) == {"train", "val", "test"}
