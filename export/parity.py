"""check_parity: does the exported model compute what the module computes, whatever the graph?

The module runs in torch in float64, with PyG's own convolutions and not ours; the bundle runs
through `serve.Session`, with and without the C++ operators and on one and two threads. Graphs are
of other sizes than the export's, and include those that break exports: no edges, one node, isolated
nodes, a hub, duplicate edges, self loops, edges in any order. All differences are gathered before a
verdict.
"""

import copy
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper
from torch_geometric.utils import k_hop_subgraph

from ..serve import Bundle, NativeLibraryWarning, Session
from .passes import ours

Array = NDArray[Any]

TOLERANCE = 1e-4
SEEDS_OF_SUBGRAPH = 16


@dataclass(frozen=True)
class Difference:
    """How one case came out in one way of running the bundle.

    Attributes:
        case: What was run.
        native: Whether with the C++ operators.
        threads: On how many threads.
        max_abs_error: Largest absolute difference; infinite where shapes differ or a call failed.
        scale: Largest absolute value that was expected, at least 1.
        repeats: Whether a second call gave the same bits.
        note: What else went wrong.
    """

    case: str
    native: bool
    threads: int
    max_abs_error: float
    scale: float
    repeats: bool
    note: str = ""

    def passes(self, tolerance: float) -> bool:
        """Return whether the error is small against the largest expected value."""
        return self.repeats and self.max_abs_error <= tolerance * self.scale


@dataclass(frozen=True)
class ParityReport:
    """All cases in all ways of running the bundle.

    Attributes:
        differences: One entry for each.
        tolerance: Largest error allowed, relative to the largest expected value.
        native_operators: Whether the C++ operators were there to be checked.
    """

    differences: list[Difference]
    tolerance: float
    native_operators: bool

    @property
    def failures(self) -> list[Difference]:
        """The entries that do not pass."""
        return [d for d in self.differences if not d.passes(self.tolerance)]

    @property
    def ok(self) -> bool:
        """Whether everything passes."""
        return not self.failures

    @property
    def max_abs_error(self) -> float:
        """The largest absolute error of all."""
        return max(d.max_abs_error for d in self.differences)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return {
            "ok": self.ok,
            "max_abs_error": self.max_abs_error,
            "tolerance": self.tolerance,
            "native_operators": self.native_operators,
            "differences": [
                {**asdict(d), "passes": d.passes(self.tolerance)} for d in self.differences
            ],
        }


def check_parity(
    module: torch.nn.Module, bundle: Bundle, *, tolerance: float = TOLERANCE, seed: int = 0
) -> ParityReport:
    """Compare a module in torch with its bundle in `serve.Session`.

    Args:
        module: What was exported, with PyG's convolutions.
        bundle: What it was exported to.
        tolerance: Largest error allowed, relative to the largest expected value of a case.
        seed: Seed of the random graphs and features.

    Returns:
        The report; look at `ok`.
    """
    reference = copy.deepcopy(module).double().eval()
    cases = {
        name: (inputs, _expected(reference, inputs)) for name, inputs in make_cases(bundle, seed)
    }
    differences = []
    for session in _sessions(bundle):
        differences += [_compare(session, name, *case) for name, case in cases.items()]
        if bundle.manifest.hops is not None and bundle.manifest.graph != "none":
            differences.append(_compare_subgraph(session, seed))
    return ParityReport(differences, tolerance, any(d.native for d in differences))


def make_cases(bundle: Bundle, seed: int) -> Iterator[tuple[str, dict[str, Array]]]:
    """Yield named inputs that fit a bundle: random features on graphs of every awkward kind."""
    rng = np.random.default_rng(seed)
    for name, (num_nodes, edges) in _graphs(rng).items():
        yield name, _inputs(bundle, rng, num_nodes, edges)


def _graphs(rng: np.random.Generator) -> dict[str, tuple[int, Array]]:
    def edges(num_nodes: int, count: int) -> Array:
        return rng.integers(0, num_nodes, (2, count))

    def by_destination(pairs: Array) -> Array:
        return pairs[:, np.argsort(pairs[1], kind="stable")]

    hub = edges(2000, 5000)
    hub[1, :3000] = 1234
    return {
        "usual": (200, edges(200, 1500)),
        "larger": (3000, edges(3000, 30000)),
        "no edges": (7, edges(7, 0)),
        "one node": (1, edges(1, 0)),
        "one node, one loop": (1, edges(1, 1)),
        "isolated nodes": (60, edges(12, 80)),
        "a hub": (2000, hub),
        "duplicates and loops": (20, edges(20, 600)),
        "sorted edges": (150, by_destination(edges(150, 900))),
    }


