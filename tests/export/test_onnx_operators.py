"""The operators in ONNX Runtime, by function body and by C++ kernel, against their definitions."""

import os
from collections.abc import Iterator, Mapping

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper
from torch import Tensor

from cases import GRAPHS, OPTIONS, Options, assert_close, graphs, options, spmm_inputs, widths
from graphstill.export.bodies import DOMAIN, SPMM_INPUTS, body_for
from graphstill.export.translation import SCHEMAS
from graphstill.kernels import reference
from graphstill.serve import native
from graphstill.serve.onnx_file import _STANDARD, DOMAIN_VERSION, OPERATORS

# another build of the library, to test that one
LIBRARY = os.environ.get("GRAPHSTILL_TEST_LIBRARY")
HOMES = ("C++", "portable")
homes = pytest.mark.parametrize("home", HOMES)
threads = pytest.mark.parametrize("threads", [1, 2])

_TYPES = {
    torch.float32: onnx.TensorProto.FLOAT,
    torch.int32: onnx.TensorProto.INT32,
    torch.int64: onnx.TensorProto.INT64,
}
_FORMAL_TYPES = {
    "I": onnx.TensorProto.INT64,
    "C": onnx.TensorProto.INT32,
    "T": onnx.TensorProto.FLOAT,
}


def options_for(home: str, threads: int) -> onnxruntime.SessionOptions:
    made = onnxruntime.SessionOptions()
    made.intra_op_num_threads = threads
    made.log_severity_level = 4
    if home == "C++":
        made.register_custom_ops_library(LIBRARY or native.library())
    return made


def run(
    node: onnx.NodeProto, inputs: Mapping[str, Tensor], home: str, threads: int
) -> list[Tensor]:
    """Run one node in a model of its own, with its body in the model."""
    body = body_for(node)
    node.overload = body.overload
    values = {
        name: helper.make_tensor_value_info(name, _TYPES[t.dtype], [None] * t.dim())
        for name, t in inputs.items()
    }
    rank = 2 if node.op_type in ("spmm", "gat") else 1
    outputs = [
        helper.make_tensor_value_info(name, _FORMAL_TYPES[formal.type_str], [None] * rank)
        for name, formal in zip(node.output, SCHEMAS[node.op_type].outputs, strict=False)
    ]
    model = helper.make_model(
        helper.make_graph([node], "g", list(values.values()), outputs),
        functions=[body],
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, 1)],
        ir_version=10,
    )
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options_for(home, threads), providers=["CPUExecutionProvider"]
    )
    return [
        torch.from_numpy(v) for v in session.run(None, {n: t.numpy() for n, t in inputs.items()})
    ]


def node(
    op_type: str, inputs: list[str], outputs: list[str], **attributes: object
) -> onnx.NodeProto:
    return helper.make_node(op_type, inputs, outputs, domain=DOMAIN, **attributes)


def csr_of(name: str) -> tuple[Tensor, Tensor, int]:
    edge_index, num_nodes = GRAPHS[name]
    rowptr, col, _ = reference.csr(edge_index, num_nodes, num_nodes)
    return rowptr, col, num_nodes


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
@threads
@graphs
@pytest.mark.parametrize("loops", [False, True])
@pytest.mark.parametrize(
    ("heads", "channels"), [(1, 1), (1, 40), (2, 5), (4, 8), (4, 40), (3, 16), (20, 2), (8, 32)]
)
def test_gat(graph: str, loops: bool, heads: int, channels: int, threads: int, home: str) -> None:
    rowptr, col, num_nodes = csr_of(graph)
    made = {
        "x": torch.randn(num_nodes, heads * channels, dtype=torch.float64),
        "alpha_src": torch.randn(num_nodes, heads, dtype=torch.float64),
        "alpha_dst": torch.randn(num_nodes, heads, dtype=torch.float64),
    }
    if loops:  # the bias goes with one of the two, to see both
        made["bias"] = torch.randn(heads * channels, dtype=torch.float64)
    wanted, _ = reference.gat(rowptr, col, **made, negative_slope=0.3, add_self_loops=loops)
    inputs = {"rowptr": rowptr, "col": col, **{n: v.float() for n, v in made.items()}}
    attend = node("gat", list(inputs), ["out"], negative_slope=0.3, add_self_loops=int(loops))
    assert_close(run(attend, inputs, home, threads)[0], wanted)


@homes
def test_gat_survives_large_scores(home: str) -> None:
    rowptr, col, num_nodes = csr_of("a hub")
    inputs = {
        "rowptr": rowptr,
        "col": col,
        "x": torch.randn(num_nodes, 32),
        "alpha_src": 1e4 * torch.randn(num_nodes, 4),
        "alpha_dst": 1e4 * torch.randn(num_nodes, 4),
    }
    attend = node("gat", list(inputs), ["out"], negative_slope=0.2, add_self_loops=1)
    got = run(attend, inputs, home, 2)[0]
    wide = [inputs[name].double() for name in ("x", "alpha_src", "alpha_dst")]
    wanted, _ = reference.gat(rowptr, col, *wide, add_self_loops=True)
    assert_close(got, wanted)


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


def test_bodies_use_no_racing_scatter() -> None:
    for op_type, count in (("csr", 3), ("gcn_norm", 4), ("spmm", 8), ("gat", 6)):
        names = [f"i{i}" for i in range(count)]
        attributes = {"reduce": "sum"} if op_type == "spmm" else {}
        if op_type in ("gcn_norm", "gat"):
            attributes = {"add_self_loops": 1}
        body = body_for(node(op_type, names, ["o"], **attributes))
        for inner in nodes_of(body):
            if inner.op_type == "ScatterND":
                assert all(a.name != "reduction" for a in inner.attribute)


def nodes_of(owner: onnx.FunctionProto | onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for inner in owner.node:
        yield inner
        for attribute in inner.attribute:
            if attribute.HasField("g"):
                yield from nodes_of(attribute.g)


def test_numpy_arrays_out_of_alignment_are_read_right() -> None:
    rowptr, col, num_nodes = csr_of("usual")
    raw = np.zeros(num_nodes * 32 * 4 + 4, np.uint8)
    x = raw[4:].view(np.float32).reshape(num_nodes, 32)
    x[:] = np.random.default_rng(0).standard_normal(x.shape)
    inputs = {"rowptr": rowptr, "col": col, "x": torch.from_numpy(x)}
    got = run(node("spmm", list(inputs), ["out"], reduce="sum"), inputs, "C++", 1)[0]
    assert_close(got, reference.spmm(rowptr, col, torch.from_numpy(x).double()))
