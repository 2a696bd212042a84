"""Blocks: seeds with a fixed number of in-neighbours, as rows that never refer to each other.

A row is a tree: its seed, K₁ slots for the seed's in-neighbours, K₂ for those of each of them, and
so on, level by level, slots below one parent side by side. What a node has (its features) lies in
its slot, so a row can be cut out, sent and put beside any other, and answers stay what they are.

A node with at most K in-edges has all of them, the rest of its slots is empty. Of a node with more,
K are drawn without replacement, and each stands for degree / K of them. What is drawn for a node
depends on the node, its level and a number that the caller chooses, on nothing else: a seed's
answer is the same in any batch and on any day.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import InputError
from .graph import Graph, in_degree, loop_weight
from .manifest import Manifest

Ids = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Blocks:
    """Trees of in-neighbours, a row for each seed.

    Attributes:
        node: Id of the node in each slot, the seed's first, -1 where there is none,
            [batch, slots] int64.
        edge: The caller's edge from a slot to its parent, -1 where there is none,
            [batch, slots] int64.
        edge_count: How many in-edges of its parent a slot stands for, [batch, slots] float32:
            1, more where they were drawn, 0 where it is empty and for the seed; negative where the
            slot is its parent itself, which has a self loop.
        truncated: Fraction of the nodes asked for neighbours that had more than there are slots.
    """

    node: Ids
    edge: Ids
    edge_count: NDArray[np.float32]
    truncated: float

    def of_nodes(self, values: ArrayLike) -> NDArray[np.generic]:
        """Return the rows [num_nodes, …] of the slots' nodes, [batch, slots, …]; 0 where empty."""
        return _taken(values, self.node)

    def of_edges(self, values: ArrayLike) -> NDArray[np.generic]:
        """Return the rows [num_edges, …] of the slots' edges, [batch, slots, …]; 0 where none."""
        return _taken(values, self.edge)


def sample_blocks(
    graph: Graph, seeds: ArrayLike, fanouts: Sequence[int], *, seed: int = 0
) -> Blocks:
    """Draw the in-neighbours of some nodes, and theirs, hop by hop.

    Args:
        graph: The whole graph.
        seeds: Nodes to answer for, [batch], any integers; one may be there several times.
        fanouts: Number of slots for each node's in-neighbours, from the seeds outwards.
        seed: Chooses which neighbours are drawn where there are too many.

    Raises:
        InputError: If a seed is no node, or a fan-out not positive.

    References:
        Hamilton et al., "Inductive Representation Learning on Large Graphs", NeurIPS 2017,
        https://arxiv.org/abs/1706.02216 (fixed fan-outs); Bentley and Floyd, "A Sample of
        Brilliance", Communications of the ACM 1987 (drawing without replacement).
    """
    if any(count < 1 for count in fanouts):
        raise InputError(f"fanouts must be positive, got {list(fanouts)}")
    nodes = _checked(seeds, graph.num_nodes)[:, None]
    batch, asked, cut = len(nodes), 0, 0
    none = np.full_like(nodes, -1), np.zeros(nodes.shape, np.float32)
    levels: list[tuple[Ids, Ids, NDArray[np.float32]]] = [(nodes, *none)]
    for level, fan_out in enumerate(fanouts):
        parents = levels[-1][0].reshape(-1)
        position, degree = _draw(graph, parents, fan_out, seed, level)
        asked, cut = asked + (degree > 0).sum(), cut + (degree > fan_out).sum()
        empty = position < 0
        source = np.where(empty, -1, _at(graph.col, position)).astype(np.int64)
        count = np.where(empty, 0, np.maximum(degree / fan_out, 1)[:, None])
        count = np.where(~empty & (source == parents[:, None]), -count, count)
        edge = np.where(empty, -1, _at(graph.perm, position))
        shape = batch, levels[-1][0].shape[1] * fan_out
        count = count.astype(np.float32)
        levels.append((source.reshape(shape), edge.reshape(shape), count.reshape(shape)))
    node, edge, count = (np.concatenate(parts, axis=1) for parts in zip(*levels, strict=True))
    return Blocks(node, edge, count, float(cut / max(asked, 1)))


