"""The operators' function bodies: what they compute, in standard ONNX operators (opset 18).

An exported file carries the body of every operator it uses, so that any ONNX runtime can run it;
ONNX Runtime with the C++ library runs the library's kernel instead.

No body scatters with a reduction on features, because ONNX Runtime's ScatterND races there. Rows
are summed in pieces of 1, 2, 4, 8 … edges: the piece of size K serves the rows whose degree has bit
K set, and starts behind the row's smaller pieces. Each edge is gathered exactly once, nothing is
padded (so an infinity stays in its own row), and each piece is placed by a ScatterND on rows that
are all different. One-dimensional counting does use ScatterElements with a reduction, which ONNX
Runtime runs sequentially.

A body cannot ask whether an input is there, so every combination of optional inputs is an overload
of its own. The texts are in ONNX's own syntax.
"""

from collections.abc import Mapping, Sequence

import onnx
import onnx.parser

DOMAIN = "graphstill"
OPSET = 18

SPMM_INPUTS = (
    "rowptr",
    "col",
    "x",
    "weight",
    "src_scale",
    "dst_scale",
    "self_weight",
    "bias",
)


def body_for(node: onnx.NodeProto) -> onnx.FunctionProto:
    """Return the body of a node of our domain, as the overload for the inputs it has.

    Raises:
        KeyError: If the domain has no operator of that name.
    """
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return _BODIES[node.op_type](list(node.input), attributes)


