"""bench under load: bundles that answer requests for single nodes, and whether they were right.

What was answered while the clock ran is compared afterwards, untimed, with what the bundle answers
for the same nodes: from the whole graph, or with sampled neighbourhoods from the same sample. Speed
is never reported without it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..serve import Bundle
from .answers import answers_of
from .bench import labels_of
from .peers import PEERS
from .report import Measured, Report, Row
from .requests import Requests, draw_seeds, seeds_of

TOLERANCE = 1e-4


_PEERS = {"pyg": False, "pyg-csr": True}


def request_rows(
    paths: Sequence[Path],
    requests: Requests,
    *,
    native: bool = True,
    peers: Sequence[str] = (),
) -> list[Row]:
    """Return a row for each bundle, and one for each peer behind it: "pyg" or "pyg-csr".

    Raises:
        ValueError: If there is no such peer, or it could not answer the same.
    """
    neighbours = None if requests.num_neighbors is None else list(requests.num_neighbors)
    if unknown := [name for name in peers if name not in _PEERS]:
        raise ValueError(f"peers of requests are {', '.join(_PEERS)}, got {unknown[0]!r}")
    if peers and neighbours is not None:
        raise ValueError("peers answer from whole neighbourhoods: leave out --num-neighbors")
    rows = []
    for path, label in zip(paths, labels_of(paths), strict=True):
        if peers and Bundle.load(path).manifest.quantisation is not None:
            raise ValueError(f"{path} is quantised; peers stand beside what it was made of")
        arguments = {"path": str(path), "native": native, "num_neighbors": neighbours}
        rows.append(Row(label, "graphstill.export.targets:requests", arguments))
        for name in peers:
            arguments = {"path": str(path), "csr": _PEERS[name]}
            named = f"{label}, {PEERS[name]}"
            rows.append(Row(named, "graphstill.export.peer_requests:load", arguments))
    return rows


def request_inputs(inputs: Mapping[str, np.ndarray], requests: Requests) -> dict[str, np.ndarray]:
    """Return a graph with the nodes that each request asks for.

    Raises:
        ValueError: If there is no graph of one type.
    """
    if not isinstance(inputs.get("x"), np.ndarray) or "edge_index" not in inputs:
        raise ValueError("requests need a graph of one type of nodes: x and edge_index")
    return {**inputs, "seeds": draw_seeds(requests, inputs["edge_index"], len(inputs["x"]))}


def grouped_inputs(
    inputs: Mapping[str, np.ndarray], groups: Sequence[Requests]
) -> dict[str, np.ndarray]:
    """Return a graph with the nodes of several kinds of requests, numbered through.

    Raises:
        ValueError: If there is no graph of one type.
    """
    drawn = [request_inputs(inputs, group)["seeds"] for group in groups]
    return {**inputs, **{f"seeds_{i}": seeds for i, seeds in enumerate(drawn)}}


def request_facts(inputs: Mapping[str, np.ndarray], groups: Sequence[Requests]) -> dict[str, Any]:
    """Return how requests were drawn, and from what."""
    drawn = [asdict(group) for group in groups]
    return {
        "requests": drawn,
        "num_nodes": len(inputs["x"]),
        "num_edges": inputs["edge_index"].shape[1],
    }


def check_answers(
    report: Report,
    inputs: Mapping[str, np.ndarray],
    labels: np.ndarray | None = None,
) -> dict[str, dict[str, Any]]:
    """Compare the kept answers of every row with what its bundle answers when nobody waits.

    Args:
        report: Of a scenario, as `measure` returned it.
        inputs: The inputs it was measured with.
        labels: Class of each node; negative where it does not count.

    Returns:
        By label: how many answers were looked at, their largest error relative to the largest
        expected value, whether that is small, agreement with the expected classes, and accuracy
        where there are labels (fractions).
    """
    return {row.row.label: _check(row, inputs, labels) for row in report.rows}


def _check(
    row: Measured, inputs: Mapping[str, np.ndarray], labels: np.ndarray | None
) -> dict[str, Any]:
    asked = sorted({request for request, _ in row.answers})
    expected = expected_answers(row.row, inputs, asked)
    pairs = [
        (np.array(values, np.float32).reshape(expected[request].shape), expected[request])
        for request, values in row.answers
    ]
    scale = max([1.0, *(float(np.abs(wanted).max()) for _, wanted in pairs)])
    # numpy's maximum of NaN is NaN, which is no small error; Python's forgets it
    apart = [np.abs(got - wanted).max() for got, wanted in pairs]
    error = float(np.max([0.0, *apart])) / scale
    same = [got.argmax(-1) == wanted.argmax(-1) for got, wanted in pairs]
    found = {
        "answers": len(pairs),
        "relative_error": error,
        "ok": bool(pairs) and error <= TOLERANCE,
        "agreement": float(np.mean(np.concatenate(same))) if pairs else 0.0,
    }
    if labels is not None and pairs:
        seeds = seeds_of(inputs)
        truth = np.concatenate([labels[seeds[request]] for request, _ in row.answers])
        chosen = np.concatenate([got.argmax(-1) for got, _ in pairs])
        if (truth >= 0).any():
            found["accuracy"] = float((chosen == truth)[truth >= 0].mean())
    return found


def expected_answers(
    row: Row, inputs: Mapping[str, np.ndarray], requests: Sequence[int]
) -> dict[int, np.ndarray]:
    """Return what a row's bundle answers to some requests, by number, [nodes, classes] each."""
    bundle = Bundle.load(row.arguments["path"])
    seeds = seeds_of(inputs)
    if row.arguments.get("num_neighbors") is None:
        whole = next(iter(answers_of(bundle, inputs)[0].values()))
        return {request: whole[seeds[request]] for request in requests}
    from .neighbourhoods import BundleRequests

    neighbours = row.arguments["num_neighbors"]
    system = BundleRequests(bundle, inputs, 1, num_neighbors=neighbours)
    return {request: system.answer([request])[0] for request in requests}
