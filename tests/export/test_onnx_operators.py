"""The operators in ONNX Runtime, by function body and by C++ kernel, against their definitions."""

from collections.abc import Iterator

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from cases import GRAPHS, OPTIONS, Options, assert_close, graphs, options, spmm_inputs, widths
from graphstill.export.bodies import SPMM_INPUTS, body_for
from graphstill.export.translation import SCHEMAS
from graphstill.kernels import reference
from graphstill.serve.onnx_file import _STANDARD, DOMAIN_VERSION, OPERATORS
from onnx_nodes import csr_of, homes, node, nodes_of, run, threads


@homes
@threads
@graphs
def test_csr(graph: str, threads: int, home: str) -> None:
    edge_index, num_nodes = GRAPHS[graph]
    inputs = {
        "edge_index": edge_index,
        "num_src": torch.tensor(num_nodes),
        "num_dst": torch.tensor(num_nodes),
    }
    sort = node("csr", list(inputs), ["rowptr", "col", "perm"])
    for got, wanted in zip(
        run(sort, inputs, home, threads),
        reference.csr(edge_index, num_nodes, num_nodes),
        strict=True,
    ):
        assert torch.equal(got, wanted)


@homes
def test_csr_of_many_edges_in_several_runs(home: str) -> None:
    edge_index = torch.randint(0, 700, (2, 600_000))
    inputs = {
        "edge_index": edge_index,
        "num_src": torch.tensor(700),
        "num_dst": torch.tensor(700),
    }
    sort = node("csr", list(inputs), ["rowptr", "col", "perm"])
    for edges in (edge_index, edge_index[:, edge_index[1].argsort(stable=True)]):
        got = run(sort, {**inputs, "edge_index": edges.contiguous()}, home, 2)
        wanted = reference.csr(edges, 700, 700)
        assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))


@pytest.mark.parametrize(
    ("edges", "said"),
    [
        ([[0, 5], [1, 1]], "edge 1 names source 5"),
        ([[0, 1], [7, 1]], "edge 0 names destination 7"),
        ([[0, 1], [1, 9]], "edge 1 names destination 9"),
        ([[0, -1], [0, 1]], "edge 1 names source -1"),
        ([[0, 0, 0], [-4, 1, 2]], "edge 0 names destination -4"),
    ],
)
def test_the_library_refuses_ids_out_of_range(edges: list[list[int]], said: str) -> None:
    inputs = {
        "edge_index": torch.tensor(edges),
        "num_src": torch.tensor(3),
        "num_dst": torch.tensor(3),
    }
    sort = node("csr", list(inputs), ["rowptr", "col", "perm"])
    with pytest.raises(Exception, match=said):
        run(sort, inputs, "C++", 1)


@homes
@threads
@graphs
@options
def test_spmm(graph: str, options: Options, threads: int, home: str) -> None:
    check_spmm(graph, options, 33, threads, home)


@homes
@widths
def test_spmm_at_every_width(width: int, home: str) -> None:
    for some in (OPTIONS[1], OPTIONS[5]):
        check_spmm("a hub", some, width, 2, home)


def check_spmm(graph: str, options: Options, width: int, threads: int, home: str) -> None:
    rowptr, col, num_nodes = csr_of(graph)
    optional = spmm_inputs(options, num_nodes, col.numel(), width)
    wanted = reference.spmm(rowptr, col, **optional, reduce=options.reduce)
    inputs = {"rowptr": rowptr, "col": col, **{n: v.float() for n, v in optional.items()}}
    names = [name if name in inputs else "" for name in SPMM_INPUTS]
    while not names[-1]:
        names.pop()
    aggregate = node("spmm", names, ["out"], reduce=options.reduce)
    assert_close(run(aggregate, inputs, home, threads)[0], wanted)


@homes
@threads
@graphs
@pytest.mark.parametrize("reduce", ["max", "min"])
@pytest.mark.parametrize("weighted", [False, True])
def test_extremum(graph: str, weighted: bool, reduce: str, threads: int, home: str) -> None:
    check_extremum(graph, 33, weighted, reduce, threads, home)


@homes
@widths
def test_extremum_at_every_width(width: int, home: str) -> None:
    check_extremum("a hub", width, True, "min", 2, home)


def check_extremum(
    graph: str, width: int, weighted: bool, reduce: str, threads: int, home: str
) -> None:
    rowptr, col, num_nodes = csr_of(graph)
    inputs = {"rowptr": rowptr, "col": col, "x": torch.randn(num_nodes, width)}
    if weighted:
        inputs["weight"] = torch.randn(col.numel())
    wanted = reference.extremum(*inputs.values(), reduce=reduce)
    got = run(node("extremum", list(inputs), ["out"], reduce=reduce), inputs, home, threads)[0]
    assert torch.equal(got, wanted)


@homes
@pytest.mark.parametrize("reduce", ["max", "min"])
@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
def test_extrema_of_broken_rows_are_torchs(home: str, value: float, reduce: str) -> None:
    for graph in ("usual", "a hub"):
        rowptr, col, num_nodes = csr_of(graph)
        x = torch.randn(num_nodes, 20)
        x[3], x[5, 7] = value, value
        wanted = reference.extremum(rowptr, col, x, reduce=reduce)
        take = node("extremum", ["rowptr", "col", "x"], ["out"], reduce=reduce)
        got = run(take, {"rowptr": rowptr, "col": col, "x": x}, home, 2)[0]
        assert torch.equal(got.nan_to_num(7e7), wanted.nan_to_num(7e7))


