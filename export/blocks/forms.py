"""Our operators on trees: what each computes from a node and the K slots of its in-neighbours.

Every form is dense over [n, K]. A slot stands for a number of in-edges, none where it is empty, and
for the node itself where the edge is a self loop. Sums count a slot as often as it stands for
edges; extrema and softmaxes only ask whether there is something in it. `kernels.reference` says
what the operators mean.
"""

from collections.abc import Callable, Sequence

from .hop import Hop

# what is added to a score that must not win; far below any score, far above -inf
_NEVER = 1e30


def spmm(hop: Hop) -> list[str]:
    """Sum or average: one product with a row of K factors, in which all scales are."""
    emit, edges = hop.emit, hop.counts(loops=not hop.replaces_loops)
    factor = edges
    if hop.has(3):
        factor = emit("Mul", factor, hop.edge(3))
    if hop.attribute("reduce") == "mean":
        number = emit("ReduceSum", edges, emit.ints(1), keepdims=1)
        factor = emit("Div", factor, emit("Max", number, emit.number(1)))
    if hop.has(4):
        factor = emit("Mul", factor, hop.children(4))
    own = _own_factors(hop)
    if hop.has(5):
        scale = emit.unsqueeze(hop.own(5), 1)
        factor = emit("Mul", factor, scale)
        own = [*own, scale] if hop.has(6) else []
    parts = [_row_times(hop, factor, hop.children(2))]
    if hop.has(6):
        parts.append(_product(hop, [*own, hop.own(2)]))
    parts += [hop.own(7)] if hop.has(7) else []
    return [emit.total(parts)]


def _own_factors(hop: Hop) -> list[str]:
    """Return what a node's own features are multiplied by, but for its scale as a destination."""
    if not hop.has(6):
        return []
    factors = [hop.own(4)] if hop.has(4) else []
    if hop.replaces_loops:
        factors += hop.loop_weight()
    else:
        factors.append(hop.own(6))
    return [hop.emit.unsqueeze(factor, 1) for factor in factors]


def _product(hop: Hop, factors: Sequence[str]) -> str:
    first, *rest = factors
    for factor in rest:
        first = hop.emit("Mul", first, factor)
    return first


def _row_times(hop: Hop, factor: str, features: str) -> str:
    """Return Σ_k factor[n, k] · features[n, k, F], [n, F]."""
    emit = hop.emit
    product = emit("MatMul", emit.unsqueeze(factor, 1), features)
    return emit("Squeeze", product, emit.ints(1))


def spmm_heads(hop: Hop) -> list[str]:
    """Sum or average with a weight for each head."""
    emit, edges = hop.emit, hop.counts()
    weight = emit("Mul", hop.edge(3), emit.unsqueeze(edges, 2))
    out = _sum_heads(hop, weight, hop.children(2), hop.width(3), hop.width(2))
    if hop.attribute("reduce") == "mean":
        number = emit("ReduceSum", edges, emit.ints(1), keepdims=1)
        out = emit("Div", out, emit("Max", number, emit.number(1)))
    return [out]


