"""The node of sums and what follows them, by function body and by C++ kernel."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from cases import Options, assert_close, graphs, spmm_inputs
from graphstill.export.bodies import UPDATE_INPUTS
from graphstill.kernels import reference
from onnx_nodes import csr_of, homes, node, run, threads

SETTINGS: dict[str, Any] = {
    "reduce": "sum",
    "activation": "none",
    "out_activation": "none",
    "alpha": 1.0,
    "identity": 0.0,
    "trans_weight": 0,
    "trans_root": 0,
}
SCALED = Options(src_scale=True, dst_scale=True, self_weight=True, bias=True)
# what spmm has, what is there beyond it, and settings
UPDATES: dict[str, tuple[Options, str, dict[str, Any]]] = {
    "relu alone": (SCALED, "", {"activation": "relu"}),
    "residual and elu": (Options(weight=True, residual=True), "", {"activation": "elu"}),
    "relu, product": (SCALED, "linear_weight", {"activation": "relu"}),
    "product and bias, relu": (
        Options(dst_scale=True),
        "linear_weight linear_bias",
        {"out_activation": "relu", "trans_weight": 1},
    ),
    "elu, product, elu": (
        Options(weight=True, bias=True),
        "linear_weight linear_bias",
        {"activation": "elu", "out_activation": "elu", "alpha": 0.7},
    ),
    "GraphSAGE": (
        Options(),
        "linear_weight linear_bias root root_weight",
        {"reduce": "mean", "out_activation": "relu", "trans_root": 1},
    ),
    "root without bias": (Options(), "linear_weight root root_weight", {"trans_weight": 1}),
    "GCNII": (
        Options(src_scale=True, dst_scale=True, self_weight=True, residual=True),
        "linear_weight",
        {"identity": 0.8, "alpha": 0.2, "out_activation": "relu"},
    ),
    "scaled for the next sum": (SCALED, "linear_weight out_scale", {"out_activation": "relu"}),
    "scaled sums": (Options(bias=True), "out_scale", {"activation": "elu"}),
    "everything": (
        Options(weight=True, self_weight=True, bias=True, residual=True),
        "linear_weight linear_bias root root_weight out_scale",
        {"reduce": "mean", "activation": "relu", "identity": -0.5, "alpha": 2.0},
    ),
}
updates = pytest.mark.parametrize("update", UPDATES)


def made(update: str, graph: str, width: int, outputs: int) -> tuple[dict[str, Tensor], Any]:
    """Return inputs of float64 beyond the graph, and settings."""
    options, names, changed = UPDATES[update]
    settings = SETTINGS | changed
    outputs = width if settings["identity"] else outputs
    _, col, num_nodes = csr_of(graph)
    inputs = spmm_inputs(options, num_nodes, col.numel(), width)
    sizes = {
        "linear_weight": (width, outputs),
        "linear_bias": (outputs,),
        "root": (num_nodes, 5),
        "root_weight": (5, outputs),
        "out_scale": (num_nodes,),
    }
    inputs |= {name: torch.randn(*sizes[name], dtype=torch.float64) for name in names.split()}
    return inputs, settings


def check(update: str, graph: str, width: int, outputs: int, threads: int, home: str) -> None:
    """Compare a node with its definition."""
    rowptr, col, _ = csr_of(graph)
    values, settings = made(update, graph, width, outputs)
    turned = {"linear_weight": settings["trans_weight"], "root_weight": settings["trans_root"]}
    plain = {name: value for name, value in settings.items() if not name.startswith("trans_")}
    wanted = reference.spmm_update(rowptr, col, **values, **plain)
    inputs = {"rowptr": rowptr, "col": col}
    for name, value in values.items():
        inputs[name] = (value.T if turned.get(name) else value).float().contiguous()
    assert_close(run(update_node(inputs, settings), inputs, home, threads)[0], wanted)


def update_node(inputs: dict[str, Tensor], settings: dict[str, Any]) -> Any:
    names = [name if name in inputs else "" for name in UPDATE_INPUTS]
    while not names[-1]:
        names.pop()
    return node("spmm_update", names, ["out"], **settings)


@homes
@threads
@graphs
@updates
def test_an_update(update: str, graph: str, threads: int, home: str) -> None:
    check(update, graph, 33, 40, threads, home)


@homes
@updates
@pytest.mark.parametrize(
    ("width", "outputs"), [(1, 1), (3, 8), (7, 16), (16, 17), (64, 32), (130, 7), (20, 70), (40, 3)]
)
def test_updates_at_every_width(update: str, width: int, outputs: int, home: str) -> None:
    check(update, "a hub", width, outputs, 2, home)


@updates
def test_updates_of_many_rows_are_the_same_at_any_number_of_threads(update: str) -> None:
    rowptr = torch.arange(0, 30_001, 3)
    inputs = {"rowptr": rowptr, "col": torch.randint(0, 10_000, (30_000,), dtype=torch.int32)}
    values, settings = made(update, "usual", 24, 24)
    for name, value in values.items():
        rows = {23: 10_000, csr_of("usual")[1].numel(): 30_000}.get(len(value), len(value))
        inputs[name] = torch.randn(rows, *value.shape[1:])
    inputs |= {
        n: v.T.contiguous()
        for n, v in inputs.items()
        if n == "root_weight" and settings["trans_root"]
    }
    one, two = (run(update_node(inputs, settings), inputs, "C++", n)[0] for n in (1, 2))
    assert torch.equal(one, two)
    body = run(update_node(inputs, settings), inputs, "portable", 2)[0]
    assert_close(one, body.double())


def test_a_weight_that_changes_between_calls_is_seen() -> None:
    for _ in range(3):
        check("GraphSAGE", "usual", 12, 9, 1, "C++")


def wrong_calls() -> Iterator[tuple[str, dict[str, Tensor], str]]:
    yield "residual and elu", {"residual": torch.rand(3, 4)}, "residual must be"
    yield "relu, product", {"linear_weight": torch.rand(5, 4)}, "linear_weight must be"
    yield "relu, product", {"linear_bias": torch.rand(3)}, "a value per output"
    yield "relu, product", {"root": torch.rand(23, 4)}, "root goes with"
    yield "GraphSAGE", {"root": torch.rand(22, 5)}, "root must be"
    yield "GraphSAGE", {"root_weight": torch.rand(5, 3)}, "root must be"
    yield "relu alone", {"linear_bias": torch.rand(4)}, "a value per output"
    yield "relu alone", {"out_scale": torch.rand(4)}, "one value per node"


@pytest.mark.parametrize(
    ("update", "changed", "said"), list(wrong_calls()), ids=lambda v: str(v)[:20]
)
def test_the_library_checks_what_it_is_given(
    update: str, changed: dict[str, Tensor], said: str
) -> None:
    rowptr, col, _ = csr_of("usual")
    values, settings = made(update, "usual", 4, 4)
    inputs = {"rowptr": rowptr, "col": col, **{n: v.float() for n, v in values.items()}, **changed}
    with pytest.raises(Exception, match=said):
        run(update_node(inputs, settings), inputs, "C++", 1)


def test_the_identity_needs_a_square_weight() -> None:
    rowptr, col, num_nodes = csr_of("usual")
    inputs = {"rowptr": rowptr, "col": col, "x": torch.rand(num_nodes, 4)}
    inputs["linear_weight"] = torch.rand(4, 5)
    with pytest.raises(Exception, match="square"):
        run(update_node(inputs, SETTINGS | {"identity": 1.0}), inputs, "C++", 1)
