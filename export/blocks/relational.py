"""R-GCN on trees: a sum for each relation over the slots it leads to, transformed and added up.

The model over all nodes sorts edges into pairs of a relation and a destination, averages each pair,
splits the pairs by relation, multiplies each part by its relation's matrix, joins the parts and
sums them by destination. On trees there is no sorting: with t the relation of a slot,

    out = Σ_r (Σ_k [t_k = r] · count_k · x_k / Σ_k [t_k = r] · count_k) · W_r
"""

from typing import TYPE_CHECKING

import onnx

from ..errors import ExportError
from ..passes import module_of
from .hop import Hop

if TYPE_CHECKING:
    from .levels import Levels


def sum_of_relations(levels: "Levels", node: onnx.NodeProto, level: int) -> str:
    """Return what a sum over pairs of relation and destination is for the nodes of a level."""
    joined = levels.maker_or_none(node.input[2])
    split = _split_behind(levels, joined)
    pairs = levels.maker_or_none(split.input[0]) if split is not None else None
    plan = levels.maker_or_none(pairs.input[0]) if pairs is not None else None
    if joined is None or split is None or pairs is None or plan is None:
        raise ExportError(f"{module_of(node)}: its relations are combined in no known way")
    relations = len(split.output)
    averages = _averages(Hop(levels, pairs, level), levels.value(plan.input[2], level), relations)
    for name, average in zip(split.output, averages, strict=True):
        levels.given(name, level, average)
    parts = [levels.value(name, level) for name in joined.input]
    bias = [levels.value(node.input[7], level)] if len(node.input) > 7 and node.input[7] else []
    return levels.emit.total([*parts, *bias])


def _split_behind(levels: "Levels", joined: onnx.NodeProto | None) -> onnx.NodeProto | None:
    """Return the Split whose parts were transformed and joined."""
    node = joined if joined is not None and joined.op_type == "Concat" else None
    while node is not None and node.op_type != "Split":
        node = levels.maker_or_none(node.input[0])
    return node


def _averages(hop: Hop, relation: str, relations: int) -> list[str]:
    """Return the average or sum of what each relation leads to, [n, F] each."""
    emit, counts = hop.emit, hop.counts()
    number = emit("Cast", emit.reshape(relation, -1, 1, hop.fan_out), to=onnx.TensorProto.FLOAT)
    ids = emit.column(range(relations))
    far = emit("Abs", emit("Sub", number, ids))  # [n, R, K], whole numbers
    mine = emit("Sub", emit.number(1), emit("Clip", far, *hop.unit_interval()))
    factor = emit("Mul", mine, emit.unsqueeze(counts, 1))
    if hop.attribute("reduce") == "mean":
        total = emit("ReduceSum", factor, emit.ints(2), keepdims=1)
        factor = emit("Div", factor, emit("Max", total, emit.number(1)))
    sums = emit("MatMul", factor, hop.children(2))
    return [emit("Squeeze", emit.sliced(sums, 1, r, r + 1), emit.ints(1)) for r in range(relations)]
