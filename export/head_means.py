"""Attention whose heads are averaged, as one node: nothing as wide as all heads is ever written.

A layer without `concat` writes the answers of its heads side by side, [N, H · C], splits them and
takes their mean. `gat_mean`, `gatv2_mean` and `dot_attention_mean` write the mean alone, [N, C].
"""

import onnx

from .passes import module_of, ours, value_infos
from .values import Values, given, setting

_BIAS = 5  # of gat and gatv2


def fuse_head_means(model: onnx.ModelProto) -> list[str]:
    """Fuse attention and the mean of its heads, in place; return in which modules."""
    values, shapes = Values(model), _shapes(model)
    done = list[str]()
    for node in ours(model, "gat", "gatv2", "dot_attention"):
        heads = _heads(node, shapes)
        split = values.only_reader(node.output[0])
        mean = values.only_reader(split.output[0]) if split is not None else None
        if split is None or mean is None or given(node, _BIAS):
            continue
        if _splits(split, shapes, heads) and _is_mean_over_heads(values, mean):
            node.op_type += "_mean"
            node.output[0] = mean.output[0]
            gone = [split, mean, _take_bias(values, node, shapes[split.output[0]][2])]
            for other in filter(None, gone):
                model.graph.node.remove(other)
            done.append(module_of(node))
    return done


def _heads(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> int:
    if node.op_type == "dot_attention":
        return int(setting(node, "heads", 0))
    of_each_head = {"gat": (3, -1), "gatv2": (4, 0)}  # scores [N, H], weights [H, C]
    index, axis = of_each_head[node.op_type]
    return shapes.get(node.input[index], [0])[axis]


def _splits(node: onnx.NodeProto, shapes: dict[str, list[int]], heads: int) -> bool:
    """Return whether a node turns [N, H · C] into [N, H, C]."""
    before, after = (shapes.get(name, []) for name in (node.input[0], node.output[0]))
    known = node.op_type == "Reshape" and len(before) == 2 and len(after) == 3
    return known and 0 < after[1] == heads and before[1] == heads * after[2]


def _is_mean_over_heads(values: Values, node: onnx.NodeProto) -> bool:
    if node.op_type != "ReduceMean" or setting(node, "keepdims", 1) or not given(node, 1):
        return False
    return values.is_constant(node.input[1]) and values.array(node.input[1]).tolist() == [1]


def _take_bias(values: Values, node: onnx.NodeProto, channels: int) -> onnx.NodeProto | None:
    """Let a node add the weight [C] that is added to its answers; return what added it before."""
    add = values.only_reader(node.output[0])
    if node.op_type == "dot_attention_mean" or add is None or add.op_type != "Add":
        return None
    bias = add.input[1] if add.input[0] == node.output[0] else add.input[0]
    if bias not in values.constants or list(values.constants[bias].dims) != [channels]:
        return None
    node.input.extend([""] * (_BIAS + 1 - len(node.input)))
    node.input[_BIAS] = bias
    node.output[0] = add.output[0]
    return add


def _shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    """Return the sizes of values, 0 where one is not a number."""
    sizes = {
        v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in value_infos(model)
    }
    return sizes | {t.name: list(t.dims) for t in model.graph.initializer}
