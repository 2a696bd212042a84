"""Bodies of `gat`, `gatv2` and `dot_attention`: one softmax and sum, over scores of each kind.

Each may answer with the mean over its heads (`gat_mean`, `gatv2_mean`, `dot_attention_mean`);
`gat_update` sums rows that all heads share, and multiplies the sums by the weights of its heads;
`gatv2_update` multiplies both ends itself.

A row's softmax is rescaled when a piece of its edges brings a larger score (Milakov and Gimelshein,
2018), so that edges are gathered once and scores of any size are safe. With self loops a row starts
from itself, and loops among its edges are given no weight.
"""

from collections.abc import Mapping, Sequence

import onnx

from .text import ACTIVATIONS, SEGMENTS, function, given, overload, pieces, text

GAT_UPDATE_INPUTS: tuple[str, ...] = (
    "rowptr",
    "col",
    "x",
    "alpha_src",
    "alpha_dst",
    "linear_weight",
    "bias",
)
GATV2_UPDATE_INPUTS: tuple[str, ...] = (
    "rowptr",
    "col",
    "x",
    "x_dst",
    "weight_l",
    "weight_r",
    "att",
    "bias_l",
    "bias_r",
    "bias",
)


def gat(
    inputs: Sequence[str], attributes: Mapping[str, object], mean: bool = False
) -> onnx.FunctionProto:
    """Score by LeakyReLU(alpha_src[j] + alpha_dst[i])."""
    loops, biased = bool(attributes["add_self_loops"]), given(inputs, 5)
    lines = ["heads = Shape <start = 1> (alpha_src)", _split("x")]
    return function(
        f"{_named('gat', mean)} <negative_slope, add_self_loops>"
        " (rowptr, col, x, alpha_src, alpha_dst, bias) => (out)",
        [*lines, *_attend_to_ends(loops), *_join(biased, mean)],
        overload("loops" if loops else "plain", bias=biased),
    )


def gat_update(inputs: Sequence[str], attributes: Mapping[str, object]) -> onnx.FunctionProto:
    """Score as GAT does, multiply each head's sum by its weight, average and activate."""
    loops, turned = bool(attributes["add_self_loops"]), bool(attributes["trans_weight"])
    activation, biased = text(attributes["activation"]), given(inputs, 6)
    split, perm = (
        ("heads, minus_ones, width", "0, 2, 1")
        if turned
        else ("width, heads, minus_ones", "1, 0, 2")
    )
    lines = [
        SEGMENTS,
        f"""
        heads = Shape <start = 1> (alpha_src)
        width = Shape <start = 1> (x)
        features = Unsqueeze (x, ones)
        per_head = Concat <axis = 0> (num_nodes, heads)
        per_channel = Concat <axis = 0> (num_nodes, heads, width)
        of_heads = Concat <axis = 0> ({split})
        weights = Reshape (linear_weight, of_heads)
        weights_by_head = Transpose <perm = [{perm}]> (weights)
        sums_width = Mul (heads, width)
        stacked_shape = Concat <axis = 0> (sums_width, minus_ones)
        stacked = Reshape (weights_by_head, stacked_shape)
        joined = Concat <axis = 0> (num_nodes, sums_width)
        number = Cast <to = 1> (heads)
        """,
        *_attend_to_ends(loops),
        """
        sums = Reshape <allowzero = 1> (attended, joined)
        product = MatMul (sums, stacked)
        averaged = Div (product, number)
        """,
        f"added = {'Add (averaged, bias)' if biased else 'Identity (averaged)'}",
        f"out = {ACTIVATIONS[activation]} (added)",
    ]
    return function(
        f"gat_update <{', '.join(sorted(attributes))}> ({', '.join(GAT_UPDATE_INPUTS)}) => (out)",
        lines,
        overload(f"{'loops' if loops else 'plain'}_{activation}", turned=turned, bias=biased),
    )


def gatv2(
    inputs: Sequence[str], attributes: Mapping[str, object], mean: bool = False
) -> onnx.FunctionProto:
    """Score by att · LeakyReLU(x_l[j] + x_r[i])."""
    loops, biased = bool(attributes["add_self_loops"]), given(inputs, 5)
    return function(
        f"{_named('gatv2', mean)} <negative_slope, add_self_loops>"
        " (rowptr, col, x_l, x_r, att, bias) => (out)",
        [*_attend_to_products(loops), *_join(biased, mean)],
        overload("loops" if loops else "plain", bias=biased),
    )


