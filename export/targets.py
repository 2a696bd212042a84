"""What the harness can measure: functions that load something and return a call without arguments.

Each imports only what its row needs, so that nothing else counts in the row's memory.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..serve import Session

Call = Callable[[], Any]

# how many nodes a call of a bundle of blocks answers for
SEEDS = 64


def bundle(
    inputs: Mapping[str, Any],
    threads: int,
    *,
    path: str,
    native: bool = True,
    prepared: bool = False,
    seeds: int = SEEDS,
) -> Call:
    """Load a bundle into a `Session`.

    Args:
        inputs: Inputs of a call, edge_index among them.
        threads: Threads of the session.
        path: Where the bundle is.
        native: Whether to use the C++ operators.
        prepared: Whether the graph is sorted, and features for a model that takes int8 are
            rounded, beforehand, outside the measured call; or blocks are cut out of the graph.
        seeds: How many nodes a call of a bundle of blocks answers for; others answer for all.
    """
    from ..serve import Session

    session = Session(path, threads=threads, native=native)
    if session.bundle.manifest.graph == "blocks":
        return _blocks(session, inputs, seeds, prepared)
    return _called(session, inputs, prepared)


def package(inputs: Mapping[str, Any], threads: int, *, path: str, prepared: bool = False) -> Call:
    """Load a bundle of AOTInductor into a `PackageSession`; see `bundle`."""
    from .opening import open_session

    return _called(open_session(path, threads=threads), inputs, prepared)


def _called(session: "Session", inputs: Mapping[str, Any], prepared: bool) -> Call:
    from .answers import taken_by

    graph = session.bundle.manifest.graph
    feeds = taken_by(session.bundle.manifest, inputs)
    if prepared and graph != "none":
        if graph == "typed":
            feeds = sorted_by_type(session, feeds)
            return lambda: session(feeds)
        feeds |= session.quantise(feeds["x"]) if session.takes_int8 else {}
        feeds["edge_index"] = session.prepare(feeds["edge_index"], len(feeds["x"]))
    return lambda: session(feeds)


def sorted_by_type(session: "Session", inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs of a graph of several types with the edges of each type sorted."""
    flat, specs = session.flat(inputs), session.bundle.manifest.edge_list_inputs
    edges = {spec.key: spec.name for spec in specs if spec.ends and isinstance(spec.key, tuple)}
    num_nodes = {spec.key: len(flat[spec.name]) for spec in specs if isinstance(spec.key, str)}
    graphs = session.prepare({key: flat[name] for key, name in edges.items()}, num_nodes)
    return {**flat, **{edges[key]: graph for key, graph in graphs.items()}}


def requests(
    inputs: Mapping[str, Any],
    threads: int,
    *,
    path: str,
    native: bool = True,
    num_neighbors: list[int] | None = None,
) -> Any:
    """Load a bundle that answers requests for single nodes; see `neighbourhoods`.

    Args:
        inputs: A whole graph and the `seeds` of each request.
        threads: Threads of the session and of sampling.
        path: Where the bundle is.
        native: Whether to use the C++ operators.
        num_neighbors: In-edges to draw in each hop; all if None.
    """
    from ..serve import Bundle
    from .neighbourhoods import BundleRequests

    return BundleRequests(
        Bundle.load(path), inputs, threads, native=native, num_neighbors=num_neighbors
    )


def _blocks(session: "Session", inputs: Mapping[str, Any], seeds: int, prepared: bool) -> Call:
    """Return a call for the first nodes of a graph that was sorted before."""
    import numpy as np

    from ..serve.blocks import batch_of, counted

    graph = session.prepare(inputs["edge_index"], len(inputs["x"]))
    names = {spec.name for spec in session.inputs}
    whole = {name: value for name, value in inputs.items() if name in names}
    whole |= counted(session.bundle.manifest, graph, whole)
    fixed = batch_of(session.bundle.manifest)
    nodes = np.arange(fixed or seeds) % graph.num_nodes
    if not prepared:
        return lambda: session(session.blocks(graph, nodes, **whole))
    feeds = session.blocks(graph, nodes, **whole)
    return lambda: session(feeds)


def pyg(inputs: Mapping[str, Any], threads: int, *, path: str) -> Call:
    """Rebuild the network of a bundle in plain PyG, in eager mode, with its weights.

    Args:
        inputs: Inputs of a call, edge_index among them.
        threads: Threads of torch.
        path: Where the bundle is; its manifest must name an architecture.
    """
    import torch

    from ..serve import Bundle
    from .parity import nested
    from .rebuilding import rebuild

    torch.set_num_threads(threads)
    module = rebuild(path)
    tensors = nested(Bundle.load(path), {n: torch.from_numpy(v) for n, v in inputs.items()})
    if module.__class__.__name__ == "MLP":
        tensors.pop("edge_index", None)

    def call() -> Any:
        with torch.inference_mode():
            return module(**tensors)

    return call
