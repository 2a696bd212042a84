"""Attention in ONNX Runtime, by function body and by C++ kernel, against its definitions."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cases import assert_close, graphs
from graphstill.kernels import reference
from graphstill.kernels.layers.heads import join_heads
from onnx_nodes import csr_of, homes, node, run, threads

shapes = pytest.mark.parametrize(
    ("heads", "channels"), [(1, 1), (1, 40), (2, 5), (4, 8), (4, 40), (3, 16), (20, 2), (8, 32)]
)
few_shapes = pytest.mark.parametrize(("heads", "channels"), [(1, 1), (2, 5), (4, 8), (3, 40)])
loops = pytest.mark.parametrize("loops", [False, True])
SLOPE = 0.3
Made = dict[str, Tensor]


def gat(num_nodes: int, heads: int, channels: int, loops: bool) -> Made:
    made = {
        "x": torch.randn(num_nodes, heads * channels, dtype=torch.float64),
        "alpha_src": torch.randn(num_nodes, heads, dtype=torch.float64),
        "alpha_dst": torch.randn(num_nodes, heads, dtype=torch.float64),
    }
    return with_bias(made, heads * channels, loops)


def gatv2(num_nodes: int, heads: int, channels: int, loops: bool) -> Made:
    made = {
        "x_l": torch.randn(num_nodes, heads * channels, dtype=torch.float64),
        "x_r": torch.randn(num_nodes, heads * channels, dtype=torch.float64),
        "att": torch.randn(heads, channels, dtype=torch.float64),
    }
    return with_bias(made, heads * channels, loops)


def with_bias(made: Made, width: int, loops: bool) -> Made:
    """The bias goes with one of the two, to see both."""
    return made | ({"bias": torch.randn(width, dtype=torch.float64)} if loops else {})


def dot_attention(num_nodes: int, width: int) -> Made:
    return {
        name: torch.randn(num_nodes, width, dtype=torch.float64)
        for name in ("query", "key", "value")
    }


def check(
    op_type: str, graph: str, made: Made, home: str, threads: int, **settings: float
) -> Tensor:
    """Compare a node with its definition."""
    rowptr, col, _ = csr_of(graph)
    define: Callable[..., tuple[Tensor, Tensor]] = getattr(reference, op_type)
    wanted, _ = define(rowptr, col, **made, **settings)
    inputs = {"rowptr": rowptr, "col": col, **{n: v.float() for n, v in made.items()}}
    got = run(node(op_type, list(inputs), ["out"], **settings), inputs, home, threads)[0]
    assert_close(got, wanted)
    return got


@homes
@threads
@graphs
@loops
@shapes
def test_gat(graph: str, loops: bool, heads: int, channels: int, threads: int, home: str) -> None:
    made = gat(csr_of(graph)[2], heads, channels, loops)
    check("gat", graph, made, home, threads, negative_slope=SLOPE, add_self_loops=int(loops))


@homes
@threads
@graphs
@loops
@few_shapes
def test_gatv2(graph: str, loops: bool, heads: int, channels: int, threads: int, home: str) -> None:
    made = gatv2(csr_of(graph)[2], heads, channels, loops)
    check("gatv2", graph, made, home, threads, negative_slope=SLOPE, add_self_loops=int(loops))


@homes
@threads
@graphs
@few_shapes
def test_dot_attention(graph: str, heads: int, channels: int, threads: int, home: str) -> None:
    made = dot_attention(csr_of(graph)[2], heads * channels)
    check("dot_attention", graph, made, home, threads, heads=heads)


@homes
@threads
@graphs
@loops
@few_shapes
def test_means_over_heads(
    graph: str, loops: bool, heads: int, channels: int, threads: int, home: str
) -> None:
    rowptr, col, num_nodes = csr_of(graph)
    gats = {"negative_slope": SLOPE, "add_self_loops": int(loops)}
    for op_type, made, settings in (
        ("gat", gat(num_nodes, heads, channels, loops=False), gats),
        ("gatv2", gatv2(num_nodes, heads, channels, loops=False), gats),
        ("dot_attention", dot_attention(num_nodes, heads * channels), {"heads": heads}),
    ):
        define: Callable[..., tuple[Tensor, Tensor]] = getattr(reference, op_type)
        bias = torch.randn(channels, dtype=torch.float64) if loops and settings is gats else None
        wanted = join_heads(define(rowptr, col, **made, **settings)[0], heads, bias)
        given = made if bias is None else made | {"bias": bias}
        inputs = {"rowptr": rowptr, "col": col, **{n: v.float() for n, v in given.items()}}
        asked = node(f"{op_type}_mean", list(inputs), ["out"], **settings)
        assert_close(run(asked, inputs, home, threads)[0], wanted)


@homes
@loops
def test_scores_of_any_size_are_safe(home: str, loops: bool) -> None:
    num_nodes = csr_of("a hub")[2]
    settings = {"negative_slope": SLOPE, "add_self_loops": int(loops)}
    made = gat(num_nodes, 4, 8, loops=False)
    made |= {name: (1e4 * made[name]).float().double() for name in ("alpha_src", "alpha_dst")}
    made["x"] = made["x"].float().double()
    check("gat", "a hub", made, home, 2, **settings)
    made = gatv2(num_nodes, 4, 8, loops=False)
    made = {name: value.float().double() for name, value in made.items()}
    made["att"] *= 2.0**14
    check("gatv2", "a hub", made, home, 2, **settings)
    made = {name: value.float().double() for name, value in dot_attention(num_nodes, 32).items()}
    made["key"] *= 2.0**14
    check("dot_attention", "a hub", made, home, 2, heads=4)


@homes
def test_attention_repeats_bit_for_bit_at_any_number_of_threads(home: str) -> None:
    num_nodes = csr_of("a hub")[2]
    settings = {"negative_slope": SLOPE, "add_self_loops": 1}
    for op_type, made, chosen in (
        ("gat", gat(num_nodes, 4, 16, True), settings),
        ("gatv2", gatv2(num_nodes, 4, 16, True), settings),
        ("dot_attention", dot_attention(num_nodes, 64), {"heads": 4}),
    ):
        first = check(op_type, "a hub", made, home, 1, **chosen)
        for _ in range(5):
            assert torch.equal(check(op_type, "a hub", made, home, 2, **chosen), first)


@homes
@pytest.mark.parametrize("value", [torch.inf, torch.nan])
def test_a_broken_row_stays_in_its_neighbourhood(home: str, value: float) -> None:
    rowptr, col, num_nodes = csr_of("usual")
    made = {name: v.float() for name, v in dot_attention(num_nodes, 20).items()}
    made["key"][3], made["value"][3] = value, value
    inputs = {"rowptr": rowptr, "col": col, **made}
    out = run(node("dot_attention", list(inputs), ["out"], heads=2), inputs, home, 2)[0]
    row = reference.rows(rowptr, col.numel())
    reached = row[col == 3].unique()
    assert (~out.isfinite()).any(dim=1).nonzero().squeeze(1).tolist() == reached.tolist()