def gatv2_update(inputs: Sequence[str], attributes: Mapping[str, object]) -> onnx.FunctionProto:
    """Multiply both ends, score as GATv2 does, average heads if asked, and activate."""
    loops, mean = bool(attributes["add_self_loops"]), bool(attributes["mean_heads"])
    turned = {side: bool(attributes[f"trans_{side}"]) for side in "lr"}
    biased = {name: given(inputs, GATV2_UPDATE_INPUTS.index(name)) for name in _BIASES}
    activation = text(attributes["activation"])
    lines = [
        *_product("x", "l", turned["l"], biased["bias_l"]),
        *_product("x_dst", "r", turned["r"], biased["bias_r"]),
        *_attend_to_products(loops),
        *_join(biased["bias"], mean, "added"),
        f"out = {ACTIVATIONS[activation]} (added)",
    ]
    kind = f"{'loops' if loops else 'plain'}_{'mean' if mean else 'every'}_{activation}"
    return function(
        f"gatv2_update <{', '.join(sorted(attributes))}>"
        f" ({', '.join(GATV2_UPDATE_INPUTS)}) => (out)",
        lines,
        overload(kind, turned_l=turned["l"], turned_r=turned["r"], **biased),
    )


_BIASES = ("bias_l", "bias_r", "bias")


def _product(x: str, side: str, turned: bool, biased: bool) -> list[str]:
    """Return lines that multiply one end by its weight: `x_l` or `x_r`."""
    weight, product = f"weight_{side}", f"product_{side}"
    return [
        f"in_first_{side} = {'Transpose <perm = [1, 0]>' if turned else 'Identity'} ({weight})",
        f"{product} = MatMul ({x}, in_first_{side})",
        f"x_{side} = {f'Add ({product}, bias_{side})' if biased else f'Identity ({product})'}",
    ]


def _attend_to_products(loops: bool) -> list[str]:
    """Return lines that attend by GATv2's scores of `x_l` and `x_r`."""
    lines = [
        "heads = Shape <end = 1> (att)",
        _split("x_l"),
        "targets = Reshape <allowzero = 1> (x_r, per_channel)",
    ]
    if loops:
        lines.append("own_ends = Add (features, targets)")
        lines.append(_scored("own_ends", "own_score"))
    score = [
        "feature = Gather (features, neighbour)",
        "target_3d = Gather (targets, rows)",
        "target = Unsqueeze (target_3d, ones)",
        "ends = Add (feature, target)",
        _scored("ends", "score"),
    ]
    return [*lines, *_attend(score, loops)]


def dot_attention(
    inputs: Sequence[str], attributes: Mapping[str, object], mean: bool = False
) -> onnx.FunctionProto:
    """Score by query[i] · key[j] / √C."""
    lines = [
        "heads_0d = Constant <value_int: int = @heads> ()",
        "heads = Reshape (heads_0d, ones)",
        _split("value"),
        """
        keys = Reshape <allowzero = 1> (key, split_src)
        plain_queries = Reshape <allowzero = 1> (query, per_channel)
        size = Cast <to = 1> (channels)
        root = Sqrt (size)
        queries = Div (plain_queries, root)
        """,
    ]
    score = [
        "feature = Gather (features, neighbour)",
        "key_4d = Gather (keys, neighbour)",
        "query_3d = Gather (queries, rows)",
        "query_4d = Unsqueeze (query_3d, ones)",
        "product = Mul (key_4d, query_4d)",
        "score = ReduceSum <keepdims = 0> (product, minus_ones)",
    ]
    return function(
        f"{_named('dot_attention', mean)} <heads> (rowptr, col, query, key, value) => (out)",
        [*lines, *_attend(score, loops=False), *_join(biased=False, mean=mean)],
    )


def _named(operator: str, mean: bool) -> str:
    return f"{operator}_mean" if mean else operator


def _split(x: str) -> str:
    """Return lines that split the sources' features [M, H · C] into `features` [M, H, C]."""
    return f"""
    {SEGMENTS}
    width = Shape <start = 1> ({x})
    num_src = Shape <end = 1> ({x})
    channels = Div (width, heads)
    split_src = Concat <axis = 0> (num_src, heads, channels)
    features = Reshape <allowzero = 1> ({x}, split_src)
    per_head = Concat <axis = 0> (num_nodes, heads)
    per_channel = Concat <axis = 0> (num_nodes, heads, channels)
    joined = Concat <axis = 0> (num_nodes, width)
    """


