"""check_parity: does the exported model compute what the module computes, whatever the graph?

The module runs in torch in float64, with PyG's own convolutions and not ours; the bundle runs
through its session, with and without the C++ operators and on one and two threads. Graphs are
of other sizes than the export's, and include those that break exports: no edges, one node, isolated
nodes, a hub, duplicate edges, self loops, edges in any order. All differences are gathered before a
verdict.
"""

import copy
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from ..serve import Bundle, NativeLibraryWarning, Session
from .awkward import Array, fill, make_cases, sparse_graphs, subgraph
from .baking import held_graph
from .blocks.checks import compare_blocks
from .flattening import flat_answers, nest
from .opening import open_session
from .targets import sorted_by_type

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

    def verdict(self, tolerance: float) -> str:
        """Return "ok", or what is to be said instead, in one line."""
        note = " ".join(self.note.split())
        return (note or "ok") if self.passes(tolerance) else f"FAILED {note}".strip()


@dataclass(frozen=True)
class ParityReport:
    """All cases in all ways of running the bundle.

    Attributes:
        differences: One entry for each.
        tolerance: Largest error allowed, relative to the largest expected value.
        native_operators: Whether the C++ operators were there to be checked.
        refused: Cases that the module itself does not compute in torch, with what it says.
    """

    differences: list[Difference]
    tolerance: float
    native_operators: bool
    refused: dict[str, str] = field(default_factory=dict)

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
            "refused": self.refused,
            "differences": [
                {**asdict(d), "passes": d.passes(self.tolerance)} for d in self.differences
            ],
        }


def check_parity(
    module: torch.nn.Module, bundle: Bundle, *, tolerance: float = TOLERANCE, seed: int = 0
) -> ParityReport:
    """Compare a module in torch with its bundle in the session that runs it.

    Args:
        module: What was exported, with PyG's convolutions.
        bundle: What it was exported to.
        tolerance: Largest error allowed, relative to the largest expected value of a case.
        seed: Seed of the random graphs and features.

    Returns:
        The report; look at `ok`.

    Raises:
        Exception: Whatever the module raises on a usual graph. An awkward one it may refuse, as
            InstanceNorm does a single node; that case is left out and named in the report.
    """
    reference = copy.deepcopy(module).double().eval()
    if bundle.manifest.graph == "blocks":
        # no operators of ours are in it
        sessions = [Session(bundle, native=False, threads=threads) for threads in (1, 2)]
        blocks = [d for session in sessions for d in _compare_blocks(session, reference, seed)]
        return ParityReport(blocks, tolerance, native_operators=False)
    held = held_graph(bundle)
    cases, refused, differences = {}, dict[str, str](), list[Difference]()
    for name, inputs in make_cases(bundle, seed):
        try:
            cases[name] = inputs, _expected(reference, bundle, {**inputs, **held})
        except Exception as error:
            if name == "usual":
                raise
            refused[name] = str(error)
    for session in _sessions(bundle):
        differences += [_compare(session, name, *case) for name, case in cases.items()]
        if bundle.manifest.hops is not None and bundle.manifest.graph != "none":
            differences += _compare_subgraph(session, seed)
    return ParityReport(differences, tolerance, any(d.native for d in differences), refused)


def _compare_blocks(
    session: Session, reference: torch.nn.Module, seed: int
) -> Iterator[Difference]:
    def expected(whole: Mapping[str, Array]) -> list[Array]:
        return _expected(reference, session.bundle, whole)

    for case, got, wanted in compare_blocks(session, expected, seed):
        if isinstance(got, Exception):
            yield _failed(session, case, _scale(wanted), str(got))
        else:
            yield _difference(session, case, got, wanted, repeats=True)


def _expected(
    reference: torch.nn.Module, bundle: Bundle, inputs: Mapping[str, Array]
) -> list[Array]:
    tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
    wide = {n: t.double() if t.is_floating_point() else t for n, t in tensors.items()}
    with torch.no_grad():
        answers = flat_answers(reference(**nested(bundle, wide)))
    return [part.value.numpy() for part in answers.values()]


