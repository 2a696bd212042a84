"""Static int8: ONNX Runtime's quantize_static, calibrated on real features, as QDQ nodes.

What comes out has standard operators alone around ours, QuantizeLinear and DequantizeLinear, which
other runtimes read as well. Only products are quantised: with everything quantised a quarter of all
answers changed. The scale of each product's features is one number, found by calibration.

Weights are written without sign, q + 128 beside a zero point of 128: ONNX Runtime adds pairs of
products of mixed signs in 16 bits where a processor has no VNNI, and large sums saturate there. Two
sides without sign are exact on every processor.
"""

import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from .linears import (
    Linear,
    add_initializer,
    drop_unread,
    find_linears,
    initializer,
    read_weight,
    times,
)
from .weights import Int8Weight, quantise_weight

CALIBRATIONS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}


# ONNX Runtime's levels; the second is what it starts with
_ERROR, _WARNING = 3, 2


class _Calls(CalibrationDataReader):
    """Feeds calls to the calibration, one after the other."""

    def __init__(self, calls: list[Mapping[str, NDArray[Any]]]) -> None:
        self._calls: Iterator[Mapping[str, NDArray[Any]]] = iter(calls)

    def get_next(self) -> Any:
        return next(self._calls, None)


def quantise_static(
    model: onnx.ModelProto,
    trained: Mapping[str, NDArray[np.generic]],
    feeds: Mapping[str, NDArray[Any]],
    *,
    calibration: str = "minmax",
) -> tuple[onnx.ModelProto, dict[str, Int8Weight]]:
    """Quantise the products of a model with scales that are found beforehand.

    Args:
        model: A model as `export` writes it; it is changed.
        trained: What int8.safetensors holds, or nothing.
        feeds: Inputs of a call with real features.
        calibration: One of `CALIBRATIONS`.

    Returns:
        The new model, and its weights by the names of the initialisers that they replace.
    """
    weights = _split_products(model, trained)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore")
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        onnx.save(model, before)
        quantize_static(
            before,
            after,
            _Calls([feeds]),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QUInt8,
            calibrate_method=CALIBRATIONS[calibration],
            extra_options={"OpTypesToExcludeOutputQuantization": ["MatMul"]},
        )
        quantised = onnx.load(after)
    for name, weight in weights.items():
        _set_weight(quantised, name, weight)
    drop_unread(quantised)
    return quantised, weights


def _split_products(
    model: onnx.ModelProto, trained: Mapping[str, NDArray[np.generic]]
) -> dict[str, Int8Weight]:
    """Make MatMul and Add of every Gemm: ONNX Runtime's tool would round what is added too."""
    weights = {}
    for linear in find_linears(model):
        value = read_weight(model, linear.weight, linear.outputs_first)
        name = f"{linear.weight}.kernel"
        weights[name] = quantise_weight(value, trained)
        add_initializer(model, name, value.T)
        made = _spelt_out(model, linear, name)
        place = list(model.graph.node).index(linear.node)
        model.graph.node.remove(linear.node)
        for node in reversed(made):
            model.graph.node.insert(place, node)
    drop_unread(model)
    return weights


def _spelt_out(model: onnx.ModelProto, linear: Linear, weight: str) -> list[onnx.NodeProto]:
    """Return the nodes that compute a product, factor by factor."""
    # a value of its own: the tool rounds for all who read one, sums over neighbours too
    x, product = f"{linear.out}.x", f"{linear.out}.product"
    made = [
        helper.make_node("Identity", [linear.x], [x], name=x),
        helper.make_node("MatMul", [x, weight], [product], name=product),
        *times(product, linear.alpha, f"{product}.scaled", model),
    ]
    if linear.bias:
        last, added = made[-1].output[0], f"{linear.out}.added"
        made += times(linear.bias, linear.beta, added, model)
        bias = linear.bias if linear.beta == 1.0 else added
        made.append(helper.make_node("Add", [last, bias], [linear.out], name=linear.out))
    made[-1].output[0] = linear.out
    return made


def _set_weight(model: onnx.ModelProto, name: str, weight: Int8Weight) -> None:
    """Put our integers and scales in place of those that the tool computed."""
    q = (weight.q.T.astype(np.int16) + 128).astype(np.uint8)
    zero_point = np.full_like(weight.scale, 128, np.uint8)
    parts = (("quantized", q), ("scale", weight.scale), ("zero_point", zero_point))
    for suffix, value in parts:
        tensor = initializer(model, f"{name}_{suffix}")
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), tensor.name))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the tool's advice, and that of the sessions it starts, from the user."""
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)
    onnxruntime.set_default_logger_severity(_ERROR)
    try:
        yield
    finally:
        logging.getLogger().setLevel(level)
        onnxruntime.set_default_logger_severity(_WARNING)
