"""Body of `relational_csr`: pairs of a relation and a destination, which R-GCN averages over."""

from collections.abc import Mapping, Sequence

import onnx

from .text import ROWS, function


def relational_csr(inputs: Sequence[str], attributes: Mapping[str, object]) -> onnx.FunctionProto:
    """Sort edges by relation and destination; a pair begins where the two change."""
    return function(
        "relational_csr <num_relations> (rowptr, col, relation)"
        " => (pair_rowptr, pair_col, target_rowptr, target_col, sizes, pair)",
        [ROWS, _SORTED, _PAIRS, _BY_TARGET, _PAIR_OF_EDGE],
    )


# relations below zero become one too many, which the ScatterElements of sizes refuses
_SORTED = """
    relations_0d = Constant <value_int: int = @num_relations> ()
    relations = Reshape (relations_0d, ones)
    negative = Less (relation, scalar_0)
    checked = Where (negative, relations, relation)
    base = Mul (checked, num_rows)
    key = Add (base, row)
    sorted_key, order = TopK <axis = 0, largest = 0, sorted = 1> (key, num_edges)
    pair_col = Gather (col, order)
"""

_PAIRS = """
    before = Slice (sorted_key, zeros, minus_ones, zeros)
    after = Slice (sorted_key, ones, far, zeros)
    same = Equal (before, after)
    changed = Not (same)
    changed_2d = NonZero (changed)
    changed_at = Squeeze (changed_2d, zeros)
    later = Add (changed_at, scalar_1)
    any_edge = Min (num_edges, ones)
    first = Expand (zeros, any_edge)
    begins = Concat <axis = 0> (first, later)
    pair_rowptr = Concat <axis = 0> (begins, num_edges)
    num_pairs = Shape (begins)
    found = Gather (sorted_key, begins)
    rows_or_1 = Max (num_rows, ones)
    pair_relation = Div (found, rows_or_1)
    target = Mod (found, rows_or_1)
    one_each = Expand (ones, num_pairs)
    no_sizes = Expand (zeros, relations)
    sizes = ScatterElements <reduction = "add"> (no_sizes, pair_relation, one_each)
"""

_BY_TARGET = """
    sorted_target, by_target = TopK <axis = 0, largest = 0, sorted = 1> (target, num_pairs)
    target_col = Cast <to = 6> (by_target)
    next_target = Add (target, scalar_1)
    length = Add (num_rows, ones)
    empty = Expand (zeros, length)
    counts = ScatterElements <reduction = "add"> (empty, next_target, one_each)
    target_rowptr = CumSum (counts, scalar_0)
"""

_PAIR_OF_EDGE = """
    no_edge = Expand (zeros, num_edges)
    begin_marks = ScatterElements (no_edge, begins, one_each)
    up_to = CumSum (begin_marks, scalar_0)
    sorted_pair = Sub (up_to, scalar_1)
    pair = ScatterElements (no_edge, order, sorted_pair)
"""
