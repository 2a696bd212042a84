"""What belongs to edges and to relations, in ONNX Runtime, against its definitions."""

import pytest
import torch

from cases import GRAPHS, assert_close, graphs
from graphstill.kernels import reference
from onnx_nodes import csr_of, homes, node, run, threads

RELATIONS = 3


@homes
@threads
@graphs
@pytest.mark.parametrize("reduce", ["sum", "mean"])
@pytest.mark.parametrize(("heads", "channels"), [(1, 5), (4, 8), (3, 33)])
def test_weights_per_head(
    graph: str, heads: int, channels: int, reduce: str, threads: int, home: str
) -> None:
    rowptr, col, num_nodes = csr_of(graph)
    x, weight = torch.randn(num_nodes, heads * channels), torch.randn(col.numel(), heads)
    wanted = reference.spmm(rowptr, col, x.double(), weight.double(), reduce=reduce)
    inputs = {"rowptr": rowptr, "col": col, "x": x, "weight": weight}
    got = run(node("spmm_heads", list(inputs), ["out"], reduce=reduce), inputs, home, threads)[0]
    assert_close(got, wanted)


@homes
@threads
@graphs
@pytest.mark.parametrize("reduce", ["sum", "mean"])
def test_sums_of_integers(graph: str, reduce: str, threads: int, home: str) -> None:
    rowptr, col, num_nodes = csr_of(graph)
    for width in (1, 33, 130):
        x = torch.randint(-128, 128, (num_nodes, width)).to(torch.int8)
        scale = torch.rand(width)
        wanted = reference.spmm_int8(rowptr, col, x, scale, reduce)
        inputs = {"rowptr": rowptr, "col": col, "x": x, "scale": scale}
        got = run(node("spmm_int8", list(inputs), ["out"], reduce=reduce), inputs, home, threads)[0]
        if reduce == "sum":
            assert torch.equal(got, wanted)
        assert_close(got, wanted.double())


@homes
@threads
@graphs
def test_rows_of_edges(graph: str, threads: int, home: str) -> None:
    rowptr, col, _ = csr_of(graph)
    got = run(
        node("edge_rows", ["rowptr", "col"], ["out"]), {"rowptr": rowptr, "col": col}, home, threads
    )[0]
    assert torch.equal(got, reference.rows(rowptr, col.numel()))


@homes
@threads
@graphs
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(("heads", "scale"), [(1, 1.0), (4, 1e4), (20, 1.0)])
def test_edge_softmax(
    graph: str, heads: int, scale: float, own: bool, threads: int, home: str
) -> None:
    rowptr, col, num_nodes = csr_of(graph)
    inputs = {"rowptr": rowptr, "score": scale * torch.randn(col.numel(), heads)}
    outputs = ["out"]
    if own:
        inputs["own"], outputs = scale * torch.randn(num_nodes, heads), ["out", "own_out"]
        wanted = reference.edge_softmax_own(
            rowptr, *(t.double() for t in list(inputs.values())[1:])
        )
    else:
        wanted = (reference.edge_softmax(rowptr, inputs["score"].double()),)
    got = run(node("edge_softmax", list(inputs), outputs), inputs, home, threads)
    for ours, theirs in zip(got, wanted, strict=True):
        assert_close(ours, theirs)


@homes
@threads
@graphs
@pytest.mark.parametrize(("heads", "channels"), [(1, 5), (4, 8), (3, 33)])
def test_products_of_both_ends(
    graph: str, heads: int, channels: int, threads: int, home: str
) -> None:
    rowptr, col, num_nodes = csr_of(graph)
    a, b = torch.randn(2, num_nodes, heads * channels)
    inputs = {"rowptr": rowptr, "col": col, "a": a, "b": b}
    got = run(node("sddmm", list(inputs), ["out"], heads=heads), inputs, home, threads)[0]
    assert_close(got, reference.sddmm(rowptr, col, a.double(), b.double(), heads))


PAIRS = ["pair_rowptr", "pair_col", "target_rowptr", "target_col", "sizes", "pair"]


@homes
@threads
@graphs
def test_pairs_of_relations(graph: str, threads: int, home: str) -> None:
    rowptr, col, _ = csr_of(graph)
    for used in (RELATIONS, RELATIONS - 1, 1):  # the last relations may have no edges
        relation = torch.randint(0, used, (col.numel(),))
        inputs = {"rowptr": rowptr, "col": col, "relation": relation}
        sort = node("relational_csr", list(inputs), PAIRS, num_relations=RELATIONS)
        wanted = reference.relational_csr(*inputs.values(), RELATIONS)
        for name, ours, theirs in zip(PAIRS, run(sort, inputs, home, threads), wanted, strict=True):
            assert torch.equal(ours, theirs), name


@homes
def test_pairs_of_many_edges_and_relations(home: str) -> None:
    edge_index = torch.randint(0, 700, (2, 150_000))
    edge_index[1, :40_000] = 3
    rowptr, col, _ = reference.csr(edge_index, 700, 700)
    relation = torch.randint(0, 90, (150_000,))
    inputs = {"rowptr": rowptr, "col": col, "relation": relation}
    sort = node("relational_csr", list(inputs), PAIRS, num_relations=90)
    wanted = reference.relational_csr(rowptr, col, relation, 90)
    assert all(map(torch.equal, run(sort, inputs, home, 2), wanted))


@homes
@pytest.mark.parametrize("relation", [-1, RELATIONS])
def test_a_relation_out_of_range_is_refused(relation: int, home: str) -> None:
    rowptr, col, _ = csr_of("usual")
    relations = torch.zeros(col.numel(), dtype=torch.int64)
    relations[5] = relation
    inputs = {"rowptr": rowptr, "col": col, "relation": relations}
    sort = node("relational_csr", list(inputs), PAIRS, num_relations=RELATIONS)
    with pytest.raises(Exception, match=f"the relation {relation}|out of"):
        run(sort, inputs, home, 1)


def test_products_by_relation_are_those_of_rgcn() -> None:
    edge_index, num_nodes = GRAPHS["usual"]
    rowptr, col, perm = reference.csr(edge_index, num_nodes, num_nodes)
    relation = torch.randint(0, RELATIONS, (col.numel(),))
    x, weight = torch.randn(num_nodes, 6).double(), torch.randn(RELATIONS, 6, 4).double()
    pair_rowptr, pair_col, target_rowptr, target_col, sizes, _ = reference.relational_csr(
        rowptr, col, relation[perm], RELATIONS
    )
    mean = reference.spmm(pair_rowptr, pair_col, x, reduce="mean")
    table = reference.relation_products(mean, sizes.tolist(), weight)
    got = reference.spmm(target_rowptr, target_col, table)
    wanted = reference.rgcn(edge_index, relation, x, weight, num_nodes)
    torch.testing.assert_close(got, wanted)
