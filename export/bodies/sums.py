"""Bodies of what is reduced over in-neighbours: `spmm` and its kin, and `extremum`."""

from collections.abc import Mapping, Sequence

import onnx

from .text import ACTIVATIONS, SEGMENTS, function, given, overload, pieces, scaled, text

SPMM_INPUTS: tuple[str, ...] = (
    "rowptr",
    "col",
    "x",
    "weight",
    "src_scale",
    "dst_scale",
    "self_weight",
    "bias",
)

UPDATE_INPUTS: tuple[str, ...] = (
    *SPMM_INPUTS,
    "residual",
    "linear_weight",
    "linear_bias",
    "root",
    "root_weight",
    "out_scale",
)

_MEAN = """
    counted = Max (degree, ones)
    count = Cast <to = 1> (counted)
    count_2d = Unsqueeze (count, ones)
    edges = Div (total, count_2d)
"""


# where an extremum is NaN: ONNX Runtime's ReduceMax and Max do not see to it
_BROKEN = """
    value_nan = IsNaN (value)
    value_flag = Cast <to = 2> (value_nan)
    piece_flag = ReduceMax <keepdims = 0> (value_flag, ones)
    piece_nan = Cast <to = 9> (piece_flag)
    old_nan = IsNaN (best_old)
    broken = Or (old_nan, piece_nan)
"""


def spmm(inputs: Sequence[str], attributes: Mapping[str, object]) -> onnx.FunctionProto:
    """Sum or average each row's pieces, then scale."""
    there = {name: given(inputs, i) for i, name in enumerate(SPMM_INPUTS)}
    reduce = text(attributes["reduce"])
    optional = {name: there[name] for name in SPMM_INPUTS[3:]}
    return function(
        f"spmm <reduce> ({', '.join(SPMM_INPUTS)}) => (out)",
        sum_of_rows(there, reduce, "x"),
        overload(reduce, **optional),
    )


def spmm_update(inputs: Sequence[str], attributes: Mapping[str, object]) -> onnx.FunctionProto:
    """Sum or average each row's pieces, add, activate, multiply, activate and scale."""
    there = {name: given(inputs, i) for i, name in enumerate(UPDATE_INPUTS)}
    kinds = [text(attributes[name]) for name in ("reduce", "activation", "out_activation")]
    reduce, activation, out_activation = kinds
    lines = sum_of_rows(there, reduce, "x", out="sums")
    lines.append(f"added = {'Add (sums, residual)' if there['residual'] else 'Identity (sums)'}")
    if there["linear_weight"]:
        lines.append(f"near = {ACTIVATIONS[activation]} (added)")
        lines += _products(there, bool(attributes["identity"]))
        lines.append(f"updated = {ACTIVATIONS[out_activation]} (product)")
    else:
        lines.append(f"updated = {ACTIVATIONS[activation]} (added)")
    lines.append(_SCALED if there["out_scale"] else "out = Identity (updated)")
    names = sorted(attributes)
    kinds += ["identity"] if attributes["identity"] else []
    return function(
        f"spmm_update <{', '.join(names)}> ({', '.join(UPDATE_INPUTS)}) => (out)",
        lines,
        overload("_".join(kinds), **{name: there[name] for name in UPDATE_INPUTS[3:]}),
    )


_SCALED = """
    row_scale = Unsqueeze (out_scale, ones)
    out = Mul (row_scale, updated)
"""


def _products(there: Mapping[str, bool], identity: bool) -> list[str]:
    """Return the lines that multiply `near`, and the node's own row, by weights."""
    lines, added = list[str](), ["linear_bias"] if there["linear_bias"] else []
    if there["root"]:
        names = ", ".join(["root", "root_weight", *added])
        lines.append(f"own_product = Gemm <transB: int = @trans_root> ({names})")
        added = ["own_product"]
    factors = "alpha: float = @alpha, transB: int = @trans_weight"
    if not identity:
        names = ", ".join(["near", "linear_weight", *added])
        return [*lines, f"product = Gemm <{factors}> ({names})"]
    factors += ", beta: float = @identity"
    lines.append(f"mapped = Gemm <{factors}> (near, linear_weight, near)")
    return [*lines, f"product = {f'Add (mapped, {added[0]})' if added else 'Identity (mapped)'}"]


