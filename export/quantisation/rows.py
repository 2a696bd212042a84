"""Dynamic int8: features are rounded row by row in the call, products and sums run on integers.

ONNX Runtime's own `quantize_dynamic` works on these graphs and is not used: it rounds all nodes by
the largest value of any of them, so that a hub costs everybody's accuracy and a neighbourhood no
longer answers as the whole graph does, and it leaves the sums over neighbours, half of the time, in
float32. Here every node has a scale of its own, and sums read rows of a quarter of the bytes.
"""

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from ..bodies import DOMAIN, SPMM_INPUTS
from ..passes import attach_bodies, ours, shapes
from .linears import (
    Linear,
    add_initializer,
    drop_unread,
    find_linears,
    read_weight,
    times,
)
from .weights import Int8Weight, quantise_weight

SCALE = "x_scale"

# narrower rows are in cache as floats too, and are not worth rounding once more
_WIDE = 64


def quantise_rows(
    model: onnx.ModelProto,
    trained: Mapping[str, NDArray[np.generic]],
    *,
    features: bool = False,
) -> dict[str, Int8Weight]:
    """Let a model's products, and sums over neighbours, run on rows of int8. Changes the model.

    Args:
        model: A model as `export` writes it.
        trained: What int8.safetensors holds, or nothing.
        features: Whether x itself comes as int8, with the input x_scale [num_nodes] beside it.

    Returns:
        The weights by the names of the initialisers that they replace.
    """
    rows = _Rows(model)
    if features:
        rows.take("x", SCALE)
    weights = {
        linear.weight: quantise_weight(
            read_weight(model, linear.weight, linear.outputs_first), trained
        )
        for linear in find_linears(model)
    }
    for linear in find_linears(model):
        _replace_linear(model, rows, linear, weights[linear.weight])
    known = shapes(model)
    for node in ours(model, "spmm"):
        width = known.get(node.input[2], ("",))[-1]
        if rows.has(node.input[2]) or (isinstance(width, int) and width >= _WIDE):
            _replace_sum(model, rows, node)
    if features:
        _dequantise_for_others(model)
    drop_unread(model)
    sort_nodes(model)
    del model.functions[:]
    attach_bodies(model)
    if all(entry.domain != DOMAIN for entry in model.opset_import):  # an MLP had none of ours
        model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return weights


class _Rows:
    """Which values of a graph are there as rows of int8: each is made once, for all who read it."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self._made: dict[str, tuple[str, str]] = {}

    def take(self, x: str, scale: str) -> None:
        """Say that x is of int8 itself."""
        self._made[x] = (x, scale)

    def has(self, value: str) -> bool:
        """Return whether a value is there as int8 already."""
        return value in self._made

    def of(self, value: str) -> tuple[str, str]:
        """Return the names of a value's integers and of its rows' scales."""
        if value not in self._made:
            nodes = [n for n in self._model.graph.node if value in n.output]
            is_relu = bool(nodes) and nodes[0].op_type == "Relu"
            names = (f"{value}.q", f"{value}.scale")
            self._model.graph.node.append(
                helper.make_node(
                    "quantize_rows",
                    [nodes[0].input[0] if is_relu else value],
                    list(names),
                    name=f"quantize {value}",
                    domain=DOMAIN,
                    activation="relu" if is_relu else "none",
                )
            )
            self._made[value] = names
        return self._made[value]


def _replace_linear(
    model: onnx.ModelProto, rows: _Rows, linear: Linear, weight: Int8Weight
) -> None:
    q = add_initializer(model, f"{linear.weight}.q", weight.q)
    scale = f"{linear.weight}.scale" if linear.alpha == 1.0 else f"{linear.out}.scale"
    add_initializer(model, scale, weight.scale * np.float32(linear.alpha))
    known = shapes(model)
    inputs, added = [*rows.of(linear.x), q, scale], ""
    if linear.bias and linear.beta != 1.0:
        added = f"{linear.out}.added"
        model.graph.node.extend(times(linear.bias, linear.beta, added, model))
    elif linear.bias:
        shape = known.get(linear.bias) or _dims(model, linear.bias)
        if shape == (len(weight.q),):
            inputs.append(linear.bias)
        elif shape is not None and shape == known.get(linear.out):
            inputs += ["", linear.bias]
        else:
            added = linear.bias
    out = f"{linear.out}.product" if added else linear.out
    node = helper.make_node(
        "linear_int8", inputs, [out], name=linear.node.name or linear.out, domain=DOMAIN
    )
    model.graph.node.remove(linear.node)
    model.graph.node.append(node)
    if added:
        model.graph.node.append(helper.make_node("Add", [out, added], [linear.out]))


def _replace_sum(model: onnx.ModelProto, rows: _Rows, node: onnx.NodeProto) -> None:
    given = dict(zip(SPMM_INPUTS, node.input, strict=False))
    q, scale = rows.of(given["x"])
    if given.get("src_scale"):
        both = f"{node.output[0]}.src_scale"
        model.graph.node.append(helper.make_node("Mul", [scale, given["src_scale"]], [both]))
        scale = both
    inputs = [given["rowptr"], given["col"], q, scale]
    inputs += [given.get(n, "") for n in ("weight", "dst_scale", "self_weight", "bias")]
    while not inputs[-1]:
        inputs.pop()
    made = helper.make_node("spmm_int8_rows", inputs, list(node.output), node.name, domain=DOMAIN)
    made.attribute.extend(node.attribute)
    model.graph.node.remove(node)
    model.graph.node.append(made)


def _dequantise_for_others(model: onnx.ModelProto) -> None:
    """Make x an input of int8, and give whoever needs floats x times its rows' scales."""
    x = next(value for value in model.graph.input if value.name == "x")
    x.type.tensor_type.elem_type = onnx.TensorProto.INT8
    rows = x.type.tensor_type.shape.dim[0].dim_param
    scale = helper.make_tensor_value_info(SCALE, onnx.TensorProto.FLOAT, [rows])
    model.graph.input.append(scale)
    readers = [
        node
        for node in model.graph.node
        if "x" in node.input and node.op_type not in ("Shape", "linear_int8", "spmm_int8_rows")
    ]
    for node in readers:
        for i, name in enumerate(node.input):
            if name == "x":
                node.input[i] = "x.float"
    if readers:
        last = add_initializer(model, "x.last_axis", np.array([1], np.int64))
        model.graph.node.extend(
            [
                helper.make_node("Cast", ["x"], ["x.whole"], to=onnx.TensorProto.FLOAT),
                helper.make_node("Unsqueeze", [SCALE, last], ["x.column"]),
                helper.make_node("Mul", ["x.whole", "x.column"], ["x.float"]),
            ]
        )


def _dims(model: onnx.ModelProto, name: str) -> tuple[int, ...] | None:
    return next((tuple(t.dims) for t in model.graph.initializer if t.name == name), None)


def sort_nodes(model: onnx.ModelProto) -> None:
    """Bring the nodes of a graph into an order in which each comes after what it reads."""
    waiting = list(model.graph.node)
    known = {value.name for value in model.graph.input} | {""}
    known |= {tensor.name for tensor in model.graph.initializer}
    ordered: list[onnx.NodeProto] = []
    while waiting:
        ready = [node for node in waiting if known.issuperset(node.input)]
        if not ready:
            raise ValueError(f"{waiting[0].op_type} reads what no node computes")
        ordered += ready
        known.update(name for node in ready for name in node.output)
        waiting = [node for node in waiting if not known.issuperset(node.output)]
    del model.graph.node[:]
    model.graph.node.extend(ordered)
