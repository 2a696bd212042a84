"""Rows of int8: quantised, multiplied and summed, by the C++ kernels and by the bodies."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from cases import GRAPHS
from graphstill.kernels import reference
from onnx_nodes import csr_of, homes, node, run, threads

# rows, inner, outputs: empty, below and above every block of the kernel, odd, wide
SHAPES = [
    (0, 5, 3),
    (1, 1, 1),
    (5, 3, 2),
    (7, 64, 64),
    (49, 33, 70),
    (100, 130, 129),
    (13, 257, 48),
]


def random_int8(*shape: int) -> Tensor:
    return torch.randint(-127, 128, shape, dtype=torch.int8)


@homes
@threads
@pytest.mark.parametrize("activation", ["none", "relu"])
@pytest.mark.parametrize("features", [1, 16, 37])
def test_rows_are_rounded_by_their_largest(
    home: str, threads: int, activation: str, features: int
) -> None:
    x = torch.randn(90, features) * torch.rand(90, 1).exp()
    x[3] = 0
    quantise = node("quantize_rows", ["x"], ["q", "scale"], activation=activation)
    q, scale = run(quantise, {"x": x}, home, threads)
    wanted, wanted_scale = reference.quantize_rows(x, activation)
    assert torch.equal(q, wanted)
    assert torch.equal(scale, wanted_scale)
    assert scale[3] == 1


@homes
def test_a_nan_or_an_infinity_stays_in_its_row(home: str) -> None:
    x = torch.randn(5, 20)
    x[1, 17], x[3, 2] = float("nan"), float("inf")
    scale = run(node("quantize_rows", ["x"], ["q", "scale"], activation="relu"), {"x": x}, home, 1)[
        1
    ]
    assert scale.isnan().tolist() == [False, True, False, True, False]


@homes
@pytest.mark.parametrize(("rows", "inner", "outputs"), SHAPES)
@pytest.mark.parametrize(
    ("density", "given", "threads"),
    [(1.0, (), 2), (0.02, (), 1), (1.0, ("bias",), 1), (1.0, ("bias", "residual"), 2)],
)
def test_products_are_exact_before_they_are_scaled(
    home: str,
    rows: int,
    inner: int,
    outputs: int,
    density: float,
    given: tuple[str, ...],
    threads: int,
) -> None:
    x = random_int8(rows, inner) * (torch.rand(rows, inner) < density)
    inputs = {
        "x": x,
        "scale": torch.rand(rows),
        "weight": random_int8(outputs, inner),
        "weight_scale": torch.rand(outputs),
        "bias": torch.randn(outputs),
        "residual": torch.randn(rows, outputs),
    }
    kept = {n: t for n, t in inputs.items() if n not in ("bias", "residual") or n in given}
    got = run(node("linear_int8", list(kept), ["out"]), kept, home, threads)[0]
    assert_close(got, reference.linear_int8(**kept), rtol=1e-6, atol=1e-6)
    if not given:  # as integers, to the last bit
        ones = {**kept, "scale": torch.ones(rows), "weight_scale": torch.ones(outputs)}
        exact = run(node("linear_int8", list(ones), ["out"]), ones, home, threads)[0]
        assert torch.equal(exact, reference.linear_int8(**ones))


@homes
@pytest.mark.parametrize(("width", "threads"), [(5, 2), (200, 1)])
@pytest.mark.parametrize("name", GRAPHS)
def test_sums_of_rows(name: str, width: int, home: str, threads: int) -> None:
    rowptr, col, num_nodes = csr_of(name)
    inputs = {
        "rowptr": rowptr,
        "col": col,
        "x": random_int8(num_nodes, width),
        "src_scale": torch.rand(num_nodes),
        "weight": torch.rand(col.numel()),
        "dst_scale": torch.rand(num_nodes),
        "self_weight": torch.rand(num_nodes),
        "bias": torch.randn(width),
    }
    wide = {n: t.double() if t.is_floating_point() else t for n, t in inputs.items()}
    for left_out in ((), ("weight",), ("weight", "dst_scale", "self_weight", "bias")):
        names = [n if n not in left_out else "" for n in inputs]
        kept = {n: t for n, t in inputs.items() if n not in left_out}
        made = node("spmm_int8_rows", names, ["out"], reduce="sum")
        wanted = reference.spmm_int8_rows(**{n: wide[n] for n in kept})
        got = run(made, kept, home, threads)[0]
        assert_close(got.double(), wanted, rtol=1e-5, atol=1e-3)


def test_a_weight_that_changes_is_not_mistaken_for_the_first() -> None:
    import onnxruntime
    from onnx import TensorProto, helper

    from graphstill.export.bodies import DOMAIN, body_for
    from onnx_nodes import options_for

    made = node("linear_int8", ["x", "scale", "weight", "weight_scale"], ["out"])
    body = body_for(made)
    made.overload = body.overload
    kinds = {"x": TensorProto.INT8, "weight": TensorProto.INT8}
    ranks = {"x": 2, "weight": 2, "scale": 1, "weight_scale": 1}
    values = [
        helper.make_tensor_value_info(n, kinds.get(n, TensorProto.FLOAT), [None] * ranks[n])
        for n in made.input
    ]
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [None, None])
    model = helper.make_model(
        helper.make_graph([made], "g", values, [out]),
        functions=[body],
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, 1)],
        ir_version=10,
    )
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options_for("C++", 1), providers=["CPUExecutionProvider"]
    )
    x, ones = random_int8(8, 12), torch.ones(8)
    for outputs in (4, 4, 6):
        weight = random_int8(outputs, 12)
        feeds = {"x": x, "scale": ones, "weight": weight, "weight_scale": torch.ones(outputs)}
        got = session.run(None, {n: t.numpy() for n, t in feeds.items()})[0]
        assert torch.equal(torch.as_tensor(got), reference.linear_int8(**feeds))