def sum_of_rows(there: Mapping[str, bool], reduce: str, x: str, out: str = "out") -> list[str]:
    """Return the lines that compute `out` from rows of float, by what else is there."""
    lines = [SEGMENTS, f"width = Shape <start = 1> ({x})"]
    lines.append(scaled("u", x, "src_scale") if there["src_scale"] else f"u = Identity ({x})")
    lines.append("shape = Concat <axis = 0> (num_nodes, width)")
    lines.append("nothing = Expand (float_0, shape)")
    piece = ["neighbour = Gather (col, slot)", "value = Gather (u, neighbour)"]
    if there["weight"]:
        piece += [
            "factor_2d = Gather (weight, slot)",
            "factor = Unsqueeze (factor_2d, ones)",
            "product = MatMul (factor, value)",
            "piece_sum = Squeeze (product, ones)",
        ]
    else:
        piece.append("piece_sum = ReduceSum <keepdims = 0> (value, ones)")
    piece.append("total_new = Add (total_old, piece_sum)")
    lines.append(pieces({"total": ("float[n,f]", "nothing")}, piece))
    lines.append(_MEAN if reduce == "mean" else "edges = Identity (total)")
    last = "edges"
    if there["self_weight"]:
        lines += [scaled("own", "u", "self_weight"), "with_own = Add (edges, own)"]
        last = "with_own"
    if there["dst_scale"]:
        lines.append(scaled("scaled", last, "dst_scale"))
        last = "scaled"
    lines.append(f"{out} = Add ({last}, bias)" if there["bias"] else f"{out} = Identity ({last})")
    return lines


def extremum(inputs: Sequence[str], attributes: Mapping[str, object]) -> onnx.FunctionProto:
    """Take each row's extremum, 0 where it has no edges."""
    weighted, reduce = given(inputs, 3), text(attributes["reduce"])
    first, name = ("-inf", "Max") if reduce == "max" else ("inf", "Min")
    piece = ["neighbour = Gather (col, slot)"]
    if weighted:
        piece += [
            "plain = Gather (x, neighbour)",
            "factor_2d = Gather (weight, slot)",
            "factor = Unsqueeze (factor_2d, minus_ones)",
            "value = Mul (factor, plain)",
        ]
    else:
        piece.append("value = Gather (x, neighbour)")
    piece.append(
        f"""
        piece_best = Reduce{name} <keepdims = 0> (value, ones)
        better = {name} (best_old, piece_best)
        {_BROKEN}
        best_new = Where (broken, not_a_number, better)
        """
    )
    lines = [
        SEGMENTS,
        f"""
        width = Shape <start = 1> (x)
        shape = Concat <axis = 0> (num_nodes, width)
        worst = Constant <value_floats = [{first}]> ()
        not_a_number = Constant <value_floats = [nan]> ()
        nothing = Expand (worst, shape)
        """,
        pieces({"best": ("float[n,f]", "nothing")}, piece),
        """
        empty = Equal (degree, zeros)
        empty_2d = Unsqueeze (empty, ones)
        out = Where (empty_2d, float_0, best)
        """,
    ]
    return function(
        "extremum <reduce> (rowptr, col, x, weight) => (out)",
        lines,
        overload(reduce, weight=weighted),
    )


def spmm_heads(inputs: Sequence[str], attributes: Mapping[str, object]) -> onnx.FunctionProto:
    """Sum or average each row's pieces, weighted per head."""
    reduce = text(attributes["reduce"])
    piece = """
        neighbour = Gather (col, slot)
        value = Gather (features, neighbour)
        factor_3d = Gather (weight, slot)
        factor = Unsqueeze (factor_3d, minus_ones)
        product = Mul (factor, value)
        piece_sum = ReduceSum <keepdims = 0> (product, ones)
        total_new = Add (total_old, piece_sum)
    """
    lines = [
        SEGMENTS,
        """
        heads = Shape <start = 1> (weight)
        width = Shape <start = 1> (x)
        num_src = Shape <end = 1> (x)
        channels = Div (width, heads)
        split_src = Concat <axis = 0> (num_src, heads, channels)
        features = Reshape <allowzero = 1> (x, split_src)
        per_channel = Concat <axis = 0> (num_nodes, heads, channels)
        joined = Concat <axis = 0> (num_nodes, width)
        nothing = Expand (float_0, per_channel)
        """,
        pieces({"sums": ("float[n,h,c]", "nothing")}, [piece.replace("total", "sums")]),
        "total = Reshape <allowzero = 1> (sums, joined)",
        _MEAN if reduce == "mean" else "edges = Identity (total)",
        "out = Identity (edges)",
    ]
    return function("spmm_heads <reduce> (rowptr, col, x, weight) => (out)", lines, reduce)


def spmm_int8(inputs: Sequence[str], attributes: Mapping[str, object]) -> onnx.FunctionProto:
    """Sum each row's integers as such, then scale."""
    reduce = text(attributes["reduce"])
    piece = """
        neighbour = Gather (col, slot)
        small = Gather (x, neighbour)
        value = Cast <to = 6> (small)
        piece_sum = ReduceSum <keepdims = 0> (value, ones)
        sums_new = Add (sums_old, piece_sum)
    """
    lines = [
        SEGMENTS,
        """
        width = Shape <start = 1> (x)
        shape = Concat <axis = 0> (num_nodes, width)
        zero = Cast <to = 6> (zeros)
        nothing = Expand (zero, shape)
        """,
        pieces({"sums": ("int32[n,f]", "nothing")}, [piece]),
        "total = Cast <to = 1> (sums)",
        _MEAN if reduce == "mean" else "edges = Identity (total)",
        "out = Mul (edges, scale)",
    ]
    return function("spmm_int8 <reduce> (rowptr, col, x, scale) => (out)", lines, reduce)