@homes
@threads
@graphs
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loops", [False, True])
@pytest.mark.parametrize("degrees", ["none", "empty", "given"])
def test_gcn_norm(
    graph: str, weighted: bool, loops: bool, degrees: str, threads: int, home: str
) -> None:
    rowptr, col, num_nodes = csr_of(graph)
    weight = torch.rand(col.numel()) if weighted else None
    in_degree = {"none": None, "empty": torch.zeros(0), "given": torch.rand(num_nodes)}[degrees]
    wanted = reference.gcn_norm(rowptr, col, weight, in_degree, 2.0, loops)
    given = {"rowptr": rowptr, "col": col, "weight": weight, "in_degree": in_degree}
    inputs = {name: value for name, value in given.items() if value is not None}
    names = [name if name in inputs else "" for name in given]
    normalise = node(
        "gcn_norm",
        names,
        ["scale", "self_weight"],
        fill_value=2.0,
        add_self_loops=int(loops),
    )
    for got, value in zip(run(normalise, inputs, home, threads), wanted, strict=True):
        assert_close(got, value)


@homes
@pytest.mark.parametrize("value", [torch.inf, torch.nan])
def test_a_broken_row_stays_in_its_neighbourhood(home: str, value: float) -> None:
    edge_index, _ = GRAPHS["usual"]
    rowptr, col, num_nodes = csr_of("usual")
    x = torch.randn(num_nodes, 20)
    x[3] = value
    aggregate = node("spmm", ["rowptr", "col", "x"], ["out"], reduce="sum")
    out = run(aggregate, {"rowptr": rowptr, "col": col, "x": x}, home, 2)[0]
    reached = edge_index[1, edge_index[0] == 3].unique()
    assert (~out.isfinite()).any(dim=1).nonzero().squeeze(1).tolist() == reached.tolist()


@homes
def test_a_big_hub_is_right_at_two_threads_every_time(home: str) -> None:
    num_nodes, edges = 50, torch.randint(0, 50, (2, 100_000))
    edges[1, :70_000] = 0
    rowptr, col, _ = reference.csr(edges, num_nodes, num_nodes)
    x = torch.randn(num_nodes, 64)
    wanted = reference.spmm(rowptr, col, x.double())
    aggregate = node("spmm", ["rowptr", "col", "x"], ["out"], reduce="sum")
    first = run(aggregate, {"rowptr": rowptr, "col": col, "x": x}, home, 2)[0]
    torch.testing.assert_close(
        first.double(), wanted, rtol=0, atol=1e-4 * float(wanted.abs().max())
    )
    for _ in range(20):
        again = run(aggregate, {"rowptr": rowptr, "col": col, "x": x}, home, 2)[0]
        assert torch.equal(again, first)


def test_bits_do_not_depend_on_threads() -> None:
    rowptr, col, num_nodes = csr_of("a hub")
    inputs = {"rowptr": rowptr, "col": col, "x": torch.randn(num_nodes, 40)}
    aggregate = node("spmm", list(inputs), ["out"], reduce="mean")
    one, two = (run(aggregate, inputs, "C++", threads)[0] for threads in (1, 2))
    assert torch.equal(one, two)


def wrong_calls() -> Iterator[tuple[dict[str, Tensor], str]]:
    rowptr, col, num_nodes = csr_of("usual")
    right = {"rowptr": rowptr, "col": col, "x": torch.randn(num_nodes, 4)}
    yield {**right, "rowptr": rowptr[:-1]}, "rowptr must run from 0"
    yield {**right, "rowptr": rowptr[:0]}, "num_nodes \\+ 1 entries"
    yield {**right, "weight": torch.rand(3)}, "one value per edge"


@pytest.mark.parametrize(("inputs", "said"), list(wrong_calls()), ids=lambda v: str(v)[:20])
def test_the_library_checks_shapes(inputs: dict[str, Tensor], said: str) -> None:
    aggregate = node("spmm", list(inputs), ["out"], reduce="sum")
    with pytest.raises(Exception, match=said):
        run(aggregate, inputs, "C++", 1)


def test_serving_allows_exactly_our_operators() -> None:
    assert set(SCHEMAS) == set(OPERATORS)
    assert {schema.since_version for schema in SCHEMAS.values()} == {DOMAIN_VERSION}


def test_serving_allows_exactly_standard_onnx() -> None:
    known = {
        schema.name
        for schema in onnx.defs.get_all_schemas_with_history()
        if schema.domain == "" and schema.since_version <= 18
    }
    assert known - {"Scatter"} == _STANDARD  # Scatter was replaced at opset 11


@pytest.mark.parametrize("op_type", SCHEMAS)
def test_bodies_use_no_racing_scatter(op_type: str) -> None:
    schema = SCHEMAS[op_type]
    names = [f"i{i}" for i in range(schema.max_input)]
    values = {"INT": 1, "FLOAT": 1.0, "STRING": "max" if op_type == "extremum" else "sum"}
    attributes = {name: values[a.type.name] for name, a in schema.attributes.items()}
    attributes |= {name: "relu" for name in attributes if "activation" in name}
    for inner in nodes_of(body_for(node(op_type, names, ["o"], **attributes))):
        if inner.op_type == "ScatterND":
            assert all(a.name != "reduction" for a in inner.attribute)


def test_numpy_arrays_out_of_alignment_are_read_right() -> None:
    rowptr, col, num_nodes = csr_of("usual")
    raw = np.zeros(num_nodes * 32 * 4 + 4, np.uint8)
    x = raw[4:].view(np.float32).reshape(num_nodes, 32)
    x[:] = np.random.default_rng(0).standard_normal(x.shape)
    inputs = {"rowptr": rowptr, "col": col, "x": torch.from_numpy(x)}
    got = run(node("spmm", list(inputs), ["out"], reduce="sum"), inputs, "C++", 1)[0]
    assert_close(got, reference.spmm(rowptr, col, torch.from_numpy(x).double()))
