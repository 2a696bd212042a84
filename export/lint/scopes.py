"""Scopes: every graph, subgraph and function body of a model, with what is known of its values.

A function body has no types of its own; it is read as it is called, with the types and attributes
of its first call. Shapes are those that onnx's shape inference finds; where it fails, the types
that the file itself states are used.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import EncodeError
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.shape_inference import infer_shapes

from .tensors import is_external

Dims = list[int | str | None]
_Key = tuple[str, str, str]

FLOATS = (
    onnx.TensorProto.FLOAT,
    onnx.TensorProto.DOUBLE,
    onnx.TensorProto.FLOAT16,
    onnx.TensorProto.BFLOAT16,
)

# values above this size are no sizes, axes or counts
_SMALL = 64


@dataclass(frozen=True)
class Scope:
    """A graph or a function body.

    Attributes:
        place: What to call it.
        nodes: Its nodes, not those of graphs inside.
        producers: The node that computes each value that is visible here.
        constants: Tensors that are visible here and cannot change.
        types: Element type and shape of the values that have known ones.
    """

    place: str
    nodes: Sequence[onnx.NodeProto]
    producers: Mapping[str, onnx.NodeProto] = field(default_factory=dict)
    constants: Mapping[str, onnx.TensorProto] = field(default_factory=dict)
    types: Mapping[str, onnx.TypeProto.Tensor] = field(default_factory=dict)

    def dims(self, name: str) -> Dims | None:
        """Return the sizes of a value: a number, a symbol, or None; None if it has no shape."""
        kind = self.types.get(name)
        return dims_of(kind) if kind is not None and kind.HasField("shape") else None

    def element(self, name: str) -> int:
        """Return the element type of a value, 0 if it is not known."""
        kind = self.types.get(name)
        return kind.elem_type if kind is not None else 0

    def constant(self, name: str) -> NDArray[Any] | None:
        """Return a small constant, None if it is large or computed."""
        tensor = self.constants.get(name)
        if tensor is None or is_external(tensor) or prod(tensor.dims) > _SMALL:
            return None
        try:
            return numpy_helper.to_array(tensor)
        except (ValueError, TypeError, KeyError):
            return None  # its data are not those of its shape or type: `invalid_model` says so


def dims_of(kind: onnx.TypeProto.Tensor) -> Dims:
    """Return the sizes of a tensor type; a dynamic one without a name is None."""
    return [
        d.dim_param or (d.dim_value if d.HasField("dim_value") else None) for d in kind.shape.dim
    ]


def attribute(node: onnx.NodeProto, name: str, default: object = None) -> object:
    """Return the value of an attribute; strings as str."""
    for found in node.attribute:
        if found.name == name:
            value = helper.get_attribute_value(found)
            return value.decode() if isinstance(value, bytes) else value
    return default


def read(node: onnx.NodeProto, at: int) -> str:
    """Return the name of an input, empty if it is not given."""
    return node.input[at] if at < len(node.input) else ""


def label(node: onnx.NodeProto) -> str:
    """Return what a node is called, by what it computes if it has no name."""
    return node.name or next((name for name in node.output if name), "(no name)")


def operator(node: onnx.NodeProto) -> str:
    """Return the operator of a node, with its domain unless it is standard ONNX."""
    standard = node.domain in ("", "ai.onnx")
    return node.op_type if standard else f"{node.domain}.{node.op_type}"


def scopes(model: onnx.ModelProto) -> list[Scope]:
    """Return the graph, all graphs inside, and all function bodies, each once."""
    functions = {(f.domain, f.name, f.overload): f for f in model.functions}
    found = list(_of_graph(_inferred(model).graph, "the graph", Scope("", [])))
    waiting, seen = list(found), set[_Key]()
    while waiting:
        scope = waiting.pop(0)
        for node in scope.nodes:
            key = (node.domain, node.op_type, node.overload)
            if key in functions and key not in seen:
                seen.add(key)
                inside = list(_of_function(model, functions[key], node, scope))
                found += inside
                waiting += inside
    for key, function in functions.items():
        if key not in seen:  # nobody calls it: without types
            graph = helper.make_graph(list(function.node), "g", [], [])
            found += _of_graph(graph, f"{_title(function)}, never called", Scope("", []))
    return found


def _of_graph(graph: onnx.GraphProto, place: str, outer: Scope) -> Iterator[Scope]:
    types = {v.name: v.type.tensor_type for v in (*graph.input, *graph.value_info, *graph.output)}
    given = {value.name for value in graph.input}
    constants = {t.name: t for t in graph.initializer if t.name not in given}
    for node in graph.node:
        tensor = _constant(node)
        if tensor is not None:
            constants[node.output[0]] = tensor
    types |= {n: _type_of(t) for n, t in constants.items() if n not in types}
    scope = Scope(
        place,
        list(graph.node),
        {**outer.producers, **{name: node for node in graph.node for name in node.output if name}},
        {**outer.constants, **constants},
        {**outer.types, **types},
    )
    yield scope
    for node in graph.node:
        for part in node.attribute:
            for inner in ([part.g] if part.HasField("g") else []) + list(part.graphs):
                title = f"{part.name} of {node.op_type} {label(node)} in {place}"
                yield from _of_graph(inner, title, scope)


def _of_function(
    model: onnx.ModelProto, function: onnx.FunctionProto, call: onnx.NodeProto, caller: Scope
) -> Iterator[Scope]:
    """Read a body as a graph with the types and attributes of one call."""
    known = dict(zip(function.input, call.input, strict=False))
    inputs = [
        helper.make_value_info(formal, onnx.TypeProto(tensor_type=caller.types[actual]))
        for formal, actual in known.items()
        if actual in caller.types
    ]
    graph = helper.make_graph(list(function.node), "body", inputs, [])
    given = {a.name: a for a in (*function.attribute_proto, *call.attribute)}
    _bind(graph.node, given)
    imports = list(function.opset_import) or list(model.opset_import)
    whole = helper.make_model(
        graph, opset_imports=imports, functions=list(model.functions), ir_version=model.ir_version
    )
    passed = {formal: caller.constants[a] for formal, a in known.items() if a in caller.constants}
    yield from _of_graph(_inferred(whole).graph, _title(function), Scope("", [], constants=passed))


def _bind(nodes: Sequence[onnx.NodeProto], given: Mapping[str, onnx.AttributeProto]) -> None:
    """Put the attributes of a call where a body refers to them, in graphs inside it too."""
    for node in nodes:
        for found in [a for a in node.attribute if a.ref_attr_name]:
            name, actual = found.name, given.get(found.ref_attr_name)
            node.attribute.remove(found)
            if actual is not None:
                node.attribute.add().CopyFrom(actual)
                node.attribute[-1].name = name
        for part in node.attribute:
            for inner in ([part.g] if part.HasField("g") else []) + list(part.graphs):
                _bind(inner.node, given)


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return infer_shapes(model, data_prop=True)
    except (onnx.shape_inference.InferenceError, EncodeError, ValueError, RuntimeError):
        return model  # above 2 GiB, or of operators that onnx does not know: what the file states


def _constant(node: onnx.NodeProto) -> onnx.TensorProto | None:
    if node.op_type != "Constant" or node.domain not in ("", "ai.onnx"):
        return None
    for part in node.attribute:
        if part.name == "value":
            return part.t
        if part.name in ("value_int", "value_ints", "value_float", "value_floats"):
            value = np.asarray(helper.get_attribute_value(part))
            kind = np.int64 if part.name.startswith("value_int") else np.float32
            return numpy_helper.from_array(value.astype(kind), node.output[0])
    return None


def _type_of(tensor: onnx.TensorProto) -> onnx.TypeProto.Tensor:
    return helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims)).tensor_type


def _title(function: onnx.FunctionProto) -> str:
    overload = f":{function.overload}" if function.overload else ""
    return f"function {function.domain}.{function.name}{overload}"
