"""Cutting blocks out of a graph."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from graphstill.serve import BundleError, FileEntry, Graph, InputError, Manifest, TensorSpec
from graphstill.serve.blocks import as_graph, block_inputs, sample_blocks


def graph(num_nodes: int = 50, num_edges: int = 400, seed: int = 0) -> tuple[Graph, np.ndarray]:
    edges = np.random.default_rng(seed).integers(0, num_nodes, (2, num_edges))
    return Graph.from_edge_index(edges, num_nodes), edges


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**70))
def test_slots_hold_in_neighbours(first: int, second: int, seed: int) -> None:
    whole, edges = graph()
    found = sample_blocks(whole, range(50), [first, second], seed=seed)
    assert found.node.shape == (50, 1 + first + first * second)
    degree = np.bincount(edges[1], minlength=50)
    parents, children = found.node[:, : 1 + first], found.node[:, 1:]
    for row in range(50):
        for slot, parent in enumerate(parents[row]):
            start, size = (0, first) if slot == 0 else (first + (slot - 1) * second, second)
            below = slice(start, start + size)
            there, edge = children[row, below], found.edge[row, 1:][below]
            count = found.edge_count[row, 1:][below]
            expected = min(degree[parent], size) if parent >= 0 else 0
            assert (there >= 0).sum() == expected
            assert len(set(edge[edge >= 0])) == expected  # no edge twice
            assert (edges[1][edge[edge >= 0]] == parent).all()
            assert (edges[0][edge[edge >= 0]] == there[there >= 0]).all()
            total = np.abs(count).sum()
            assert total == pytest.approx(degree[parent] if parent >= 0 else 0, rel=1e-5)
            np.testing.assert_array_equal(count < 0, (there == parent) & (there >= 0))


def test_a_seed_has_the_same_blocks_in_any_batch() -> None:
    whole, _ = graph()
    together = sample_blocks(whole, [3, 7, 3, 9], [3, 2])
    alone = sample_blocks(whole, [7], [3, 2])
    np.testing.assert_array_equal(together.node[1:2], alone.node)
    np.testing.assert_array_equal(together.edge[0], together.edge[2])
    assert (sample_blocks(whole, range(50), [3, 2], seed=1).node[3] != together.node[0]).any()


def test_every_neighbour_is_drawn_as_often() -> None:
    star = Graph.from_edge_index(np.stack([np.arange(1, 11), np.zeros(10, int)]), 11)
    counts = np.zeros(11)
    for seed in range(2000):
        counts[sample_blocks(star, [0], [3], seed=seed).node[0, 1:]] += 1
    assert np.abs(counts[1:] / 600 - 1).max() < 0.15  # five standard deviations
    assert counts[0] == 0


def test_how_many_nodes_were_cut_short() -> None:
    whole, edges = graph()
    degree = np.bincount(edges[1], minlength=50)
    found = sample_blocks(whole, range(50), [8])
    assert found.truncated == pytest.approx((degree > 8).sum() / (degree > 0).sum())
    assert sample_blocks(whole, range(50), [100]).truncated == 0


def test_no_seeds_and_no_edges() -> None:
    empty = Graph.from_edge_index(np.zeros((2, 0), int), 3)
    assert sample_blocks(empty, [], [2, 2]).node.shape == (0, 7)
    found = sample_blocks(empty, [1], [2])
    np.testing.assert_array_equal(found.node, [[1, -1, -1]])
    np.testing.assert_array_equal(found.of_nodes(np.array([5.0, 6.0, 7.0])), [[6, 0, 0]])
    np.testing.assert_array_equal(found.of_edges(np.zeros((0, 2))), np.zeros((1, 3, 2)))


def manifest(**changes: object) -> Manifest:
    fields: dict[str, object] = {
        "inputs": tuple(
            TensorSpec(name, "float32", shape)
            for name, shape in (("x", ("batch", 4, 2)), ("edge_count", ("batch", 4)))
        ),
        "outputs": (TensorSpec("logits", "float32", ("batch", 3)),),
        "files": {"model.onnx": FileEntry("0" * 64, 1)},
        "graph": "blocks",
        "lowering": "blocks",
        "fanouts": [3],
        "hops": 1,
    }
    return Manifest(**{**fields, **changes})  # type: ignore[arg-type]


def test_inputs_of_a_model() -> None:
    whole, _ = graph()
    x = np.random.default_rng(0).random((50, 2)).astype(np.float32)
    feeds = block_inputs(manifest(), whole, [4, 5], {"x": x})
    assert list(feeds) == ["x", "edge_count"]
    np.testing.assert_array_equal(feeds["x"][:, 0], x[[4, 5]])
    assert feeds["x"].dtype == np.float32


@pytest.mark.parametrize(
    ("seeds", "given", "message"),
    [
        ([50], {"x": np.zeros((50, 2))}, r"seed 50 is no node, ids must lie in \[0, 50\)"),
        ([-1], {"x": np.zeros((50, 2))}, "seed -1 is no node"),
        ([0.5], {"x": np.zeros((50, 2))}, r"\[batch\] integers, got \[1\] float64"),
        ([0], {"x": np.zeros((49, 2))}, "x has 49 rows, the graph has 50"),
        ([0], {}, "takes x of the whole graph, got nothing"),
        ([0], {"x": np.zeros((50, 2)), "edge_weight": np.zeros(400)}, "got x, edge_weight"),
    ],
)
def test_what_is_refused(seeds: list, given: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        block_inputs(manifest(), graph()[0], seeds, given)


def test_an_edge_list_needs_to_know_its_nodes() -> None:
    _, edges = graph()
    x = np.zeros((60, 2))
    assert as_graph(edges, {"edge_weight": np.zeros(400), "x": x}).num_nodes == 60
    with pytest.raises(InputError, match="give what its nodes have"):
        as_graph(edges, {"edge_weight": np.zeros(400)})


def test_other_models_take_no_blocks() -> None:
    other = replace(manifest(), graph="none", lowering="fused", fanouts=None)
    with pytest.raises(InputError, match="takes its graph as none, not as blocks"):
        block_inputs(other, graph()[0], [0], {"x": np.zeros((50, 2))})


@pytest.mark.parametrize(
    "fanouts", [None, [], [0], [1.5], [True], ["3"], [4], [3, 1], {"a": 1}, [9] * 999]
)
def test_a_manifest_whose_trees_are_none(fanouts: object) -> None:
    with pytest.raises(BundleError, match=r"fanouts|slots"):
        manifest(fanouts=fanouts)


@pytest.mark.parametrize("choices", [{"a": "b"}, {"a": [1]}, ["a"]])
def test_a_manifest_with_choices_that_are_none(choices: object) -> None:
    with pytest.raises(BundleError, match="choices"):
        manifest(choices=choices)