def _scored(ends: str, out: str) -> str:
    """Return lines that compute GATv2's score from the sum of both ends, […, H, C]."""
    return f"""
    {out}_leaky = LeakyRelu <alpha: float = @negative_slope> ({ends})
    {out}_product = Mul ({out}_leaky, att)
    {out} = ReduceSum <keepdims = 0> ({out}_product, minus_ones)
    """


def _attend_to_ends(loops: bool) -> list[str]:
    """Return lines that attend by the sum of both ends' scores, `alpha_src` and `alpha_dst`."""
    own = [
        "own_sum = Add (alpha_src, alpha_dst)",
        "own_score = LeakyRelu <alpha: float = @negative_slope> (own_sum)",
    ]
    score = [
        "feature = Gather (features, neighbour)",
        "source = Gather (alpha_src, neighbour)",
        "target_2d = Gather (alpha_dst, rows)",
        "target = Unsqueeze (target_2d, ones)",
        "ends = Add (source, target)",
        "score = LeakyRelu <alpha: float = @negative_slope> (ends)",
    ]
    return [*(own if loops else []), *_attend(score, loops)]


def _join(biased: bool, mean: bool, out: str = "out") -> list[str]:
    """Return lines that average heads, or lay them side by side, and add a bias if there is one."""
    side_by_side = "flat = Reshape <allowzero = 1> (attended, joined)"
    return [
        "flat = ReduceMean <keepdims = 0> (attended, ones)" if mean else side_by_side,
        f"{out} = {'Add (flat, bias)' if biased else 'Identity (flat)'}",
    ]


def _attend(score: Sequence[str], loops: bool) -> list[str]:
    """Return lines that sum `features`, weighted by a softmax of scores: `attended` [N, H, C].

    Args:
        score: Lines that compute `feature` [n, K, H, C], or [n, K, 1, C] where heads share it, and
            `score` [n, K, H] of a piece from `neighbour` [n, K] and `rows` [n].
        loops: Whether rows start from themselves, by their `own_score` [N, H].
    """
    if loops:
        begin = """
        own_shifted = Sub (own_score, own_score)
        first_norm = Exp (own_shifted)
        first_top = Identity (own_score)
        first_total = Expand (features, per_channel)
        """
        masked = [
            "neighbour_64 = Cast <to = 7> (neighbour)",
            "is_loop_2d = Equal (neighbour_64, rows_2d)",
            "is_loop = Unsqueeze (is_loop_2d, minus_ones)",
            "kept = Where (is_loop, float_lowest, score)",
        ]
    else:
        begin = """
        first_norm = Expand (float_0, per_head)
        first_top = Expand (float_lowest, per_head)
        first_total = Expand (float_0, per_channel)
        """
        masked = ["kept = Identity (score)"]
    carried = {
        "top": ("float[n,h]", "first_top"),
        "norm": ("float[n,h]", "first_norm"),
        "total": ("float[n,h,c]", "first_total"),
    }
    lines = [begin, pieces(carried, ["neighbour = Gather (col, slot)", *score, *masked, _SOFTEN])]
    lines.append(
        """
        attends_to_nothing = Equal (norm, float_0)
        safe = Where (attends_to_nothing, float_1, norm)
        safe_3d = Unsqueeze (safe, minus_ones)
        attended = Div (total, safe_3d)
        """
    )
    return lines


_SOFTEN = """
    piece_top = ReduceMax <keepdims = 0> (kept, ones)
    top_new = Max (top_old, piece_top)
    grown = Sub (top_old, top_new)
    shrink = Exp (grown)
    top_3d = Unsqueeze (top_new, ones)
    shifted = Sub (kept, top_3d)
    p = Exp (shifted)
    piece_norm = ReduceSum <keepdims = 0> (p, ones)
    norm_before = Mul (norm_old, shrink)
    norm_new = Add (norm_before, piece_norm)
    p_4d = Unsqueeze (p, minus_ones)
    weighted = Mul (p_4d, feature)
    piece_sum = ReduceSum <keepdims = 0> (weighted, ones)
    shrink_3d = Unsqueeze (shrink, minus_ones)
    total_before = Mul (total_old, shrink_3d)
    total_new = Add (total_before, piece_sum)
"""
