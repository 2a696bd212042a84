"""Session: what it accepts, what it refuses, and how it says so."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric import nn as pyg

from graphstill.export import export
from graphstill.serve import (
    Bundle,
    InputError,
    NativeLibraryWarning,
    ProviderError,
    Session,
    in_degree,
    native,
    runtime,
)

Inputs = dict[str, Any]


class Weighted(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = pyg.GCNConv(4, 3)

    def forward(
        self, x: torch.Tensor, edge_index: torch.Tensor, edge_weight: torch.Tensor
    ) -> torch.Tensor:
        return self.conv(x, edge_index, edge_weight)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("bundles")
    x, edges = torch.randn(6, 4), torch.randint(0, 6, (2, 10))
    module = Weighted()
    return {
        form: export(module, (x, edges, torch.rand(10)), folder / form, graph=form)
        for form in ("edge_index", "csr")
    }


@pytest.fixture
def inputs() -> Inputs:
    rng = np.random.default_rng(1)
    return {
        "x": rng.standard_normal((40, 4)).astype(np.float32),
        "edge_index": rng.integers(0, 40, (2, 200)),
        "edge_weight": rng.random(200).astype(np.float32),
    }


@pytest.fixture(params=[("edge_index", True), ("edge_index", False), ("csr", True), ("csr", False)])
def session(request: pytest.FixtureRequest, bundles: dict[str, Bundle]) -> Session:
    form, use_native = request.param
    return Session(bundles[form], native=use_native, threads=1)


def test_every_way_to_give_a_graph_gives_the_same(session: Session, inputs: Inputs) -> None:
    wanted = session(inputs)["logits"]
    graph = session.prepare(inputs["edge_index"], 40)
    rest = {name: inputs[name] for name in ("x", "edge_weight")}
    for got in (
        session(**inputs),
        session(inputs, edge_weight=inputs["edge_weight"]),
        session(**rest, graph=graph),
        session(**rest, edge_index=graph),
        session(**{**inputs, "edge_index": inputs["edge_index"].astype(np.int32)}),
        session(**{**inputs, "edge_index": np.asfortranarray(inputs["edge_index"])}),
    ):
        np.testing.assert_array_equal(got["logits"], wanted)


def test_rowptr_and_col_by_hand(bundles: dict[str, Bundle], inputs: Inputs) -> None:
    session = Session(bundles["csr"])
    graph = session.prepare(inputs["edge_index"], 40)
    got = session(
        x=inputs["x"],
        rowptr=graph.rowptr,
        col=graph.col,
        edge_weight=inputs["edge_weight"][graph.perm],
    )
    np.testing.assert_array_equal(got["logits"], session(inputs)["logits"])
    broken = graph.rowptr.copy()
    broken[3] = 10_000
    weight = inputs["edge_weight"]
    for rowptr, col, said in (
        (graph.rowptr[:-1], graph.col, "rowptr must be"),
        (broken, graph.col, "rowptr must rise"),
        (graph.rowptr, graph.col + 39, "ids must lie in"),
    ):
        with pytest.raises(InputError, match=said):
            session(x=inputs["x"], rowptr=rowptr, col=col, edge_weight=weight)


def test_one_session_serves_many_threads(bundles: dict[str, Bundle], inputs: Inputs) -> None:
    session = Session(bundles["edge_index"], threads=2)
    wanted, wrong = session(inputs)["logits"], []

    def work() -> None:
        for _ in range(20):
            if not np.array_equal(session(inputs)["logits"], wanted):
                wrong.append(1)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def wrong_inputs() -> Iterator[tuple[Inputs, str]]:
    bad_edge = np.zeros((2, 200), np.int64)
    bad_edge[1, 17] = 40
    negative = np.zeros((2, 200), np.int64)
    negative[0, 3] = -1
    yield {"edge_index": bad_edge}, "edge 17 names destination 40, ids must lie in \\[0, 40\\)"
    yield {"edge_index": negative}, "edge 3 names source -1"
    yield {"edge_index": np.zeros((2, 200))}, "int64 or int32, got float64"
    yield {"edge_index": np.zeros((3, 200), np.int64)}, "shape \\[2, num_edges\\]"
    yield {"edge_index": np.zeros((2, 199), np.int64)}, "edge_weight must have shape \\[199"
    yield {"x": np.zeros((40, 5), np.float32)}, "x must have shape \\[num_nodes, 4\\]"
    yield {"x": np.zeros((40, 4))}, "x must be float32, got float64"
    yield {"x": np.zeros(40, np.float32)}, "x must have shape"
    yield {"edge_weight": np.zeros(3, np.float32)}, "edge_weight must have shape \\[200"
    yield {"surprise": np.zeros(3)}, "unknown surprise"


@pytest.mark.parametrize(("changed", "said"), list(wrong_inputs()), ids=lambda v: str(v)[:25])
def test_wrong_inputs_are_refused(
    session: Session, inputs: Inputs, changed: Inputs, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        session({**inputs, **changed})
    session(inputs)  # and the session lives on


def test_a_missing_input_is_named(session: Session, inputs: Inputs) -> None:
    del inputs["edge_weight"]
    with pytest.raises(InputError, match="missing edge_weight"):
        session(inputs)


def test_a_graph_of_another_size_is_refused(session: Session, inputs: Inputs) -> None:
    inputs["edge_index"] = session.prepare(inputs["edge_index"], 41)
    with pytest.raises(InputError, match="41 nodes, x has 40"):
        session(inputs)


def test_two_graphs_are_one_too_many(session: Session, inputs: Inputs) -> None:
    graph = session.prepare(inputs["edge_index"], 40)
    with pytest.raises(InputError, match="one graph is enough"):
        session(x=inputs["x"], edge_weight=inputs["edge_weight"], a=graph, b=graph)


def test_nan_is_refused_where_asked(bundles: dict[str, Bundle], inputs: Inputs) -> None:
    inputs["x"][7, 2] = np.nan
    assert np.isnan(Session(bundles["csr"])(inputs)["logits"]).any()
    with pytest.raises(InputError, match=r"x\[7, 2\] is nan"):
        Session(bundles["csr"], validate=True)(inputs)


def test_a_subgraph_answers_like_the_whole_graph(session: Session, inputs: Inputs) -> None:
    whole = session(inputs)["logits"]
    edges = inputs["edge_index"]
    near = np.unique(np.concatenate([[5], edges[0, edges[1] == 5]]))
    kept = np.isin(edges, near).all(axis=0)
    part = {
        "x": inputs["x"][near],
        "edge_index": np.searchsorted(near, edges[:, kept]),
        "edge_weight": inputs["edge_weight"][kept],
    }
    degrees = in_degree(edges, 40, inputs["edge_weight"])
    at = int(np.searchsorted(near, 5))
    got = session(part, in_degree=degrees[near])["logits"][at]
    np.testing.assert_allclose(got, whole[5], atol=1e-6)
    assert not np.allclose(session(part)["logits"][at], whole[5], atol=1e-3)


def test_threads_must_be_positive(bundles: dict[str, Bundle]) -> None:
    with pytest.raises(ValueError, match="threads"):
        Session(bundles["csr"], threads=0)


def test_a_provider_that_is_not_there_is_an_error(bundles: dict[str, Bundle]) -> None:
    with pytest.raises(ProviderError, match="CUDAExecutionProvider is not available"):
        Session(bundles["csr"], providers=["CUDAExecutionProvider"])


def test_a_missing_library_is_said_once(
    bundles: dict[str, Bundle], inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> str:
        raise FileNotFoundError("it was not built")

    wanted = Session(bundles["csr"])(inputs)["logits"]
    monkeypatch.setattr(native, "library", missing)
    monkeypatch.setattr(runtime, "_warned", False)
    with pytest.warns(NativeLibraryWarning, match="it was not built"):
        session = Session(bundles["csr"])
    again = Session(bundles["csr"])  # a second warning would be an error here
    assert not session.native_operators
    assert not again.native_operators
    np.testing.assert_allclose(session(inputs)["logits"], wanted, atol=1e-6)


def test_a_library_that_does_not_load_counts_as_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "libgraphstill_ort.so"
    broken.write_bytes(b"not a library")
    monkeypatch.setattr(native, "_LIBRARY", broken)
    native._found.cache_clear()
    try:
        with pytest.raises(FileNotFoundError, match="does not load"):
            native.library()
    finally:
        native._found.cache_clear()


def test_serving_imports_no_torch() -> None:
    code = "import sys, graphstill.serve; sys.exit('torch' in sys.modules or 'onnx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