def _checked(seeds: ArrayLike, num_nodes: int) -> Ids:
    nodes = np.asarray(seeds)
    if nodes.size == 0:
        nodes = nodes.astype(np.int64)
    if nodes.ndim != 1 or not np.issubdtype(nodes.dtype, np.integer):
        raise InputError(f"seeds must be [batch] integers, got {list(nodes.shape)} {nodes.dtype}")
    wrong = (nodes < 0) | (nodes >= num_nodes)
    if wrong.any():
        raise InputError(f"seed {nodes[wrong][0]} is no node, ids must lie in [0, {num_nodes})")
    return nodes.astype(np.int64)


def _draw(
    graph: Graph, nodes: Ids, fan_out: int, seed: int, level: int
) -> tuple[Ids, NDArray[np.int64]]:
    """Return CSR positions of in-edges, [n, K], -1 where there is none, and in-degrees [n]."""
    start = np.where(nodes < 0, 0, graph.rowptr[nodes])
    degree = np.where(nodes < 0, 0, graph.rowptr[np.maximum(nodes, 0) + 1] - start)
    lane = np.arange(fan_out)
    position = np.where(lane < degree[:, None], start[:, None] + lane, -1)
    many = degree > fan_out
    chosen = _subsets(nodes[many], degree[many], fan_out, seed, level)
    position[many] = start[many, None] + chosen
    return position, degree


def _subsets(nodes: Ids, size: Ids, count: int, seed: int, level: int) -> Ids:
    """Return count different numbers below each size, by Floyd's algorithm, [n, count]."""
    taken = np.empty((len(nodes), count), np.int64)
    for step in range(count):
        last = size - count + step
        drawn = (_uniform(nodes, seed, level, step) * (last + 1)).astype(np.int64)
        again = (taken[:, :step] == drawn[:, None]).any(axis=1)
        taken[:, step] = np.where(again, last, drawn)
    return taken


def _uniform(nodes: Ids, *salts: int) -> NDArray[np.float64]:
    """Return a number in [0, 1) for each node, which it and the salts decide (splitmix64)."""
    state = _mixed(nodes.astype(np.uint64))
    with np.errstate(over="ignore"):
        for salt in salts:
            state = _mixed(state + np.uint64(salt & (2**64 - 1)))
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        return _steps(state)


