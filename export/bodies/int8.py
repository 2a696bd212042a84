"""Bodies of rows of int8: `quantize_rows`, `linear_int8` and `spmm_int8_rows`."""

from collections.abc import Mapping, Sequence

import onnx

from .sums import sum_of_rows
from .text import function, given, overload, text

_ROUND = """
    size = Abs (value)
    largest = ReduceMax (size, minus_ones)
    steps = Constant <value_floats = [127.0]> ()
    step = Div (largest, steps)
    is_step = Greater (step, float_0)
    scale_2d = Where (is_step, step, float_1)
    quotient = Div (value, scale_2d)
    rounded = Round (quotient)
    is_nan = IsNaN (rounded)
    whole = Where (is_nan, float_0, rounded)
    q = Cast <to = 3> (whole)
    nothing = Mul (x, float_0)
    broken = ReduceSum (nothing, minus_ones)
    finite_or_nan = Add (scale_2d, broken)
    scale = Squeeze (finite_or_nan, minus_ones)
"""

# Both sides without sign: ONNX Runtime's products of mixed signs saturate where there is no VNNI.
# One scale after the other: it takes a product of two for scales of whole tensors, and fuses them
# wrongly.
_PRODUCT = """
    offset = Constant <value = int32[1] {128}> ()
    zero_0d = Constant <value = uint8 {128}> ()
    x_32 = Cast <to = 6> (x)
    x_up = Add (x_32, offset)
    x_u8 = Cast <to = 2> (x_up)
    weight_32 = Cast <to = 6> (weight)
    weight_up = Add (weight_32, offset)
    weight_u8 = Cast <to = 2> (weight_up)
    weight_t = Transpose <perm = [1, 0]> (weight_u8)
    sums = MatMulInteger (x_u8, weight_t, zero_0d, zero_0d)
    total = Cast <to = 1> (sums)
    scaled = Mul (total, weight_scale)
    scale_2d = Unsqueeze (scale, ones)
    product = Mul (scaled, scale_2d)
"""


def quantize_rows(inputs: Sequence[str], attributes: Mapping[str, object]) -> onnx.FunctionProto:
    """Divide each row by its largest size, and round."""
    activation = text(attributes["activation"])
    first = "value = Relu (x)" if activation == "relu" else "value = Identity (x)"
    return function("quantize_rows <activation> (x) => (q, scale)", [first, _ROUND], activation)


def linear_int8(inputs: Sequence[str], attributes: Mapping[str, object]) -> onnx.FunctionProto:
    """Multiply integers as such, then scale."""
    there = {"bias": given(inputs, 4), "residual": given(inputs, 5)}
    lines, last = [_PRODUCT], "product"
    for name in (name for name, is_given in there.items() if is_given):
        lines.append(f"with_{name} = Add ({last}, {name})")
        last = f"with_{name}"
    lines.append(f"out = Identity ({last})")
    signature = "linear_int8 (x, scale, weight, weight_scale, bias, residual) => (out)"
    return function(signature, lines, overload("rows", **there))


def spmm_int8_rows(inputs: Sequence[str], attributes: Mapping[str, object]) -> onnx.FunctionProto:
    """Sum rows as floats."""
    names = ("rowptr", "col", "x", "src_scale", "weight", "dst_scale", "self_weight", "bias")
    there = {name: given(inputs, i) for i, name in enumerate(names)}
    reduce = text(attributes["reduce"])
    lines = ["features = Cast <to = 1> (x)", *sum_of_rows(there, reduce, "features")]
    optional = {name: there[name] for name in names[4:]}
    signature = f"spmm_int8_rows <reduce> ({', '.join(names)}) => (out)"
    return function(signature, lines, overload(reduce, **optional))