def _csr(inputs: Sequence[str], attributes: Mapping[str, object]) -> onnx.FunctionProto:
    return _function(
        "csr (edge_index, num_src, num_dst) => (rowptr, col, perm)",
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
        """,
    )


def _gcn_norm(inputs: Sequence[str], attributes: Mapping[str, object]) -> onnx.FunctionProto:
    weighted, degrees_given = _given(inputs, 2), _given(inputs, 3)
    loops = bool(attributes["add_self_loops"])
    lines = [_ROWS, "num_nodes = Identity (num_rows)"]
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
    return _function(
        "gcn_norm <fill_value, add_self_loops> (rowptr, col, weight, in_degree)"
        " => (scale, self_weight)",
        "\n".join(lines),
        overload=_overload(
            "loops" if loops else "plain",
            weight=weighted,
            in_degree=degrees_given,
        ),
    )


def _spmm(inputs: Sequence[str], attributes: Mapping[str, object]) -> onnx.FunctionProto:
    given = {name: _given(inputs, i) for i, name in enumerate(SPMM_INPUTS)}
    reduce = _text(attributes["reduce"])
    lines = [_SEGMENTS, "width = Shape <start = 1> (x)"]
    lines.append(_scaled("u", "x", "src_scale") if given["src_scale"] else "u = Identity (x)")
    lines.append("shape = Concat <axis = 0> (num_nodes, width)")
    lines.append("nothing = Expand (float_0, shape)")
    piece = ["neighbour = Gather (col, slot)", "value = Gather (u, neighbour)"]
    if given["weight"]:
        piece += [
            "factor_2d = Gather (weight, slot)",
            "factor = Unsqueeze (factor_2d, ones)",
            "product = MatMul (factor, value)",
            "piece_sum = Squeeze (product, ones)",
        ]
    else:
        piece.append("piece_sum = ReduceSum <keepdims = 0> (value, ones)")
    lines.append(
        _pieces({"total": ("float[n,f]", "nothing")}, piece, {"total": ("Add", "piece_sum")})
    )
    if reduce == "mean":
        lines.append(
            """
            counted = Max (degree, ones)
            count = Cast <to = 1> (counted)
            count_2d = Unsqueeze (count, ones)
            edges = Div (total, count_2d)
            """
        )
    else:
        lines.append("edges = Identity (total)")
    last = "edges"
    if given["self_weight"]:
        lines += [_scaled("own", "u", "self_weight"), "with_own = Add (edges, own)"]
        last = "with_own"
    if given["dst_scale"]:
        lines.append(_scaled("scaled", last, "dst_scale"))
        last = "scaled"
    lines.append(f"out = Add ({last}, bias)" if given["bias"] else f"out = Identity ({last})")
    optional = {name: given[name] for name in SPMM_INPUTS[3:]}
    return _function(
        f"spmm <reduce> ({', '.join(SPMM_INPUTS)}) => (out)",
        "\n".join(lines),
        overload=_overload(reduce, **optional),
    )


def _gat(inputs: Sequence[str], attributes: Mapping[str, object]) -> onnx.FunctionProto:
    loops, biased = bool(attributes["add_self_loops"]), _given(inputs, 5)
    lines = [
        _ROWS,
        _SEGMENTS,
        """
        score_src = Gather (alpha_src, col)
        score_dst = Gather (alpha_dst, row)
        raw = Add (score_src, score_dst)
        leaky = LeakyRelu <alpha: float = @negative_slope> (raw)
        heads = Shape <start = 1> (alpha_src)
        width = Shape <start = 1> (x)
        num_src = Shape <end = 1> (x)
        channels = Div (width, heads)
        split_src = Concat <axis = 0> (num_src, heads, channels)
        features = Reshape <allowzero = 1> (x, split_src)
        per_head = Concat <axis = 0> (num_nodes, heads)
        per_channel = Concat <axis = 0> (num_nodes, heads, channels)
        joined = Concat <axis = 0> (num_nodes, width)
        lowest = Expand (float_lowest, per_head)
        """,
    ]
    if loops:
        lines.append(
            """
            is_loop = Equal (col_64, row)
            is_loop_2d = Unsqueeze (is_loop, ones)
            score = Where (is_loop_2d, float_lowest, leaky)
            own_raw = Add (alpha_src, alpha_dst)
            own_score = LeakyRelu <alpha: float = @negative_slope> (own_raw)
            """
        )
    else:
        lines += ["score = Identity (leaky)", "own_score = Identity (lowest)"]
    lines.append(
        _pieces(
            {"top": ("float[n,h]", "own_score")},
            ["value = Gather (score, slot)", "piece_top = ReduceMax <keepdims = 0> (value, ones)"],
            {"top": ("Max", "piece_top")},
        )
    )
    lines.append("top_of_edge = Gather (top, row)")
    lines.append("shifted = Sub (score, top_of_edge)")
    lines.append("exp = Exp (shifted)")
    if loops:
        lines.append(
            """
            own_shifted = Sub (own_score, top)
            own_exp = Exp (own_shifted)
            own_exp_3d = Unsqueeze (own_exp, minus_ones)
            own_sum = Mul (own_exp_3d, features)
            """
        )
    else:
        lines.append("own_exp = Expand (float_0, per_head)")
        lines.append("own_sum = Expand (float_0, per_channel)")
    lines.append(
        _pieces(
            {"norm": ("float[n,h]", "own_exp"), "total": ("float[n,h,c]", "own_sum")},
            [
                "p = Gather (exp, slot)",
                "piece_norm = ReduceSum <keepdims = 0> (p, ones)",
                "neighbour = Gather (col, slot)",
                "feature = Gather (features, neighbour)",
                "p_4d = Unsqueeze (p, minus_ones)",
                "weighted = Mul (p_4d, feature)",
                "piece_sum = ReduceSum <keepdims = 0> (weighted, ones)",
            ],
            {"norm": ("Add", "piece_norm"), "total": ("Add", "piece_sum")},
        )
    )
    lines.append(
        """
        attends_to_nothing = Equal (norm, float_0)
        safe = Where (attends_to_nothing, float_1, norm)
        safe_3d = Unsqueeze (safe, minus_ones)
        mean = Div (total, safe_3d)
        flat = Reshape <allowzero = 1> (mean, joined)
        """
    )
    lines.append("out = Add (flat, bias)" if biased else "out = Identity (flat)")
    return _function(
        "gat <negative_slope, add_self_loops>"
        " (rowptr, col, x, alpha_src, alpha_dst, bias) => (out)",
        "\n".join(lines),
        overload=_overload("loops" if loops else "plain", bias=biased),
    )


_BODIES = {"csr": _csr, "gcn_norm": _gcn_norm, "spmm": _spmm, "gat": _gat}

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
_ROWS = """
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

_SEGMENTS = """
    start = Slice (rowptr, zeros, minus_ones, zeros)
    stop = Slice (rowptr, ones, far, zeros)
    degree = Sub (stop, start)
    num_nodes = Shape (degree)
    degree_or_0 = Concat <axis = 0> (degree, zeros)
    largest = ReduceMax <keepdims = 1> (degree_or_0)
    any_1d = LessOrEqual (ones, largest)
    any = Squeeze (any_1d)
"""

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


def _pieces(
    carried: Mapping[str, tuple[str, str]],
    piece: Sequence[str],
    combine: Mapping[str, tuple[str, str]],
) -> str:
    """Return a Loop over piece sizes K = 1, 2, 4 … that folds rows into what it carries.

    Args:
        carried: Type and initial value of each accumulator, [N, …], by name.
        piece: Lines that compute from `slot` [n, K], the edges of the n rows that have a piece of
            this size, one value per row.
        combine: Operator and value that fold the piece into each accumulator.
    """
    names = list(carried)
    formal = ", ".join(f"{carried[n][0]} {n}_in" for n in names)
    results = ", ".join(f"{carried[n][0]} {n}_out" for n in names)
    folded = "\n".join(
        f"""
        {n}_old = Gather ({n}_in, rows)
        {n}_new = {combine[n][0]} ({n}_old, {combine[n][1]})
        {n}_out = ScatterND ({n}_in, rows_2d, {n}_new)
        """
        for n in names
    )
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
        {chr(10).join(piece)}
        {folded}
        next_size = Mul (size, twos)
        more_1d = LessOrEqual (next_size, largest)
        more = Squeeze (more_1d)
    }}>
    """


def _scaled(out: str, value: str, scale: str) -> str:
    return f"{out}_scale = Unsqueeze ({scale}, ones)\n{out} = Mul ({out}_scale, {value})"


def _given(inputs: Sequence[str], index: int) -> bool:
    return index < len(inputs) and inputs[index] != ""


def _overload(kind: str, **given: bool) -> str:
    return "_".join([kind, *(name for name, there in given.items() if there)])


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _function(signature: str, lines: str, overload: str = "") -> onnx.FunctionProto:
    header = f'<opset_import: ["" : {OPSET}], domain: "{DOMAIN}", overload: "{overload}">'
    return onnx.parser.parse_function(f"{header}\n{signature} {{ {_CONSTANTS} {lines} }}")
