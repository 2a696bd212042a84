"""Smaller files: weights stored as int8 or fp16, and made floats again when a file is loaded.

The arithmetic stays that of float32: on a CPU fp16 is no faster, and ONNX Runtime cannot sum over
neighbours in it.
"""

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from .linears import add_initializer, drop_unread, find_weights, is_float, read_weight
from .weights import Int8Weight, quantise_weight

# smaller ones are not worth a node
_FEWEST = 256


def store_int8(
    model: onnx.ModelProto, trained: Mapping[str, NDArray[np.generic]]
) -> dict[str, Int8Weight]:
    """Store the weights of products as int8, a scale for each output. Changes the model.

    Returns:
        The weights by the names of the initialisers that they replace.
    """
    weights = {}
    for name, outputs_first in find_weights(model).items():
        weight = quantise_weight(read_weight(model, name, outputs_first), trained)
        axis = 0 if outputs_first else 1
        q = weight.q if outputs_first else weight.q.T
        inputs = [
            add_initializer(model, f"{name}.q", q),
            add_initializer(model, f"{name}.scale", weight.scale),
        ]
        _restore(model, name, helper.make_node("DequantizeLinear", inputs, [], axis=axis))
        weights[name] = weight
    drop_unread(model)
    return weights


def store_fp16(model: onnx.ModelProto) -> list[str]:
    """Store all larger initialisers as fp16. Changes the model; returns their names.

    Raises:
        ValueError: If a weight is too large for fp16.
    """
    inputs = {value.name for value in model.graph.input}
    found = [
        tensor
        for tensor in model.graph.initializer
        if is_float(tensor) and tensor.name not in inputs and np.prod(tensor.dims) >= _FEWEST
    ]
    for tensor in found:
        value = numpy_helper.to_array(tensor)
        if np.abs(value).max() > np.finfo(np.float16).max:
            raise ValueError(f"{tensor.name} holds {np.abs(value).max():.3g}, too large for fp16")
        half = add_initializer(model, f"{tensor.name}.fp16", value.astype(np.float16))
        _restore(
            model, tensor.name, helper.make_node("Cast", [half], [], to=onnx.TensorProto.FLOAT)
        )
    drop_unread(model)
    return [tensor.name for tensor in found]


def _restore(model: onnx.ModelProto, name: str, node: onnx.NodeProto) -> None:
    """Let whoever reads an initialiser read what a node makes of another one."""
    node.output.append(f"{name}.restored")
    node.name = f"restore {name}"
    for reader in model.graph.node:
        for i, read in enumerate(reader.input):
            if read == name:
                reader.input[i] = node.output[0]
    model.graph.node.insert(0, node)