def _sum_heads(hop: Hop, weight: str, features: str, heads: int, width: int) -> str:
    """Return Σ_k weight[n, k, H] · features[n, k, H, C], heads side by side."""
    emit = hop.emit
    split = emit.reshape(features, -1, hop.fan_out, heads, width // heads)
    product = emit("Mul", emit.unsqueeze(weight, 3), split)
    return emit.reshape(emit("ReduceSum", product, emit.ints(1), keepdims=0), -1, width)


def extremum(hop: Hop) -> list[str]:
    """Take the largest or smallest feature; 0 where all slots are empty."""
    emit, mask = hop.emit, hop.mask()
    value, there = hop.children(2), emit.unsqueeze(mask, 2)
    if hop.has(3):
        value = emit("Mul", value, emit.unsqueeze(hop.edge(3), 2))
    sign = -1.0 if hop.attribute("reduce") == "min" else 1.0
    value = emit("Mul", value, there if sign > 0 else emit("Mul", there, emit.number(sign)))
    best = emit("ReduceMax", _without_empty(hop, value, there), emit.ints(1), keepdims=0)
    some = emit("ReduceMax", mask, emit.ints(1), keepdims=1)
    return [emit("Mul", best, some if sign > 0 else emit("Mul", some, emit.number(sign)))]


def _without_empty(hop: Hop, value: str, there: str) -> str:
    """Return a value that is hopelessly low where nothing is there."""
    emit = hop.emit
    lack = emit("Mul", emit("Sub", there, emit.number(1)), emit.number(_NEVER))
    return emit("Add", value, lack)


def gat(hop: Hop) -> list[str]:
    """Attend with scores of both ends."""
    emit = hop.emit
    heads = hop.width(3)

    def score(source: str, target: str) -> str:
        return emit("LeakyRelu", emit("Add", source, target), alpha=hop.slope)

    scores = score(hop.children(3), emit.unsqueeze(hop.own(4), 1))
    own = score(hop.own(3), hop.own(4)) if hop.adds_loops else None
    return [_with_bias(hop, 5, _attend(hop, scores, own, 2, heads))]


def gatv2(hop: Hop) -> list[str]:
    """Attend with scores of the sum of both ends."""
    emit = hop.emit
    heads, channels = hop.shape(4)

    def score(source: str, target: str, *rows: int) -> str:
        both = emit("LeakyRelu", emit("Add", source, target), alpha=hop.slope)
        split = emit.reshape(both, *rows, heads, channels)
        last = emit.ints(len(rows) + 1)
        return emit("ReduceSum", emit("Mul", split, hop.own(4)), last, keepdims=0)

    scores = score(hop.children(2), emit.unsqueeze(hop.own(3), 1), -1, hop.fan_out)
    own = score(hop.own(2), hop.own(3), -1) if hop.adds_loops else None
    return [_with_bias(hop, 5, _attend(hop, scores, own, 2, heads))]


def dot_attention(hop: Hop) -> list[str]:
    """Attend by dot products."""
    heads = int(hop.attribute("heads"))
    channels = hop.width(4) // heads
    scores = hop.emit("Mul", _dots(hop, heads, 2, 3), hop.emit.number(channels**-0.5))
    return [_attend(hop, scores, None, 4, heads)]


def sddmm(hop: Hop) -> list[str]:
    """Multiply both ends, head by head."""
    return [hop.as_edges(_dots(hop, int(hop.attribute("heads")), 2, 3))]


def _dots(hop: Hop, heads: int, target: int, source: int) -> str:
    """Return the products of a node with each of its slots, [n, K, H]."""
    emit, channels = hop.emit, hop.width(target) // heads
    mine = emit.reshape(hop.own(target), -1, 1, heads, channels)
    theirs = emit.reshape(hop.children(source), -1, hop.fan_out, heads, channels)
    return emit("ReduceSum", emit("Mul", mine, theirs), emit.ints(3), keepdims=0)


def edge_softmax(hop: Hop) -> list[str]:
    """Turn scores of slots, and of the node itself where there are some, into attention."""
    own = hop.own(2) if hop.has(2) else None
    attention, own = _softmax(hop, hop.edge(1), own, loops=True)
    return [hop.as_edges(attention), *([] if own is None else [own])]


def _softmax(hop: Hop, scores: str, own: str | None, *, loops: bool) -> tuple[str, str | None]:
    """Return the attention [n, K, H] of slots and [n, H] of nodes to themselves."""
    emit, count = hop.emit, hop.fan_out
    there = emit.unsqueeze(hop.mask(loops=loops), 2)
    scores = _without_empty(hop, scores, there)
    if own is None:  # where all are empty a softmax is even, and must be nothing
        return emit("Mul", emit("Softmax", scores, axis=1), there), None
    both = emit("Concat", scores, emit.unsqueeze(own, 1), axis=1)
    both = emit("Softmax", both, axis=1)
    mine = emit("Squeeze", emit.sliced(both, 1, count, count + 1), emit.ints(1))
    return emit.sliced(both, 1, 0, count), mine


def _attend(hop: Hop, scores: str, own: str | None, features: int, heads: int) -> str:
    """Return the sum of features that a softmax of scores weights; own scores replace loops."""
    emit, width = hop.emit, hop.width(features)
    attention, mine = _softmax(hop, scores, own, loops=own is None)
    out = _sum_heads(hop, attention, hop.children(features), heads, width)
    if mine is None:
        return out
    split = emit.reshape(hop.own(features), -1, heads, width // heads)
    product = emit("Mul", emit.unsqueeze(mine, 2), split)
    return emit("Add", out, emit.reshape(product, -1, width))


def _with_bias(hop: Hop, index: int, value: str) -> str:
    return hop.emit("Add", value, hop.own(index)) if hop.has(index) else value


def gcn_norm(hop: Hop) -> list[str]:
    """Turn whole-graph degrees into scales; what a node's own loop weighs, `spmm` asks itself."""
    emit, degree = hop.emit, hop.degrees()
    power = emit("Pow", emit("Max", degree, emit.number(1e-30)), emit.number(-0.5))
    if hop.adds_loops and not hop.has(2):  # then no degree is 0
        return [power]
    some = emit("Clip", emit("Mul", degree, emit.number(1e30)), *hop.unit_interval())
    return [emit("Mul", power, some)]


FORMS: dict[str, Callable[[Hop], list[str]]] = {
    form.__name__: form
    for form in (
        dot_attention,
        edge_softmax,
        extremum,
        gat,
        gatv2,
        gcn_norm,
        sddmm,
        spmm,
        spmm_heads,
    )
}