def nested(bundle: Bundle, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return flat inputs as the module takes them, those by type in dictionaries."""
    specs = {spec.name: spec for spec in bundle.manifest.edge_list_inputs}
    places = []
    for name in inputs:
        spec = specs.get(name)
        if spec is None or spec.argument is None:
            places.append((name, None))
        else:
            places.append((spec.argument, spec.key))
    return nest(places, list(inputs.values()))


def _sessions(bundle: Bundle) -> Iterator[Session]:
    # a package has one form of its operators, whichever that is here
    packaged = bundle.manifest.target is not None
    for native in (True,) if packaged else (True, False):
        for threads in (1, 2):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NativeLibraryWarning)
                session = open_session(bundle, native=native, threads=threads)
            if packaged or session.native_operators == native:
                yield session


def _compare(
    session: Session, case: str, inputs: dict[str, Array], expected: list[Array]
) -> Difference:
    try:
        first, second = session(inputs), session(_prepared(session, inputs))
    except Exception as error:
        return _failed(session, case, _scale(expected), str(error))
    repeats = all(
        np.array_equal(a, b) for a, b in zip(first.values(), second.values(), strict=True)
    )
    return _difference(session, case, list(first.values()), expected, repeats=repeats)


def _difference(
    session: Session, case: str, got: list[Array], expected: list[Array], *, repeats: bool
) -> Difference:
    scale = _scale(expected)
    pairs = list(zip(got, expected, strict=True))
    if any(mine.shape != wanted.shape for mine, wanted in pairs):
        return _failed(session, case, scale, f"shape {[mine.shape for mine in got]}")
    error = max(_largest(mine - wanted) for mine, wanted in pairs)
    return Difference(case, session.native_operators, session.threads, error, scale, repeats)


def _scale(expected: list[Array]) -> float:
    return max([1.0, *(float(np.abs(value).max()) for value in expected if value.size)])


def _prepared(session: Session, inputs: dict[str, Array]) -> dict[str, Any]:
    """Return the same inputs in the other way in which a call may give them.

    That is a graph that was sorted beforehand, in dictionaries where there are several types.
    """
    if session.bundle.manifest.graph == "typed":
        return nested(session.bundle, sorted_by_type(session, inputs))
    if "edge_index" not in inputs:
        return inputs
    graph = session.prepare(inputs["edge_index"], len(inputs["x"]))
    return {**inputs, "edge_index": graph}


def _compare_subgraph(session: Session, seed: int) -> list[Difference]:
    """Compare answers from the k-hop neighbourhood of a few nodes with the whole graph's."""
    bundle, rng = session.bundle, np.random.default_rng(seed)
    manifest, hops = bundle.manifest, bundle.manifest.hops or 0
    sizes, edges = sparse_graphs(bundle, rng)
    whole = fill(bundle, rng, sizes, edges)
    differences: list[Difference] = []
    try:
        expected = session(whole)
    except Exception as error:
        return [_failed(session, f"{hops}-hop subgraph", 1.0, str(error))]
    for spec in manifest.outputs:
        dim = spec.shape[0]
        if dim not in sizes:
            continue
        seeds = {dim: np.arange(SEEDS_OF_SUBGRAPH)}
        part, nodes = subgraph(bundle, whole, sizes, seeds, hops)
        if manifest.in_degree:
            degrees = session.in_degree(
                edges["edge_index"], sizes["num_nodes"], whole.get("edge_weight")
            )
            part["in_degree"] = degrees[nodes["num_nodes"]]
        case = f"{hops}-hop subgraph" + (f" of {spec.key}" if spec.key else "")
        wanted = expected[spec.name][seeds[dim]]
        scale = max(1.0, float(np.abs(wanted).max()))
        try:
            got = session(part)[spec.name]
        except Exception as error:
            differences.append(_failed(session, case, scale, str(error)))
            continue
        error = _largest(got[np.searchsorted(nodes[str(dim)], seeds[dim])] - wanted)
        how = session.native_operators, session.threads
        differences.append(Difference(case, *how, error, scale, repeats=True))
    return differences


def _largest(difference: Array) -> float:
    if difference.size == 0:
        return 0.0
    largest = float(np.abs(difference).max())
    return largest if np.isfinite(largest) else float("inf")


def _failed(session: Session, case: str, scale: float, note: str) -> Difference:
    native, threads = session.native_operators, session.threads
    return Difference(case, native, threads, float("inf"), scale, repeats=False, note=note)
