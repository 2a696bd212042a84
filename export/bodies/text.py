"""What the bodies' texts are made of: constants, rows of a graph, and sums over rows.

No body scatters with a reduction on features, because ONNX Runtime's ScatterND races there. Rows
are walked in pieces of 1, 2, 4, 8 … edges: the piece of size K serves the rows whose degree has bit
K set, and starts behind the row's smaller pieces. Each edge is gathered exactly once, nothing is
padded (so an infinity stays in its own row), and each piece is placed by a ScatterND on rows that
are all different. One-dimensional counting does use ScatterElements with a reduction, which ONNX
Runtime runs sequentially.
"""

from collections.abc import Mapping, Sequence

import onnx
import onnx.parser

DOMAIN = "graphstill"
OPSET = 18

# what the names of activations are in ONNX
ACTIVATIONS = {"none": "Identity", "relu": "Relu", "elu": "Elu"}

_CONSTANTS = """
    scalar_0 = Constant <value_int = 0> ()
    scalar_1 = Constant <value_int = 1> ()
    zeros = Constant <value_ints = [0]> ()
    ones = Constant <value_ints = [1]> ()
    minus_ones = Constant <value_ints = [-1]> ()
    twos = Constant <value_ints = [2]> ()
    far = Constant <value_ints = [9223372036854775807]> ()
    float_0 = Constant <value_floats = [0.0]> ()
    float_1 = Constant <value_floats = [1.0]> ()
    float_lowest = Constant <value_floats = [-3.4028234663852886e+38]> ()
"""

# the destination of each edge: how many rows end at or before its position
ROWS = """
    num_edges = Shape (col)
    one_more = Add (num_edges, ones)
    no_marks = Expand (zeros, one_more)
    ends = Slice (rowptr, ones, far, zeros)
    num_rows = Shape (ends)
    one_each_row = Expand (ones, num_rows)
    marks = ScatterElements <reduction = "add"> (no_marks, ends, one_each_row)
    row_and_end = CumSum (marks, scalar_0)
    row = Slice (row_and_end, zeros, minus_ones, zeros)
    col_64 = Cast <to = 7> (col)
"""

SEGMENTS = """
    start = Slice (rowptr, zeros, minus_ones, zeros)
    stop = Slice (rowptr, ones, far, zeros)
    degree = Sub (stop, start)
    num_nodes = Shape (degree)
    degree_or_0 = Concat <axis = 0> (degree, zeros)
    largest = ReduceMax <keepdims = 1> (degree_or_0)
    any_1d = LessOrEqual (ones, largest)
    any = Squeeze (any_1d)
"""


def pieces(carried: Mapping[str, tuple[str, str]], piece: Sequence[str]) -> str:
    """Return a Loop over piece sizes K = 1, 2, 4 … that folds rows into what it carries.

    Args:
        carried: Type and initial value of each accumulator, [N, …], by name.
        piece: Lines that compute `NAME_new` of each accumulator from its `NAME_old`, one value for
            each of the n rows that have a piece of this size, `rows` [n] and `rows_2d` [n, 1], and
            from `slot` [n, K], their edges.
    """
    names = list(carried)
    formal = ", ".join(f"{carried[n][0]} {n}_in" for n in names)
    results = ", ".join(f"{carried[n][0]} {n}_out" for n in names)
    taken = [f"{n}_old = Gather ({n}_in, rows)" for n in names]
    placed = [f"{n}_out = ScatterND ({n}_in, rows_2d, {n}_new)" for n in names]
    return f"""
    size_{names[0]}, {", ".join(names)} =
        Loop ("", any, ones, {", ".join(carried[n][1] for n in names)}) <
        body = piece (int64 step, bool go, int64[1] size, {formal})
            => (bool more, int64[1] next_size, {results}) {{
        pieces = Div (degree, size)
        bit = Mod (pieces, twos)
        has_piece = Cast <to = 9> (bit)
        rows_nz = NonZero (has_piece)
        rows = Squeeze (rows_nz, zeros)
        rows_2d = Unsqueeze (rows, ones)
        row_start = Gather (start, rows)
        smaller = Mod (degree, size)
        offset = Gather (smaller, rows)
        first = Add (row_start, offset)
        first_2d = Unsqueeze (first, ones)
        size_0d = Squeeze (size, zeros)
        lane = Range (scalar_0, size_0d, scalar_1)
        slot = Add (first_2d, lane)
        {chr(10).join([*taken, *piece, *placed])}
        next_size = Mul (size, twos)
        more_1d = LessOrEqual (next_size, largest)
        more = Squeeze (more_1d)
    }}>
    """


def scaled(out: str, value: str, scale: str) -> str:
    """Return lines that multiply each row of a value by a factor of its own."""
    return f"{out}_scale = Unsqueeze ({scale}, ones)\n{out} = Mul ({out}_scale, {value})"


def given(inputs: Sequence[str], index: int) -> bool:
    """Return whether a node has an optional input."""
    return index < len(inputs) and inputs[index] != ""


def overload(kind: str, **given: bool) -> str:
    """Return the name of the overload for a kind and the optional inputs that are given."""
    return "_".join([kind, *(name for name, there in given.items() if there)])


def text(value: object) -> str:
    """Return a string attribute."""
    return value.decode() if isinstance(value, bytes) else str(value)


def function(signature: str, lines: Sequence[str], overload: str = "") -> onnx.FunctionProto:
    """Parse a body: its signature and its lines, before which the constants are put."""
    header = f'<opset_import: ["" : {OPSET}], domain: "{DOMAIN}", overload: "{overload}">'
    body = "\n".join([_CONSTANTS, *lines])
    return onnx.parser.parse_function(f"{header}\n{signature} {{ {body} }}")
