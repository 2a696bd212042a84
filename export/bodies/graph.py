"""Bodies of `csr` and `gcn_norm`."""

from collections.abc import Mapping, Sequence

import onnx

from .text import ROWS, function, given, overload


def csr(inputs: Sequence[str], attributes: Mapping[str, object]) -> onnx.FunctionProto:
    """Sort edges by destination: TopK is stable."""
    return function(
        "csr (edge_index, num_src, num_dst) => (rowptr, col, perm)",
        [
            """
            src = Gather (edge_index, scalar_0)
            dst = Gather (edge_index, scalar_1)
            num_edges = Shape (dst)
            sorted_dst, perm = TopK <axis = 0, largest = 0, sorted = 1> (dst, num_edges)
            sorted_src = Gather (src, perm)
            col = Cast <to = 6> (sorted_src)
            after = Add (dst, scalar_1)
            one_each = Expand (ones, num_edges)
            length_0 = Add (num_dst, scalar_1)
            length = Reshape (length_0, ones)
            empty = Expand (zeros, length)
            counts = ScatterElements <reduction = "add"> (empty, after, one_each)
            rowptr = CumSum (counts, scalar_0)
            """
        ],
    )


def gcn_norm(inputs: Sequence[str], attributes: Mapping[str, object]) -> onnx.FunctionProto:
    """Count degrees, loops apart."""
    weighted, degrees_given = given(inputs, 2), given(inputs, 3)
    loops = bool(attributes["add_self_loops"])
    lines = [ROWS, "num_nodes = Identity (num_rows)"]
    lines.append("value = Identity (weight)" if weighted else "value = Expand (float_1, num_edges)")
    lines.append(
        """
        no_degree = Expand (float_0, num_nodes)
        edge_sum = ScatterElements <reduction = "add"> (no_degree, row, value)
        """
    )
    if loops:
        lines.append(
            """
            is_loop = Equal (col_64, row)
            loop_2d = NonZero (is_loop)
            loop = Squeeze (loop_2d, zeros)
            loop_row = Gather (row, loop)
            loop_value = Gather (value, loop)
            loop_sum = ScatterElements <reduction = "add"> (no_degree, loop_row, loop_value)
            """
        )
        lines.append(_LAST_LOOP if weighted else "own = Expand (float_1, num_nodes)")
        lines.append("self_weight = Sub (own, loop_sum)")
    else:
        lines.append("self_weight = Identity (no_degree)")
    lines.append("own_degree = Add (edge_sum, self_weight)")
    lines.append(_CHOOSE_DEGREE if degrees_given else "degree = Identity (own_degree)")
    lines.append(
        """
        isolated = Equal (degree, float_0)
        root = Sqrt (degree)
        inverse = Reciprocal (root)
        scale = Where (isolated, float_0, inverse)
        """
    )
    return function(
        "gcn_norm <fill_value, add_self_loops> (rowptr, col, weight, in_degree)"
        " => (scale, self_weight)",
        lines,
        overload("loops" if loops else "plain", weight=weighted, in_degree=degrees_given),
    )


# of several loops of one node, the weight of the last; fill_value where there is none
_LAST_LOOP = """
    none = Expand (minus_ones, num_nodes)
    last = ScatterElements <reduction = "max"> (none, loop_row, loop)
    has_loop = GreaterOrEqual (last, zeros)
    last_or_0 = Max (last, zeros)
    fill = Constant <value_float: float = @fill_value> ()
    padded = Concat <axis = 0> (value, float_0)
    last_value = Gather (padded, last_or_0)
    own = Where (has_loop, last_value, fill)
"""

_CHOOSE_DEGREE = """
    size = Size (in_degree)
    is_given = Greater (size, scalar_0)
    degree = If (is_given) <
        then_branch = given () => (float[n] chosen) { chosen = Identity (in_degree) },
        else_branch = computed () => (float[n] kept) { kept = Identity (own_degree) }
    >
"""
