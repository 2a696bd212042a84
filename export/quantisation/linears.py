"""The products of an exported graph: nodes that multiply features with a constant weight."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from ..bodies import GAT_UPDATE_INPUTS, GATV2_UPDATE_INPUTS, UPDATE_INPUTS
from ..passes import ours


@dataclass(frozen=True)
class Linear:
    """A Gemm or MatMul whose second input is an initialiser of two dimensions.

    Attributes:
        node: The node.
        weight: Name of the initialiser.
        outputs_first: Whether it is stored as [O, K], else as [K, O].
        bias: Name of what Gemm adds, or nothing.
        alpha: Factor of the product.
        beta: Factor of what is added.
    """

    node: onnx.NodeProto
    weight: str
    outputs_first: bool
    bias: str
    alpha: float = 1.0
    beta: float = 1.0

    @property
    def x(self) -> str:
        """Name of the features, [N, K]."""
        return self.node.input[0]

    @property
    def out(self) -> str:
        """Name of the products, [N, O]."""
        return self.node.output[0]


def find_linears(model: onnx.ModelProto) -> list[Linear]:
    """Return the products of a graph in its order."""
    weights = {t.name for t in model.graph.initializer if len(t.dims) == 2 and is_float(t)}
    return [found for node in model.graph.node for found in _as_linear(node, weights)]


def _as_linear(node: onnx.NodeProto, weights: set[str]) -> Iterator[Linear]:
    if node.domain or node.op_type not in ("Gemm", "MatMul") or node.input[1] not in weights:
        return
    settings = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if settings.get("transA", 0):
        return
    bias = node.input[2] if len(node.input) > 2 else ""
    outputs_first = bool(settings.get("transB", 0))
    factors = (settings.get("alpha", 1.0), settings.get("beta", 1.0))
    yield Linear(node, node.input[1], outputs_first, bias, *factors)


def read_weight(model: onnx.ModelProto, name: str, outputs_first: bool) -> NDArray[np.float32]:
    """Return the weight of a product as [O, K]."""
    value = numpy_helper.to_array(initializer(model, name))
    return value if outputs_first else value.T


# weights of nodes that also sum, and what says that they are [O, K]
_WAYS = {
    "linear_weight": "trans_weight",
    "root_weight": "trans_root",
    "weight_l": "trans_l",
    "weight_r": "trans_r",
}


def find_weights(model: onnx.ModelProto) -> dict[str, bool]:
    """Return the weights of products, those of nodes that also sum too, and which are [O, K]."""
    found = {linear.weight: linear.outputs_first for linear in find_linears(model)}
    known = {t.name for t in model.graph.initializer if is_float(t)}
    inputs = {
        "spmm_update": UPDATE_INPUTS,
        "gat_update": GAT_UPDATE_INPUTS,
        "gatv2_update": GATV2_UPDATE_INPUTS,
    }
    for node in ours(model, *inputs):
        names = dict(zip(inputs[node.op_type], node.input, strict=False))
        turned = {a.name: bool(a.i) for a in node.attribute}
        for weight, way in _WAYS.items():
            if names.get(weight) in known:
                found[names[weight]] = turned[way]
    return found


def initializer(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    """Return an initialiser by its name."""
    return next(t for t in model.graph.initializer if t.name == name)


def is_float(tensor: onnx.TensorProto) -> bool:
    """Return whether a tensor is of float32."""
    return tensor.data_type == onnx.TensorProto.FLOAT


def add_initializer(model: onnx.ModelProto, name: str, value: NDArray[np.generic]) -> str:
    """Add an initialiser, unless it is there; return its name."""
    if all(t.name != name for t in model.graph.initializer):
        model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
    return name


def times(name: str, factor: float, out: str, model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Return the node that multiplies a value with a number, none if that is 1."""
    if factor == 1.0:
        return []
    number = add_initializer(model, f"{out}.factor", np.array(factor, np.float32))
    return [helper.make_node("Mul", [name, number], [out], name=out)]


def drop_unread(model: onnx.ModelProto) -> None:
    """Drop nodes and initialisers that nothing reads any more."""
    outputs = {value.name for value in model.graph.output}
    for node in reversed(list(model.graph.node)):
        read = outputs.union(*(n.input for n in model.graph.node))
        if not read.intersection(filter(None, node.output)):
            model.graph.node.remove(node)
    read = outputs.union(*(n.input for n in model.graph.node))
    # an initialiser that is an input as well is a default, which a caller may override
    for tensor in [t for t in model.graph.initializer if t.name not in read]:
        model.graph.initializer.remove(tensor)