def _steps(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def _at(values: NDArray[np.integer], position: Ids) -> NDArray[np.integer]:
    """Return values at positions; anything where a position is -1."""
    return values[np.maximum(position, 0)] if values.size else np.zeros_like(position)


def _taken(values: ArrayLike, index: Ids) -> NDArray[np.generic]:
    array = np.asarray(values)
    rows = np.zeros((*index.shape, *array.shape[1:]), array.dtype)
    there = index >= 0
    rows[there] = array[index[there]]
    return rows


def block_inputs(
    manifest: Manifest,
    graph: Graph,
    seeds: ArrayLike,
    whole: Mapping[str, ArrayLike],
    *,
    seed: int = 0,
) -> dict[str, NDArray[np.generic]]:
    """Return the inputs of a model of the blocks lowering, cut out of a whole graph's.

    Args:
        manifest: The model's manifest.
        graph: The whole graph.
        seeds: Nodes to answer for, [batch].
        whole: What its nodes and edges have, by the name of the input: [num_nodes, …], and for
            names that begin with "edge_" [num_edges, …] in the order the graph was made from.
            `in_degree` is counted if it is not given; hold it for many calls on a large graph.
        seed: See `sample_blocks`.

    Raises:
        InputError: If something the model takes is missing or has another number of rows, or it
            takes no blocks.
    """
    if manifest.graph != "blocks":
        raise InputError(
            f"the model takes its graph as {manifest.graph}, not as blocks; export it with "
            'lowering="blocks" for that'
        )
    blocks = sample_blocks(graph, seeds, manifest.fanouts or [], seed=seed)
    given = {**counted(manifest, graph, whole), **whole}
    names = [spec.name for spec in manifest.inputs]
    if given.keys() ^ set(names) - {"edge_count"}:
        raise InputError(
            f"the model takes {', '.join(n for n in names if n != 'edge_count')} of the whole "
            f"graph, got {', '.join(given) or 'nothing'}"
        )
    feeds: dict[str, NDArray[np.generic]] = {"edge_count": blocks.edge_count}
    for name, values in given.items():
        of_edges = name.startswith("edge_")
        rows, expected = len(np.asarray(values)), len(graph.col) if of_edges else graph.num_nodes
        if rows != expected:
            raise InputError(f"{name} has {rows} rows, the graph has {expected} of them")
        feeds[name] = blocks.of_edges(values) if of_edges else blocks.of_nodes(values)
    return {name: feeds[name] for name in names}


def answers(
    model: Callable[[dict[str, NDArray[Any]]], dict[str, NDArray[Any]]],
    manifest: Manifest,
    graph: Graph,
    seeds: ArrayLike,
    whole: Mapping[str, ArrayLike],
    *,
    seed: int = 0,
    batch: int = 256,
) -> dict[str, NDArray[Any]]:
    """Call a model of blocks batch by batch; arguments as of `block_inputs`, batch where free."""
    nodes, whole = np.atleast_1d(np.asarray(seeds)), {**counted(manifest, graph, whole), **whole}
    if not nodes.size:
        raise InputError("give at least one seed")
    fixed, parts = batch_of(manifest), list[dict[str, NDArray[Any]]]()
    for start in range(0, len(nodes), fixed or batch):
        some = nodes[start : start + (fixed or batch)]
        feeds = padded(block_inputs(manifest, graph, some, whole, seed=seed), fixed)
        parts.append({name: value[: len(some)] for name, value in model(feeds).items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def batch_of(manifest: Manifest) -> int | None:
    """Return how many seeds every call of a model of blocks has, None if that is free."""
    size = manifest.inputs[0].shape[0]
    return size if isinstance(size, int) else None


def padded(feeds: Mapping[str, NDArray[Any]], batch: int | None) -> dict[str, NDArray[Any]]:
    """Return rows repeated up to the number that every call has."""
    rows = np.arange(batch or 0)
    return {
        name: value if batch is None else value[np.minimum(rows, len(value) - 1)]
        for name, value in feeds.items()
    }


def as_graph(graph: Graph | ArrayLike, whole: Mapping[str, ArrayLike]) -> Graph:
    """Return a graph as it is, or the one that an edge list makes of the nodes that have values.

    Raises:
        InputError: If nothing says how many nodes there are.
    """
    if isinstance(graph, Graph):
        return graph
    rows = [len(np.asarray(v)) for name, v in whole.items() if not name.startswith("edge_")]
    if not rows:
        raise InputError("with an edge list give what its nodes have, x=x")
    return Graph.from_edge_index(graph, rows[0])


def counted(
    manifest: Manifest, graph: Graph, whole: Mapping[str, ArrayLike]
) -> dict[str, NDArray[np.float32]]:
    """Return what GCN's normalisation takes and only the whole graph tells, unless it is given."""
    names = {spec.name for spec in manifest.inputs} - whole.keys()
    weight = None
    if "edge_weight" in whole:
        weight = np.asarray(whole["edge_weight"])[graph.perm]
    found: dict[str, NDArray[np.float32]] = {}
    if "in_degree" in names:
        found["in_degree"] = in_degree(
            graph.edge_index,
            graph.num_nodes,
            weight,
            add_self_loops=manifest.add_self_loops,
            fill_value=manifest.fill_value,
        )
    if "loop_weight" in names and weight is not None:
        own = loop_weight(graph.edge_index, graph.num_nodes, weight, manifest.fill_value)
        found["loop_weight"] = own.astype(np.float32)
    return found
