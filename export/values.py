"""Who makes and reads the values of an ONNX graph, and which are constant."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from .bodies import ACTIVATIONS

Array = NDArray[Any]


class Values:
    """Who makes and reads a value, and what is constant; and changes to constants."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.makers = {name: node for node in model.graph.node for name in node.output if name}
        outputs = [value.name for value in model.graph.output]
        self.readers = Counter([*outputs, *(n for node in model.graph.node for n in reads(node))])
        taken = {value.name for value in model.graph.input}
        self.constants = {t.name: t for t in model.graph.initializer if t.name not in taken}

    def is_constant(self, name: str) -> bool:
        """Return whether a value is a weight, or one that is transposed in every call."""
        node = self.makers.get(name)
        if node is not None and node.op_type == "Transpose":
            return self.is_constant(node.input[0])
        return name in self.constants

    def array(self, name: str) -> Array:
        """Return a constant."""
        node = self.makers.get(name)
        if node is None:
            return numpy_helper.to_array(self.constants[name])
        turned = [tuple(a.ints) for a in node.attribute if a.name == "perm"]
        return np.transpose(self.array(node.input[0]), *turned)

    def add(self, value: Array, old: str, what: str) -> str:
        """Add a constant that an old one became, and return its name."""
        node = self.makers.get(old)
        old = old if node is None else node.input[0]
        label, number = f"{old or 'constant'}.{what}", 1
        while label in self.constants:
            number += 1
            label = f"{old or 'constant'}.{what}{number}"
        tensor = numpy_helper.from_array(np.ascontiguousarray(value, np.float32), label)
        self.model.graph.initializer.append(tensor)
        self.constants[label] = tensor
        return label

    def read_by(self, name: str) -> list[onnx.NodeProto]:
        """Return the nodes that read a value."""
        return [node for node in self.model.graph.node if name in node.input]

    def only_reader(self, name: str) -> onnx.NodeProto | None:
        """Return the node that reads a value, if nothing else does and it is no output."""
        return self.read_by(name)[0] if self.readers[name] == 1 and self.read_by(name) else None

    def is_linear(self, node: onnx.NodeProto | None) -> bool:
        """Return whether a node multiplies rows by a constant matrix."""
        if node is None or node.op_type != "Gemm" or setting(node, "transA", 0):
            return False
        return self.is_constant(node.input[1])

    def multiplies(self, node: onnx.NodeProto) -> bool:
        """Return whether a node is linear, or multiplies rows as GAT's scores do, by a MatMul."""
        if node.op_type != "MatMul":
            return self.is_linear(node)
        return self.is_constant(node.input[1]) and self.array(node.input[1]).ndim == 2

    def weight(self, node: onnx.NodeProto) -> Array:
        """Return what a linear layer multiplies by, [in, out]."""
        weight = self.array(node.input[1])
        weight = weight.T if setting(node, "transB", 0) else weight
        return weight.astype(np.float64) * setting(node, "alpha", 1.0)


def reads(node: onnx.NodeProto) -> Iterator[str]:
    """Yield what a node reads, in the graphs that it holds too."""
    yield from node.input
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from reads(inner)


def given(node: onnx.NodeProto | None, index: int) -> bool:
    """Return whether a node has an optional input."""
    return node is not None and index < len(node.input) and node.input[index] != ""


def setting(node: onnx.NodeProto, name: str, default: float) -> float:
    """Return a number among a node's attributes."""
    found = [helper.get_attribute_value(a) for a in node.attribute if a.name == name]
    return found[0] if found else default


def activation_of(node: onnx.NodeProto) -> str | None:
    """Return what our nodes call an activation, None where they have none of that kind."""
    names = {op_type: name for name, op_type in ACTIVATIONS.items() if name != "none"}
    return names.get(node.op_type) if setting(node, "alpha", 1.0) == 1.0 else None


def put(node: onnx.NodeProto, **settings: float | str) -> None:
    """Set values among a node's attributes."""
    for attribute in [a for a in node.attribute if a.name in settings]:
        node.attribute.remove(attribute)
    node.attribute.extend(helper.make_attribute(*item) for item in settings.items())
