"""The baked lowering: the graph is in the model, what depends on it alone is computed at export.

Sorting, normalising and counting, which other models do in every call or leave to the caller, are
done once. What is left takes features and answers for all nodes of that one graph.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress

import numpy as np
import onnx
import onnxruntime
import safetensors.numpy
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from ..serve import Bundle, native
from .bodies import DOMAIN
from .errors import ExportError
from .passes import attach_bodies, value_infos
from .translation import SCHEMAS

Arrays = Mapping[str, NDArray[np.generic]]
GRAPH_FILE = "graph.safetensors"
_LARGEST = 2**31 - 1
_TYPES = {"I": onnx.TensorProto.INT64, "C": onnx.TensorProto.INT32, "T": onnx.TensorProto.FLOAT}


def bake(model: onnx.ModelProto, graph: Arrays, sizes: Mapping[str, int]) -> None:
    """Put a graph into a model, in place.

    Args:
        model: The model, without function bodies yet.
        graph: The inputs that are fixed from now on, by name.
        sizes: The sizes that are fixed with them, by the name of the dimension.

    Raises:
        ExportError: If the model with its graph would be larger than a file may be.
    """
    types = _types(model)
    _fix_sizes(model, sizes)
    for value in [value for value in model.graph.input if value.name in graph]:
        model.graph.input.remove(value)
    known = {**graph, **dict(_shapes(model))}
    fixed = list(_depending_on(model, known))
    for node in fixed:
        model.graph.node.remove(node)
    read = _read(model)
    made = [name for node in fixed for name in node.output if name in read]
    found = _computed(model, fixed, known, {name: types[name] for name in made})
    kept = {name: value for name, value in known.items() if name in read} | found
    model.graph.initializer.extend(
        numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in kept.items()
    )
    for tensor in [t for t in model.graph.initializer if t.name not in read]:
        model.graph.initializer.remove(tensor)
    if model.ByteSize() > _LARGEST:
        raise ExportError(
            f"the model with its graph takes {model.ByteSize():,} bytes, an ONNX file at most "
            f'{_LARGEST:,}; export it with lowering="fused"'
        )


def held_graph(bundle: Bundle) -> dict[str, NDArray[np.generic]]:
    """Return the inputs of the module that a baked bundle holds; none of another bundle."""
    if GRAPH_FILE not in bundle.manifest.files:
        return {}
    return safetensors.numpy.load(bundle.read(GRAPH_FILE))


def _types(model: onnx.ModelProto) -> dict[str, int]:
    """Return the element types of all values that are known."""
    types = {value.name: value.type.tensor_type.elem_type for value in value_infos(model)}
    for node in model.graph.node:
        if node.domain == DOMAIN:
            formal = zip(node.output, SCHEMAS[node.op_type].outputs, strict=False)
            types |= {name: _TYPES[output.type_str] for name, output in formal}
    return types


def _fix_sizes(model: onnx.ModelProto, sizes: Mapping[str, int]) -> None:
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in sizes:
                dim.dim_value = sizes[dim.dim_param]
    del model.graph.value_info[:]


def _shapes(model: onnx.ModelProto) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Take out whatever asks an input for its shape, and yield the answers."""
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in model.graph.input
    }
    for node in [n for n in model.graph.node if n.op_type == "Shape" and n.input[0] in shapes]:
        bounds = {a.name: a.i for a in node.attribute}
        asked = slice(bounds.get("start"), bounds.get("end"))
        yield node.output[0], np.array(shapes[node.input[0]][asked], np.int64)
        model.graph.node.remove(node)


def _depending_on(model: onnx.ModelProto, known: Arrays) -> Iterator[onnx.NodeProto]:
    """Yield the nodes that look at known values, and at nothing that a call gives."""
    weights = {tensor.name for tensor in model.graph.initializer}
    derived = set(known)
    for node in model.graph.node:
        names = set(filter(None, node.input))
        if names & derived and names <= derived | weights:
            derived |= set(node.output)
            yield node


def _read(model: onnx.ModelProto) -> set[str]:
    read = {name for node in model.graph.node for name in node.input if name}
    return read | {output.name for output in model.graph.output}


def _computed(
    model: onnx.ModelProto, nodes: list[onnx.NodeProto], known: Arrays, types: Mapping[str, int]
) -> dict[str, NDArray[np.generic]]:
    """Run some nodes of a model in ONNX Runtime and return values they make, by name."""
    if not types:
        return {}
    read = {name for node in nodes for name in node.input}
    part = helper.make_model(
        helper.make_graph(
            nodes,
            "graph",
            [
                helper.make_tensor_value_info(
                    name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
                )
                for name, value in known.items()
                if name in read
            ],
            [helper.make_tensor_value_info(name, kind, None) for name, kind in types.items()],
            [tensor for tensor in model.graph.initializer if tensor.name in read],
        ),
        opset_imports=model.opset_import,
        ir_version=model.ir_version,
    )
    attach_bodies(part)
    options = onnxruntime.SessionOptions()
    with suppress(FileNotFoundError):  # without it the bodies compute the same
        options.register_custom_ops_library(native.library())
    session = onnxruntime.InferenceSession(
        part.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    feeds = {name: value for name, value in known.items() if name in read}
    answers = [np.asarray(answer) for answer in session.run(None, feeds)]
    return dict(zip(types, answers, strict=True))
