"""Whether every value a model reads is there, and the model takes what its manifest says."""

from collections.abc import Sequence
from typing import Any

from .errors import BundleError
from .manifest import Manifest
from .onnx_schema import inner_graphs
from .tensors import TensorSpec

# TensorProto.DataType by NumPy's name
_TYPES = {
    "float32": 1,
    "uint8": 2,
    "int8": 3,
    "uint16": 4,
    "int16": 5,
    "int32": 6,
    "int64": 7,
    "bool": 9,
    "float16": 10,
    "float64": 11,
    "uint32": 12,
    "uint64": 13,
}


def check_wiring(model: Any) -> None:
    """Refuse a model in which something is read before, or without, being computed.

    Raises:
        BundleError: Names the node and the value.
    """
    _check_graph(model.graph, set())
    for function in model.functions:
        known = set(function.input)
        _check_nodes(function.node, known)
        _check_answers(function.output, known)


def check_interface(model: Any, manifest: Manifest) -> None:
    """Refuse a model whose inputs and outputs are not those of its manifest.

    Raises:
        BundleError: Names the first that differs.
    """
    default = {tensor.name for tensor in model.graph.initializer}
    taken = {value.name: value for value in model.graph.input if value.name not in default}
    optional = {value.name for value in model.graph.input} - taken.keys()
    if manifest.in_degree and "in_degree" not in optional:
        raise BundleError("the manifest promises an optional input in_degree, model.onnx has none")
    _check_names("input", taken, manifest.inputs)
    _check_names("output", {v.name: v for v in model.graph.output}, manifest.outputs)


def _check_names(kind: str, found: dict[str, Any], specs: Sequence[TensorSpec]) -> None:
    listed = {spec.name for spec in specs}
    for name in sorted(listed ^ found.keys()):
        said = "lists no" if name in found else "lists the"
        has = "has it" if name in found else "has none of that name"
        raise BundleError(f"the manifest {said} {kind} {name!r}, model.onnx {has}")
    for spec in specs:
        tensor = found[spec.name].type.tensor_type
        if tensor.elem_type != _TYPES.get(spec.dtype):
            raise BundleError(
                f"the manifest says {kind} {spec.name!r} is {spec.dtype}, model.onnx has it of "
                f"element type {tensor.elem_type}"
            )
        if tensor.HasField("shape") and not _fits(tensor.shape.dim, spec.shape):
            raise BundleError(
                f"the manifest says {kind} {spec.name!r} has shape {list(spec.shape)}, model.onnx "
                f"says {[d.dim_param or d.dim_value for d in tensor.shape.dim]}"
            )


def _fits(dims: Any, wanted: Sequence[int | str]) -> bool:
    """Return whether a manifest's shape is one that the model takes: the same where it is fixed."""
    fixed = [d.dim_value if d.HasField("dim_value") else None for d in dims]
    return len(fixed) == len(wanted) and all(
        size is None or size == dim for size, dim in zip(fixed, wanted, strict=True)
    )


def _check_graph(graph: Any, outer: set[str]) -> None:
    known = set(outer)
    known |= {value.name for value in graph.input}
    known |= {tensor.name for tensor in graph.initializer}
    known |= {sparse.values.name for sparse in graph.sparse_initializer}
    _check_nodes(graph.node, known)
    _check_answers([value.name for value in graph.output], known)


def _check_nodes(nodes: Any, known: set[str]) -> None:
    """Walk nodes in order, adding what they compute to what is known."""
    computed = set[str]()
    for node in nodes:
        for name in node.input:
            if name and name not in known:
                raise BundleError(
                    f"model.onnx: {node.op_type} {node.name!r} reads {name!r}, which is no input "
                    "and which no node before it computes"
                )
        for graph in inner_graphs(node):
            _check_graph(graph, known)
        for name in filter(None, node.output):
            if name in computed:
                raise BundleError(f"model.onnx computes {name!r} twice")
            computed.add(name)
            known.add(name)


def _check_answers(names: Any, known: set[str]) -> None:
    for name in names:
        if name not in known:
            raise BundleError(f"model.onnx answers with {name!r}, which nothing computes")
