"""Whether what a model declares is what it holds, and no size in it is out of all proportion.

A file of a hundred bytes may ask for terabytes: by a tensor that says it is larger than its data,
by a shape it declares, or by an operator that fills a constant shape. Those are refused. What a
graph computes from its inputs' sizes, and how long its loops run, is not to be seen here: `limits`
in the manifest bound a call.
"""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from .errors import BundleError
from .onnx_schema import all_graphs, all_sparse, all_tensors, inner_graphs

# of one declared shape: what a 32-bit index reaches
MAX_ELEMENTS = 2**31
# of one constant shape that an operator fills: 1 GiB of float32, ONNX Runtime's own cap for
# folding constants
MAX_FILLED = 2**28

# bits of a value by TensorProto.DataType; strings are counted apart
_BITS = {
    **dict.fromkeys((2, 3, 9, 17, 18, 19, 20, 24), 8),
    **dict.fromkeys((4, 5, 10, 16), 16),
    **dict.fromkeys((1, 6, 12), 32),
    **dict.fromkeys((7, 11, 13, 14), 64),
    15: 128,
    **dict.fromkeys((21, 22, 23), 4),
}
_STRING = 8
_COMPLEX = (14, 15)


def check_sizes(model: Any) -> None:
    """Refuse tensors that are not what they declare, and sizes beyond reason.

    Raises:
        BundleError: Names the tensor, value or node.
    """
    for tensor in all_tensors(model):
        _check_tensor(tensor)
    for sparse in all_sparse(model):
        _check_shape("a sparse tensor of model.onnx", list(sparse.dims), MAX_ELEMENTS)
    for graph in all_graphs(model):
        for value in (*graph.input, *graph.output, *graph.value_info):
            dims = [
                d.dim_value for d in value.type.tensor_type.shape.dim if d.HasField("dim_value")
            ]
            _check_shape(f"{value.name!r} of model.onnx", dims, MAX_ELEMENTS)
    _check_filled(model.graph, {})
    for function in model.functions:
        _check_nodes(function.node, {})


def _check_tensor(tensor: Any) -> None:
    what, dims = f"tensor {tensor.name!r} of model.onnx", list(tensor.dims)
    _check_shape(what, dims, MAX_ELEMENTS)
    count, kind = prod(dims), tensor.data_type
    if kind != _STRING and kind not in _BITS:
        raise BundleError(f"{what} has the unknown element type {kind}")
    if tensor.HasField("raw_data") and kind != _STRING:
        needed, held, unit = -(-count * _BITS[kind] // 8), len(tensor.raw_data), "bytes"
    else:
        needed, held, unit = _entries(kind, count), _held(tensor), "values"
    if needed != held:
        raise BundleError(
            f"{what} declares shape {dims}, which takes {needed} {unit}, and holds {held}"
        )


def _entries(kind: int, count: int) -> int:
    """Return how many entries of a typed field a tensor takes."""
    if kind in _COMPLEX:
        return 2 * count
    return -(-count // 2) if _BITS.get(kind) == 4 else count


def _held(tensor: Any) -> int:
    fields = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")
    return sum(len(getattr(tensor, field)) for field in fields)


def _check_shape(what: str, dims: Sequence[int], limit: int) -> None:
    if any(dim < 0 for dim in dims):
        raise BundleError(f"{what} has the negative size {min(dims)}")
    if prod(dims) > limit:
        raise BundleError(
            f"{what} has {prod(dims):,} elements by its shape {list(dims)}, at most {limit:,} are "
            "allowed"
        )


def _check_filled(graph: Any, outer: Mapping[str, list[int]]) -> None:
    known = {**outer, **{t.name: _integers(t) for t in graph.initializer if _is_small(t)}}
    _check_nodes(graph.node, known)


def _check_nodes(nodes: Any, known: dict[str, list[int]]) -> None:
    """Walk nodes in order, remembering small constants, and measure what fills a constant shape."""
    for node in nodes:
        for attribute in node.attribute:
            if node.op_type == "Constant":
                value = _constant(attribute)
                if value is not None and node.output:
                    known[node.output[0]] = value
            elif node.op_type in ("RandomNormal", "RandomUniform") and attribute.name == "shape":
                _check_shape(_title(node), list(attribute.ints), MAX_FILLED)
        _check_shape(_title(node), _filled(node, known), MAX_FILLED)
        for graph in inner_graphs(node):
            _check_filled(graph, known)


def _filled(node: Any, known: Mapping[str, list[int]]) -> list[int]:
    """Return the constant sizes that an operator gives to what it makes; none if not constant."""
    at = {"ConstantOfShape": 0, "Expand": 1, "Tile": 1, "OneHot": 1}.get(node.op_type)
    if node.op_type == "Range":
        start, limit, step = (known.get(name, []) for name in node.input[:3])
        if start and limit and step and step[0]:
            return [max(0, -(-(limit[0] - start[0]) // step[0]))]
        return []
    if node.op_type == "Pad" and len(node.input) > 1:
        return [max(1, sum(known.get(node.input[1], [])))]
    if at is None or len(node.input) <= at:
        return []
    sizes = known.get(node.input[at], [])
    # a repeat or a broadcast of zero makes nothing, and must not hide the other sizes
    return [size for size in sizes if size] if node.op_type != "ConstantOfShape" else sizes


def _constant(attribute: Any) -> list[int] | None:
    if attribute.name == "value" and attribute.HasField("t") and _is_small(attribute.t):
        return _integers(attribute.t)
    if attribute.name == "value_int":
        return [attribute.i]
    return list(attribute.ints) if attribute.name == "value_ints" else None


def _is_small(tensor: Any) -> bool:
    """Return whether a tensor may be a shape: a few integers of 32 or 64 bits."""
    return tensor.data_type in (6, 7) and prod(tensor.dims) <= 64


def _integers(tensor: Any) -> list[int]:
    if tensor.HasField("raw_data"):
        width = _BITS[tensor.data_type] // 8
        raw = tensor.raw_data
        parts = (raw[i : i + width] for i in range(0, len(raw), width))
        return [int.from_bytes(part, "little", signed=True) for part in parts]
    return list(tensor.int64_data) or list(tensor.int32_data)


def _title(node: Any) -> str:
    return f"what {node.op_type} {node.name or ''.join(node.output[:1])!r} of model.onnx makes"
