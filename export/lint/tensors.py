"""Every tensor of a model, wherever it lies."""

from collections.abc import Iterator

import onnx


def is_external(tensor: onnx.TensorProto) -> bool:
    """Return whether a tensor keeps its data in another file."""
    return tensor.data_location == onnx.TensorProto.EXTERNAL or bool(tensor.external_data)


def tensors_of(model: onnx.ModelProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    """Walk every tensor of a file, those in attributes, subgraphs and functions too."""
    waiting: list[tuple[str, onnx.GraphProto | onnx.FunctionProto]] = [("the graph", model.graph)]
    waiting += [(f"function {f.domain}.{f.name}", f) for f in model.functions]
    while waiting:
        place, owner = waiting.pop(0)
        if isinstance(owner, onnx.GraphProto):
            yield from ((place, tensor) for tensor in owner.initializer)
            for sparse in owner.sparse_initializer:
                yield from ((place, tensor) for tensor in (sparse.values, sparse.indices))
        for node in owner.node:
            for part in node.attribute:
                yield from ((place, tensor) for tensor in (part.t, *part.tensors))
                inner = ([part.g] if part.HasField("g") else []) + list(part.graphs)
                waiting += [(f"{part.name} of {node.op_type} in {place}", g) for g in inner]
