"""Graphs of several types in a call: edge lists, or edges that were sorted once, of each type."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import InputError
from .graph import Graph, check_csr
from .inputs import in_order
from .manifest import Manifest
from .tensors import TensorSpec, sorted_names

Array = NDArray[Any]
Key = tuple[str, ...]


def prepare_typed(
    manifest: Manifest, edge_index: Mapping[Key, ArrayLike], num_nodes: Mapping[str, int]
) -> dict[Key, Graph]:
    """Sort the edges of each type once; see `Session.prepare`."""
    known = {spec.key: spec for spec in manifest.edge_list_inputs if spec.ends is not None}
    graphs = dict[Key, Graph]()
    for key, edges in edge_index.items():
        if key not in known:
            raise InputError(f"the model has no edges {key!r}; it has {', '.join(map(str, known))}")
        missing = [end for end in (key[0], key[2]) if end not in num_nodes]
        if missing:
            raise InputError(f"num_nodes must say how many nodes of type {missing[0]!r} there are")
        sizes = num_nodes[key[2]], num_nodes[key[0]]
        graphs[key] = Graph.from_edge_index(edges, *sizes, name=known[key].name)
    return graphs


def with_typed_graphs(
    manifest: Manifest, given: Mapping[str, Any]
) -> tuple[dict[str, Any], set[str]]:
    """Return the inputs with the graphs as the file takes them, and which `col` are proven.

    What belongs to edges comes in the order of the edges that were given with it.
    """
    inputs, proven = dict(given), set[str]()
    taken = {spec.name for spec in manifest.inputs}
    for spec in manifest.edge_list_inputs:
        if spec.ends is None or spec.name not in given:
            continue
        rowptr, col = sorted_names(spec.name)
        value = inputs.pop(spec.name)
        if not isinstance(value, Graph) and col not in taken:
            inputs[spec.name] = value
            continue
        source, target = (_size(manifest, given, end, spec) for end in spec.ends)
        if not isinstance(value, Graph):
            value = Graph.from_edge_index(value, target, source, name=spec.name)
        _check_sizes(value, (source, target), spec)
        inputs |= in_order(manifest.inputs, given, value, str(spec.shape[1]))
        arrays = {rowptr: value.rowptr, col: value.col}
        if given.keys() & arrays.keys():
            raise InputError(f"{spec.name} stands for {rowptr} and {col}: give one or the other")
        inputs |= arrays if col in taken else {spec.name: value.edge_index}
        proven.add(col)
    return inputs, proven


def check_typed_csr(manifest: Manifest, feeds: Mapping[str, Array], proven: set[str]) -> None:
    """Check the sorted edges of each type that a caller has given as arrays."""
    for spec in manifest.edge_list_inputs:
        rowptr, col = sorted_names(spec.name)
        if spec.ends is not None and col in feeds and col not in proven:
            source, target = (_size(manifest, feeds, end, spec) for end in spec.ends)
            check_csr(feeds[rowptr], feeds[col], (source, target), (rowptr, col))


def _size(manifest: Manifest, given: Mapping[str, Any], dim: str, spec: TensorSpec) -> int:
    """Return the size of a dimension of nodes, which features or ids have."""
    for other in manifest.inputs:
        if other.shape[:1] == (dim,) and other.name in given:
            return np.asarray(given[other.name]).shape[0]
    raise InputError(f"an input of {dim} is missing, in which {spec.name} counts")


def _check_sizes(graph: Graph, sizes: tuple[int, int], spec: TensorSpec) -> None:
    sources = graph.num_nodes if graph.num_src is None else graph.num_src
    if (sources, graph.num_nodes) != sizes:
        raise InputError(
            f"the graph of {spec.name} has {sources} sources and {graph.num_nodes} destinations, "
            f"the other inputs have {sizes[0]} and {sizes[1]}"
        )
