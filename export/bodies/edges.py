"""Bodies of what is computed for each edge: `edge_rows`, `edge_softmax` and `sddmm`."""

from collections.abc import Mapping, Sequence

import onnx

from .text import ROWS, SEGMENTS, function, given, overload, pieces


def edge_rows(inputs: Sequence[str], attributes: Mapping[str, object]) -> onnx.FunctionProto:
    """Find the destination of each edge."""
    return function("edge_rows (rowptr, col) => (out)", [ROWS, "out = Identity (row)"])


def edge_softmax(inputs: Sequence[str], attributes: Mapping[str, object]) -> onnx.FunctionProto:
    """Find each row's largest score and its sum, then divide; `own` counts as one edge more."""
    owned = given(inputs, 2)
    lines = [_COLUMN, ROWS, SEGMENTS]
    lines.append(_FROM_OWN if owned else _FROM_NOTHING)
    piece = """
        s = Gather (score, slot)
        piece_top = ReduceMax <keepdims = 0> (s, ones)
        top_new = Max (top_old, piece_top)
        grown = Sub (top_old, top_new)
        shrink = Exp (grown)
        top_3d = Unsqueeze (top_new, ones)
        shifted = Sub (s, top_3d)
        p = Exp (shifted)
        piece_norm = ReduceSum <keepdims = 0> (p, ones)
        norm_before = Mul (norm_old, shrink)
        norm_new = Add (norm_before, piece_norm)
    """
    carried = {"top": ("float[n,h]", "first_top"), "norm": ("float[n,h]", "first_norm")}
    lines.append(pieces(carried, [piece]))
    lines.append(
        """
        top_of_edge = Gather (top, row)
        norm_of_edge = Gather (norm, row)
        less_top = Sub (score, top_of_edge)
        exp = Exp (less_top)
        out = Div (exp, norm_of_edge)
        """
    )
    if not owned:
        return function("edge_softmax (rowptr, score) => (out)", lines, "plain")
    lines.append(
        """
        own_less_top = Sub (own, top)
        own_exp = Exp (own_less_top)
        own_out = Div (own_exp, norm)
        """
    )
    return function(
        "edge_softmax (rowptr, score, own) => (out, own_out)", lines, overload("plain", own=True)
    )


# ROWS counts the edges of a column
_COLUMN = """
    num_scores = Shape <end = 1> (score)
    col = Expand (zeros, num_scores)
"""

_FROM_NOTHING = """
    heads = Shape <start = 1> (score)
    per_head = Concat <axis = 0> (num_nodes, heads)
    first_top = Expand (float_lowest, per_head)
    first_norm = Expand (float_0, per_head)
"""

_FROM_OWN = """
    own_shifted = Sub (own, own)
    first_norm = Exp (own_shifted)
    first_top = Identity (own)
"""


def sddmm(inputs: Sequence[str], attributes: Mapping[str, object]) -> onnx.FunctionProto:
    """Multiply both ends of each edge, channel by channel, and sum heads."""
    return function(
        "sddmm <heads> (rowptr, col, a, b) => (out)",
        [
            ROWS,
            """
            heads_0d = Constant <value_int: int = @heads> ()
            heads = Reshape (heads_0d, ones)
            width = Shape <start = 1> (a)
            channels = Div (width, heads)
            shape = Concat <axis = 0> (num_edges, heads, channels)
            target = Gather (a, row)
            source = Gather (b, col)
            product = Mul (target, source)
            split = Reshape <allowzero = 1> (product, shape)
            out = ReduceSum <keepdims = 0> (split, minus_ones)
            """,
        ],
    )
