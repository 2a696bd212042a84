"""The sampler: what it draws against its definition, and what networks answer on it."""

from collections import Counter

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from graphstill.distill import (
    Architecture,
    DataError,
    NeighborLoader,
    NeighborSampler,
    Sample,
    build,
)
from graphstill.distill.batches import Seeds, mixed
from graphstill.distill.sampler import below, subsets
from graphstill.kernels import CSRGraph, GCNConv

N, F, C = 60, 7, 4
HUB, LONELY = 3, 59


def edges() -> Tensor:
    """A hub with two edges from every other node but one, self loops, duplicates, a lonely node."""
    torch.manual_seed(1)
    around = torch.arange(N - 1)
    hub = torch.stack([around, torch.full_like(around, HUB)])
    loops = torch.stack([around[::7], around[::7]])
    random = torch.randint(0, N - 1, (2, 150))
    return torch.cat([hub, hub, loops, random, random[:, :20]], dim=1)


@pytest.fixture
def graph() -> CSRGraph:
    return CSRGraph.from_edge_index(edges(), N)


def asked(graph: CSRGraph, sample: Sample, fan_outs: list[int]) -> None:
    """Go through a sample node by node and compare it with what it should hold."""
    met = sample.n_id[: sample.num_seeds].tolist()
    assert len(set(sample.n_id.tolist())) == len(sample.n_id)
    local = {node: place for place, node in enumerate(sample.n_id.tolist())}
    degrees = sample.graph.rowptr.diff().tolist()
    known, frontier = set(met), list(met)
    for fan_out in fan_outs:
        found: set[int] = set()
        for node in frontier:
            first, last = (int(graph.rowptr[node + i]) for i in (0, 1))
            begin, end = (int(sample.graph.rowptr[local[node] + i]) for i in (0, 1))
            taken = sample.e_id[begin:end].tolist()
            wanted = last - first if fan_out == -1 else min(fan_out, last - first)
            assert len(taken) == len(set(taken)) == wanted
            assert all(first <= edge < last for edge in taken)
            sources = [int(graph.col[edge]) for edge in taken]
            assert sources == sample.n_id[sample.graph.col[begin:end].long()].tolist()
            found |= set(sources)
        frontier = sorted(found - known)
        known |= found
    assert known == set(local)
    assert all(degrees[local[node]] == 0 for node in frontier)


@pytest.mark.parametrize("fan_outs", [[3, 2], [-1, -1], [1], [100, 100], [2, -1, 5], []])
@pytest.mark.parametrize("seeds", [[0], [HUB], [LONELY], [5, HUB, LONELY, 1, 40]])
def test_a_sample_is_what_its_definition_says(
    graph: CSRGraph, fan_outs: list[int], seeds: list[int]
) -> None:
    sampler = NeighborSampler(graph, fan_outs)
    for number in range(3):
        sample = sampler.sample(torch.tensor(seeds), number)
        assert sample.n_id[: sample.num_seeds].tolist() == seeds
        asked(graph, sample, fan_outs)


def test_with_replacement_every_node_with_edges_gets_as_many_as_asked_for(graph: CSRGraph) -> None:
    sampler = NeighborSampler(graph, [4], replace=True)
    sample = sampler.sample(torch.tensor([LONELY, 7, HUB]), 0)
    assert sample.graph.rowptr.tolist()[:4] == [0, 0, 4, 8]
    first = graph.rowptr[[7, HUB]].repeat_interleave(4)
    last = graph.rowptr[[8, HUB + 1]].repeat_interleave(4)
    assert bool(((sample.e_id >= first) & (sample.e_id < last)).all())


def test_every_subset_is_equally_likely() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = subsets(torch.full((20_000,), 5), 2, generator)
    counts = Counter(map(tuple, drawn.tolist()))
    assert sorted(counts) == [(a, b) for a in range(5) for b in range(a + 1, 5)]
    chi2 = sum((count - 2000) ** 2 / 2000 for count in counts.values())
    assert chi2 < 27.9  # 99.9 % of the distribution with 9 degrees of freedom


def test_draws_stay_below_their_limit() -> None:
    limit = torch.tensor([1, 2, 3, 2**52 + 1]).repeat(10_000)
    drawn = below(limit, torch.Generator().manual_seed(0))
    assert bool(((drawn >= 0) & (drawn < limit)).all())


def test_the_same_seed_gives_the_same_sample_whatever_was_drawn_before(graph: CSRGraph) -> None:
    sampler = NeighborSampler(graph, [3, 3])
    seeds = torch.tensor([HUB, 9])
    first = sampler.sample(seeds, 7)
    other = sampler.sample(seeds, 8)
    again = sampler.sample(seeds, 7)
    assert torch.equal(first.n_id, again.n_id)
    assert torch.equal(first.e_id, again.e_id)
    assert not torch.equal(first.e_id, other.e_id)


def test_edges_are_in_pygs_form_too(graph: CSRGraph) -> None:
    sample = NeighborSampler(graph, [2, 2]).sample(torch.tensor([4, HUB]), 0)
    built = CSRGraph.from_edge_index(sample.edge_index, sample.n_id.numel())
    assert torch.equal(built.rowptr, sample.graph.rowptr)
    assert torch.equal(built.col, sample.graph.col)


NETWORKS = {
    "GCN": {"num_layers": 3, "arguments": {"norm": "BatchNorm"}},
    "GraphSAGE": {"num_layers": 2},
    "GAT": {"num_layers": 2, "arguments": {"heads": 2}},
    "GCNII": {"num_layers": 4},
}