def _inputs(
    bundle: Bundle, rng: np.random.Generator, num_nodes: int, edges: Array
) -> dict[str, Array]:
    sizes = {"num_nodes": num_nodes, "num_edges": edges.shape[1]}
    inputs: dict[str, Array] = {}
    for spec in bundle.manifest.inputs:
        if spec.name in ("edge_index", "rowptr", "col"):
            inputs["edge_index"] = edges
            continue
        if spec.name == "x_scale":  # comes with x, of which the session makes int8
            continue
        shape = [sizes[dim] if isinstance(dim, str) else dim for dim in spec.shape]
        if spec.name == "edge_weight":
            inputs[spec.name] = rng.random(shape).astype(np.float32)
        elif spec.dtype in ("float32", "int8"):
            inputs[spec.name] = rng.standard_normal(shape).astype(np.float32)
        elif spec.name == "edge_type":
            inputs[spec.name] = rng.integers(0, _relations(bundle), shape)
        else:  # ids of something: zero is the one value that is always valid
            inputs[spec.name] = np.zeros(shape, spec.dtype)
    return inputs


def _relations(bundle: Bundle) -> int:
    """Return how many relations a model knows, 1 if it has no layer that says."""
    nodes = ours(onnx.load_from_string(bundle.read_model()), "relational_csr")
    known = [helper.get_attribute_value(node.attribute[0]) for node in nodes]
    return min(known, default=1)


def _expected(reference: torch.nn.Module, inputs: Mapping[str, Array]) -> list[Array]:
    tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
    wide = {n: t.double() if t.is_floating_point() else t for n, t in tensors.items()}
    with torch.no_grad():
        answer = reference(**wide)
    if isinstance(answer, Mapping):
        answer = list(answer.values())
    answers = [answer] if isinstance(answer, torch.Tensor) else list(answer)
    return [value.numpy() for value in answers]


def _sessions(bundle: Bundle) -> Iterator[Session]:
    for native in (True, False):
        for threads in (1, 2):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NativeLibraryWarning)
                session = Session(bundle, native=native, threads=threads)
            if session.native_operators == native:
                yield session


def _compare(
    session: Session, case: str, inputs: dict[str, Array], expected: list[Array]
) -> Difference:
    scale = max([1.0, *(float(np.abs(value).max()) for value in expected if value.size)])
    try:
        first, second = session(inputs), session(_prepared(session, inputs))
    except Exception as error:
        return _failed(session, case, scale, str(error))
    pairs = list(zip(first.values(), expected, strict=True))
    if any(got.shape != wanted.shape for got, wanted in pairs):
        return _failed(session, case, scale, f"shape {[got.shape for got, _ in pairs]}")
    repeats = all(
        np.array_equal(a, b) for a, b in zip(first.values(), second.values(), strict=True)
    )
    errors = [_largest(got - wanted) for got, wanted in pairs]
    return Difference(case, session.native_operators, session.threads, max(errors), scale, repeats)


def _prepared(session: Session, inputs: dict[str, Array]) -> dict[str, Any]:
    """Return the same inputs with the graph sorted beforehand."""
    if "edge_index" not in inputs:
        return inputs
    graph = session.prepare(inputs["edge_index"], len(inputs["x"]))
    return {**inputs, "edge_index": graph}


def _compare_subgraph(session: Session, seed: int) -> Difference:
    """Compare answers from the k-hop neighbourhood of a few nodes with the whole graph's."""
    manifest, rng = session.bundle.manifest, np.random.default_rng(seed)
    edges, num_nodes = rng.integers(0, 4000, (2, 6000)), 4000
    whole = _inputs(session.bundle, rng, num_nodes, edges)
    seeds = torch.arange(SEEDS_OF_SUBGRAPH)
    nodes, part, rows, kept = k_hop_subgraph(
        seeds, manifest.hops or 0, torch.from_numpy(edges), True, num_nodes, directed=False
    )
    inputs = {"edge_index": part.numpy()}
    for spec in manifest.inputs:
        if spec.name in whole and spec.name != "edge_index":
            chosen = kept if spec.shape[0] == "num_edges" else nodes
            inputs[spec.name] = whole[spec.name][chosen.numpy()]
    if manifest.in_degree:
        degrees = session.in_degree(edges, num_nodes, whole.get("edge_weight"))
        inputs["in_degree"] = degrees[nodes.numpy()]
    name = next(iter(spec.name for spec in manifest.outputs))
    expected = session(whole)[name][: len(seeds)]
    got = session(inputs)[name][rows.numpy()]
    scale = max(1.0, float(np.abs(expected).max()))
    return Difference(
        f"{manifest.hops}-hop subgraph",
        session.native_operators,
        session.threads,
        _largest(got - expected),
        scale,
        repeats=True,
    )


def _largest(difference: Array) -> float:
    if difference.size == 0:
        return 0.0
    largest = float(np.abs(difference).max())
    return largest if np.isfinite(largest) else float("inf")


def _failed(session: Session, case: str, scale: float, note: str) -> Difference:
    native, threads = session.native_operators, session.threads
    return Difference(case, native, threads, float("inf"), scale, repeats=False, note=note)
