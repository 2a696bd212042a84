"""Which kernels the nodes of an ONNX file need, as keys of `kernels.gpu.ahead`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx
from onnx import helper

from ..errors import ExportError
from ..passes import ours


@dataclass(frozen=True)
class Variant:
    """What nodes need a kernel for.

    Attributes:
        operator: Its name.
        key: See `kernels.gpu.ahead`.
    """

    operator: str
    key: tuple[int, int, int, int]


def variants(model: onnx.ModelProto) -> list[Variant]:
    """Return what the nodes of a model need, each once, sorted by operator.

    Raises:
        ExportError: If the file does not say how wide a node's features are.
    """
    values = (*model.graph.input, *model.graph.value_info, *model.graph.output)
    widths = {value.name: _width(value) for value in values}
    widths |= {t.name: t.dims[1] for t in model.graph.initializer if len(t.dims) == 2}
    found = {Variant(n.op_type, _KEYS[n.op_type](n, widths)) for n in ours(model, *_KEYS)}
    return sorted(found, key=lambda variant: (variant.operator, variant.key))


def _spmm(node: onnx.NodeProto, widths: Mapping[str, int]) -> tuple[int, int, int, int]:
    operands = sum(1 << i for i, name in enumerate(node.input[3:]) if name)
    mean = _attribute(node, "reduce") == b"mean"
    return _width_of(node, widths, node.output[0], node.input[2]), operands, mean, 0


def _extremum(node: onnx.NodeProto, widths: Mapping[str, int]) -> tuple[int, int, int, int]:
    largest = _attribute(node, "reduce") == b"max"
    return _width_of(node, widths, node.output[0], node.input[2]), _has(node, 3), largest, 0


def _gat(node: onnx.NodeProto, widths: Mapping[str, int]) -> tuple[int, int, int, int]:
    heads = _width_of(node, widths, node.input[3], node.input[4])
    width = _width_of(node, widths, node.output[0], node.input[2])
    return heads, width // heads, bool(_attribute(node, "add_self_loops")), _has(node, 5)


def _gatv2(node: onnx.NodeProto, widths: Mapping[str, int]) -> tuple[int, int, int, int]:
    channels = _width_of(node, widths, node.input[4])
    width = _width_of(node, widths, node.output[0], node.input[2])
    return width // channels, channels, bool(_attribute(node, "add_self_loops")), _has(node, 5)


def _dot_attention(node: onnx.NodeProto, widths: Mapping[str, int]) -> tuple[int, int, int, int]:
    heads = _attribute(node, "heads")
    assert isinstance(heads, int)
    return heads, _width_of(node, widths, node.output[0], node.input[2]) // heads, 0, 0


_Key = Callable[[onnx.NodeProto, Mapping[str, int]], tuple[int, int, int, int]]
_KEYS: dict[str, _Key] = {
    "spmm": _spmm,
    "extremum": _extremum,
    "gat": _gat,
    "gatv2": _gatv2,
    "dot_attention": _dot_attention,
}


def _width(value: onnx.ValueInfoProto) -> int:
    dims = value.type.tensor_type.shape.dim
    return dims[1].dim_value if len(dims) == 2 else 0


def _width_of(node: onnx.NodeProto, widths: Mapping[str, int], *names: str) -> int:
    found = next((widths[name] for name in names if widths.get(name)), 0)
    if not found:
        raise ExportError(f"the file does not say how wide {names[0]} of a {node.op_type} node is")
    return found


def _attribute(node: onnx.NodeProto, name: str) -> object:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}[name]


def _has(node: onnx.NodeProto, index: int) -> bool:
    return len(node.input) > index and bool(node.input[index])