# PyG's own GCN layers take degrees from the part; ours know the whole graph's
@pytest.mark.parametrize(
    ("name", "fused"),
    [*((name, True) for name in NETWORKS), ("GraphSAGE", False), ("GAT", False)],
)
def test_with_all_neighbours_seeds_are_answered_as_on_the_whole_graph(
    graph: CSRGraph, name: str, fused: bool
) -> None:
    facts = NETWORKS[name]
    sizes = {"in_channels": F, "hidden_channels": 8, "out_channels": C}
    module = build(Architecture(name=name, **sizes, **facts), fused=fused).eval()
    x = torch.randn(N, F)
    sampler = NeighborSampler(graph, [-1] * facts["num_layers"])
    seeds = torch.tensor([HUB, LONELY, 0, 17])
    sample = sampler.sample(seeds, 0)
    with torch.no_grad():
        whole = module(x, graph if fused else edges())[seeds]
        part = module(x[sample.n_id], sample.graph if fused else sample.edge_index)[:4]
    torch.testing.assert_close(part, whole)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gcn_on_sampled_edges_is_right_on_average(graph: CSRGraph, dtype: torch.dtype) -> None:
    conv, x = GCNConv(F, C).to(dtype), torch.randn(N, F, dtype=dtype)
    seeds = torch.tensor([HUB, LONELY, 0, 7, 21])
    with torch.no_grad():
        whole = conv(x, graph)[seeds]
        sampler = NeighborSampler(graph, [3])
        answers = []
        for number in range(400):
            sample = sampler.sample(seeds, number)
            answers.append(conv(x[sample.n_id], sample.graph)[:5])
    drawn = torch.stack(answers)
    error = drawn.std(dim=0) / len(drawn) ** 0.5
    assert bool(((drawn.mean(dim=0) - whole).abs() <= 5 * error + 1e-5).all())


def test_an_epoch_goes_through_every_seed_once_in_even_shares() -> None:
    seeds = Seeds(torch.arange(10, 63), 10, 5, world=3)
    assert seeds.steps == 6
    for epoch in (0, 1):
        shares = [[seeds.at(epoch, step, rank) for rank in range(3)] for step in range(seeds.steps)]
        together = torch.cat([part for step in shares for part in step])
        assert together.sort().values.tolist() == list(range(53))
        sizes = [part.numel() for step in shares for part in step]
        assert max(sizes) - min(sizes) <= 1
        for step in range(seeds.steps):
            total = sum(seeds.share(epoch, step, rank) for rank in range(3))
            assert total == pytest.approx(1)
    assert not torch.equal(seeds.at(0, 0), seeds.at(1, 0))
    with pytest.raises(DataError, match="3 processes need at least as many seeds"):
        Seeds(torch.arange(2), 10, 5, world=3)


def test_mixed_seeds_differ_and_fit_a_generator() -> None:
    found = {mixed(a, b, c, 0) for a in range(6) for b in range(6) for c in range(6)}
    assert len(found) == 216
    assert all(0 <= seed < 2**63 for seed in found)


def test_a_loader_gives_what_pygs_gives() -> None:
    mask = torch.arange(N) % 3 == 0
    data = Data(
        x=torch.randn(N, F),
        edge_index=edges(),
        edge_attr=torch.arange(edges().shape[1]),
        y=torch.arange(N) % C,
        train_mask=mask,
        name="toy",
    )
    loader = NeighborLoader(data, [4, 2], input_nodes=mask, batch_size=8, shuffle=True, seed=3)
    batches = list(loader)
    assert len(batches) == len(loader) == 3
    nodes = mask.nonzero().squeeze(1)
    assert torch.cat([b.input_id for b in batches]).sort().values.tolist() == list(range(20))
    for batch in batches:
        assert batch.n_id[: batch.batch_size].tolist() == nodes[batch.input_id].tolist()
        assert torch.equal(batch.x, data.x[batch.n_id])
        assert torch.equal(batch.y, data.y[batch.n_id])
        assert torch.equal(batch.n_id[batch.edge_index], data.edge_index[:, batch.e_id])
        assert torch.equal(batch.edge_attr, batch.e_id)
        assert batch.name == "toy"
        assert batch.num_nodes == len(batch.n_id)
        assert batch.graph.num_edges == batch.edge_index.shape[1]
        assert batch.to("cpu").validate()
    second = list(loader)
    assert not torch.equal(second[0].input_id, batches[0].input_id)
    loader.epoch = 0
    again = list(loader)
    assert all(torch.equal(a.n_id, b.n_id) for a, b in zip(batches, again, strict=True))


def test_wrong_input_is_named(graph: CSRGraph) -> None:
    with pytest.raises(ValueError, match=r"positive, or -1 for all, got \[0\]"):
        NeighborSampler(graph, [0])
    bipartite = CSRGraph.from_edge_index(torch.tensor([[2], [0]]), size=(3, 1))
    with pytest.raises(ValueError, match="3 sources and 1 destinations"):
        NeighborSampler(bipartite, [1])
    sampler = NeighborSampler(graph, [2])
    with pytest.raises(ValueError, match=r"in \[0, 60\), got 2 to 60"):
        sampler.sample(torch.tensor([2, 60]), 0)
    with pytest.raises(ValueError, match="one is there twice"):
        sampler.sample(torch.tensor([2, 3, 2]), 0)
    with pytest.raises(ValueError, match=r"seeds must be \[s\] int64"):
        sampler.sample(torch.tensor([2.0]), 0)
    with pytest.raises(DataError, match="needs edge_index"):
        NeighborLoader(Data(x=torch.randn(3, 2)), [2])
