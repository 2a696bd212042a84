"""Inputs that fit a bundle, on graphs of every awkward kind: what parity is checked on."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from ..serve import Bundle, TensorSpec
from .passes import ours

Array = NDArray[Any]
# sizes by dimension, and edge lists by the name of their input
Graphs = tuple[dict[str, int], dict[str, Array]]

USUAL_NODES, USUAL_EDGES = 200, 1500


def make_cases(bundle: Bundle, seed: int) -> Iterator[tuple[str, dict[str, Array]]]:
    """Yield named inputs that fit a bundle: random features on graphs of every awkward kind."""
    rng = np.random.default_rng(seed)
    if bundle.manifest.lowering == "baked":  # there is one graph, and its size is given
        for name in ("usual", "other features"):
            yield name, fill(bundle, rng, {}, {})
        return
    if bundle.manifest.graph == "typed":
        graphs = typed_graphs(bundle.manifest.edge_list_inputs, rng)
    else:
        graphs = {
            name: ({"num_nodes": num_nodes}, {"edge_index": edges})
            for name, (num_nodes, edges) in _graphs(rng).items()
        }
    for name, (sizes, edges) in graphs.items():
        yield name, fill(bundle, rng, sizes, edges)
    if "batch" in {spec.name for spec in bundle.manifest.inputs}:
        sizes, edges = graphs["usual"]
        for name, batch in _batches(rng, sizes["num_nodes"]).items():
            yield name, fill(bundle, rng, sizes, edges) | {"batch": batch}


def _graphs(rng: np.random.Generator) -> dict[str, tuple[int, Array]]:
    hub = _edges(rng, (2000, 2000), 5000)
    hub[1, :3000] = 1234
    return {
        "usual": (USUAL_NODES, _edges(rng, (200, 200), USUAL_EDGES)),
        "larger": (3000, _edges(rng, (3000, 3000), 30000)),
        "no edges": (7, _edges(rng, (7, 7), 0)),
        "one node": (1, _edges(rng, (1, 1), 0)),
        "one node, one loop": (1, _edges(rng, (1, 1), 1)),
        "isolated nodes": (60, _edges(rng, (12, 12), 80)),
        "a hub": (2000, hub),
        "duplicates and loops": (20, _edges(rng, (20, 20), 600)),
        "sorted edges": (150, _by_destination(_edges(rng, (150, 150), 900))),
        "edges from last to first": (
            150,
            _by_destination(_edges(rng, (150, 150), 900))[:, ::-1].copy(),
        ),
    }


def typed_graphs(specs: Sequence[TensorSpec], rng: np.random.Generator) -> dict[str, Graphs]:
    """Return graphs of several types: each awkward kind for all types, and for each type alone."""
    nodes = list(dict.fromkeys(d for s in specs for d in s.shape if str(d).startswith("num_nodes")))
    # different numbers for different types: none may stand for another
    usual = {str(dim): USUAL_NODES + 37 * i for i, dim in enumerate(nodes)}
    lists = edge_lists(specs)
    labels = {spec.name: "→".join(spec.key or ()) for spec in specs if spec.ends is not None}
    labels |= {str(s.shape[0]): str(s.key) for s in specs if s.shape[:1] and s.shape[0] in usual}

    def graphs(sizes: Mapping[str, int], count: int = USUAL_EDGES, spread: int = 1) -> Graphs:
        used = {dim: max(1, size // spread) for dim, size in sizes.items()}
        edges = {n: _edges(rng, (used[a], used[b]), count) for n, (a, b) in lists.items()}
        return dict(sizes), edges

    made = {
        "usual": graphs(usual),
        "larger": graphs({dim: 5 * n for dim, n in usual.items()}, 15_000),
        "no edges": graphs(usual, 0),
        "one node of each type": graphs(dict.fromkeys(usual, 1), 3),
        "isolated nodes": graphs(usual, 80, spread=10),
        "duplicates and loops": graphs({dim: 3 + i for i, dim in enumerate(usual)}, 600),
    }
    sizes, edges = graphs(usual)
    made["sorted edges"] = sizes, {name: _by_destination(e) for name, e in edges.items()}
    for dim in usual:
        made[f"one {labels[dim]}"] = graphs({**usual, dim: 1})
        sizes, edges = graphs(usual)
        empty = {name: edges[name][:, :0] for name, ends in lists.items() if dim in ends}
        made[f"no {labels[dim]}"] = {**sizes, dim: 0}, {**edges, **empty}
    for name, (source, target) in lists.items():
        sizes, edges = graphs(usual)
        made[f"no edges {labels[name]}"] = sizes, {**edges, name: edges[name][:, :0]}
        hub = _edges(rng, (usual[source], usual[target]), 5000)
        hub[1, :3000] = usual[target] - 1
        made[f"a hub of {labels[name]}"] = sizes, {**edges, name: hub}
    return made


def _edges(rng: np.random.Generator, sizes: tuple[int, int], count: int) -> Array:
    return np.stack([rng.integers(0, size, count) for size in sizes])


def _by_destination(edges: Array) -> Array:
    return edges[:, np.argsort(edges[1], kind="stable")]


def _batches(rng: np.random.Generator, num_nodes: int) -> dict[str, Array]:
    """Return which graph each node belongs to, in every awkward way."""
    several = np.sort(rng.integers(0, 6, num_nodes))
    return {
        "one graph": np.zeros(num_nodes, np.int64),
        "an empty graph in the middle": several + (several >= 3),
        "nodes of graphs mixed": rng.permutation(several),
        "a graph for each node": np.arange(num_nodes),
        "a large graph and small ones": np.maximum(np.arange(num_nodes) - num_nodes // 2, 0),
    }


def fill(
    bundle: Bundle, rng: np.random.Generator, sizes: Mapping[str, int], edges: Mapping[str, Array]
) -> dict[str, Array]:
    """Return random inputs for graphs of given sizes and edges."""
    sizes, inputs = dict(sizes), dict[str, Array]()
    for spec in bundle.manifest.edge_list_inputs:
        if spec.name in edges:
            sizes[str(spec.shape[1])] = edges[spec.name].shape[1]
    sizes.setdefault("num_edges", next((e.shape[1] for e in edges.values()), 0))
    for spec in bundle.manifest.edge_list_inputs:
        if spec.name in edges:
            inputs[spec.name] = edges[spec.name]
        elif spec.name == "x_scale":  # comes with x, of which the session makes int8
            continue
        else:
            shape = [sizes[dim] if isinstance(dim, str) else dim for dim in spec.shape]
            inputs[spec.name] = _values(bundle, rng, spec, shape)
    return inputs


def _values(bundle: Bundle, rng: np.random.Generator, spec: TensorSpec, shape: list[int]) -> Array:
    if spec.name.startswith("edge_weight"):
        return rng.random(shape).astype(np.float32)
    if spec.dtype in ("float32", "int8"):
        return rng.standard_normal(shape).astype(np.float32)
    if spec.name == "edge_type":
        return rng.integers(0, spec.below or count_relations(bundle), shape)
    if spec.name.startswith("batch"):
        return np.sort(rng.integers(0, 4, shape))
    if spec.below is not None:
        return rng.integers(0, spec.below, shape).astype(spec.dtype)
    # ids of something: zero is the one value that is always valid
    return np.zeros(shape, spec.dtype)


def count_relations(bundle: Bundle) -> int:
    """Return how many relations a model knows, 1 if it has no layer that says."""
    nodes = ours(onnx.load_from_string(bundle.read_model()), "relational_csr")
    known = [helper.get_attribute_value(node.attribute[0]) for node in nodes]
    return min(known, default=1)


def sparse_graphs(bundle: Bundle, rng: np.random.Generator) -> Graphs:
    """Return graphs in which a neighbourhood of a few hops is a small part."""
    typed = bundle.manifest.graph == "typed"
    return _sized(bundle, rng, 2000 if typed else 4000, 1500 if typed else 6000)


def random_graph(
    bundle: Bundle, rng: np.random.Generator, num_nodes: int, num_edges: int
) -> dict[str, Array]:
    """Return random inputs, with as many nodes and edges of each type."""
    sizes, edges = _sized(bundle, rng, num_nodes, num_edges)
    return edges | fill(bundle, rng, sizes, edges)


def _sized(bundle: Bundle, rng: np.random.Generator, num_nodes: int, num_edges: int) -> Graphs:
    specs = bundle.manifest.edge_list_inputs
    dims = [str(d) for s in specs for d in s.shape if re.fullmatch(r"num_nodes(__.*)?", str(d))]
    return dict.fromkeys(dims, num_nodes), {
        name: _edges(rng, (num_nodes, num_nodes), num_edges) for name in edge_lists(specs)
    }


def edge_lists(specs: Sequence[TensorSpec]) -> dict[str, tuple[str, str]]:
    """Return the dimensions that both ends of edges count in, by the name of the edge list."""
    lists = {spec.name: spec.ends for spec in specs if spec.ends is not None}
    return lists or {"edge_index": ("num_nodes", "num_nodes")}


def subgraph(
    bundle: Bundle,
    whole: Mapping[str, Array],
    sizes: Mapping[str, int],
    seeds: Mapping[Any, Array],
    hops: int,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Cut out the nodes that seeds reach backwards along edges, and all edges among them.

    Returns:
        The inputs, and the ids of the nodes that were kept, sorted, by dimension.
    """
    specs = {spec.name: spec for spec in bundle.manifest.edge_list_inputs}
    ends = edge_lists(bundle.manifest.edge_list_inputs)
    reached = {dim: np.zeros(size, bool) for dim, size in sizes.items()}
    for dim, ids in seeds.items():
        reached[dim][ids] = True
    for _ in range(hops):
        before = {dim: mask.copy() for dim, mask in reached.items()}
        for name, (source, target) in ends.items():
            src, dst = whole[name]
            reached[source][src[before[target][dst]]] = True
    nodes = {dim: mask.nonzero()[0] for dim, mask in reached.items()}
    part, kept = dict[str, Array](), dict[Any, Array](nodes)
    for name, two in ends.items():
        inside = np.all([reached[dim][e] for dim, e in zip(two, whole[name], strict=True)], axis=0)
        kept[specs[name].shape[1] if name in specs else "num_edges"] = inside.nonzero()[0]
        part[name] = np.stack(
            [np.searchsorted(nodes[d], e[inside]) for d, e in zip(two, whole[name], strict=True)]
        )
    for name in whole.keys() - part.keys():
        part[name] = whole[name][kept[specs[name].shape[0]]]
    return part, nodes
