"""What a call gives, checked against the manifest and made the arrays that the file takes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .graph import Graph, check_edge_index, check_ends
from .manifest import GRAPH_INPUTS, Manifest
from .tensors import TensorSpec

Array = NDArray[Any]
_LARGEST = 2**31 - 1


def entries(specs: Sequence[TensorSpec], argument: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the inputs that an argument stands for."""
    if not isinstance(value, Mapping):
        yield argument, value
        return
    names = {spec.key: spec.name for spec in specs if spec.argument == argument}
    for key, entry in value.items():
        if key not in names:
            known = ", ".join(map(str, names)) or "none: it must be an array"
            raise InputError(f"{argument} has no entry {key!r}; its entries are {known}")
        yield names[key], entry


def num_nodes_of(specs: Sequence[TensorSpec], given: Mapping[str, Any]) -> int:
    """Return the size of the inputs' num_nodes dimension."""
    for spec in specs:
        if "num_nodes" in spec.shape and spec.name in given:
            value = np.asarray(given[spec.name])
            axis = spec.shape.index("num_nodes")
            if value.ndim > axis:
                return value.shape[axis]
    return 0


def with_graph(
    manifest: Manifest, given: dict[str, Any], graph: Graph, num_nodes: int
) -> dict[str, Any]:
    """Return the inputs with the graph's arrays added, and edge inputs in the graph's order."""
    if manifest.graph == "blocks":
        raise InputError(
            "the model takes blocks: cut them out of a graph, session.blocks(graph, seeds, x=x)"
        )
    if graph.num_nodes != num_nodes or graph.num_src not in (None, num_nodes):
        sources = "" if graph.num_src is None else f" and {graph.num_src} sources"
        raise InputError(f"the graph has {graph.num_nodes} nodes{sources}, x has {num_nodes}")
    arrays = {name: getattr(graph, name) for name in GRAPH_INPUTS[manifest.graph]}
    if given.keys() & arrays.keys():
        raise InputError(f"a graph stands for {', '.join(arrays)}: give one or the other")
    return {**given, **in_order(manifest.inputs, given, graph, "num_edges"), **arrays}


def in_order(
    specs: Sequence[TensorSpec], given: Mapping[str, Any], graph: Graph, dim: str
) -> dict[str, Array]:
    """Return what belongs to the edges of a graph, which dim counts, in the graph's order."""
    found = {}
    for spec in specs:
        if spec.shape[:1] == (dim,) and spec.name in given:
            value = np.asarray(given[spec.name])
            if value.shape[:1] != graph.perm.shape:
                raise InputError(
                    f"{spec.name} must have shape [{len(graph.perm)}, …], one for each edge, "
                    f"got {list(value.shape)}"
                )
            found[spec.name] = value[graph.perm]
    return found


def fit(spec: TensorSpec, value: Any, sizes: dict[str, int]) -> Array:
    """Return one input as an array, checking type and shape and remembering dynamic sizes."""
    if spec.is_edge_list:
        array: Array = check_edge_index(value, spec.name)
    else:
        array = np.asarray(value)
        if array.dtype != np.dtype(spec.dtype):
            raise InputError(
                f"{spec.name} must be {spec.dtype}, got {array.dtype}; "
                f"convert it: {spec.name}.astype(numpy.{spec.dtype})"
            )
    expected = [sizes.get(dim, dim) if isinstance(dim, str) else dim for dim in spec.shape]
    fits = array.ndim == len(expected) and all(
        isinstance(dim, str) or dim == size for dim, size in zip(expected, array.shape, strict=True)
    )
    if not fits:
        shape = ", ".join(map(str, expected))
        raise InputError(f"{spec.name} must have shape [{shape}], got {list(array.shape)}")
    sizes |= {d: n for d, n in zip(spec.shape, array.shape, strict=True) if isinstance(d, str)}
    return np.ascontiguousarray(array)


def check_range(spec: TensorSpec, array: Array, sizes: Mapping[str, int]) -> None:
    """Check ids that no operator checks, or none that knows what they are called here."""
    if spec.ends is not None and spec.is_edge_list:
        source, target = (sizes[end] for end in spec.ends)
        check_ends(array, (source, target), spec.name)
    is_batch = spec.name.partition("__")[0] == "batch"
    below = _LARGEST if is_batch and spec.below is None else spec.below
    if below is not None and array.size and not 0 <= array.min() <= array.max() < below:
        at = np.unravel_index(int(((array < 0) | (array >= below)).argmax()), array.shape)
        raise InputError(
            f"{spec.name}[{', '.join(map(str, at))}] is {array[at]}, "
            f"{'graphs' if is_batch else 'ids'} must lie in [0, {below})"
        )


def check_finite(feeds: Mapping[str, Array]) -> None:
    """Refuse NaN and infinity."""
    for name, array in feeds.items():
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            at = np.unravel_index(int((~np.isfinite(array)).argmax()), array.shape)
            raise InputError(f"{name}[{', '.join(map(str, at))}] is {array[at]}")
