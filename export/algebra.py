"""The same numbers with less work: choices that are made at export, and what was chosen.

* a BatchNorm in evaluation is a scale and a shift per channel, which the weights before it take in,
  through sums over neighbours too: (S X W + b) · s + t = S X (W · s) + (b · s + t);
* two linear layers with nothing between them are one, where that has no more to multiply;
* a sum over neighbours and a linear layer may change places, S (X W) = (S X) W. On a whole graph
  the layers choose by width; where every neighbour has a slot of its own (`blocks`), the sum comes
  first, and the product is with a K-th of the rows.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from .bodies import DOMAIN
from .passes import module_of, value_infos
from .values import Array, Values, given, put, reads, setting

Choices = dict[str, list[str]]

SUMMED_FIRST = "neighbours summed before the linear layer"

_NORM = "BatchNormalization"
_BIAS = 7  # of spmm


def choose(
    model: onnx.ModelProto, norms: Sequence[str], *, folding: bool, summing_first: bool
) -> Choices:
    """Make all choices, in place, and return what was chosen in which module.

    Args:
        model: The model, its aggregations as nodes of our domain.
        norms: The modules that are BatchNorms; torch folds some of them itself.
        folding: Whether to fold BatchNorms and merge linear layers.
        summing_first: Whether neighbours are summed before linear layers whatever the widths.
    """
    done = [fold(model)] if folding else []
    if summing_first:
        done.append(sum_first(model))
        done += [fold(model)] if folding else []  # what meets only now
    return merged(*done, chosen(model, norms))


def fold(model: onnx.ModelProto) -> Choices:
    """Fold BatchNorms into weights and merge linear layers, in place; return which were merged."""
    _fold_norms(model)
    return {"linear layers merged": _merge_linears(model)}


def sum_first(model: onnx.ModelProto) -> Choices:
    """Put sums over neighbours before linear layers, in place; return where."""
    done = list[str]()
    while True:
        values = Values(model)
        pair = next((p for node in model.graph.node if (p := _swappable(values, node))), None)
        if pair is None:
            return {SUMMED_FIRST: list(dict.fromkeys(done))}
        _swap(model, values, *pair)
        done.append(module_of(pair[1]))


def chosen(model: onnx.ModelProto, norms: Sequence[str] = ()) -> Choices:
    """Return what layers chose by their widths, how they normalise, and which norms are folded."""
    values = Values(model)
    left = {module_of(node) for node in model.graph.node if node.op_type == _NORM}
    found: Choices = {
        "BatchNorm folded into weights": [name for name in norms if name not in left],
        "linear layer before neighbours are summed": [],
        SUMMED_FIRST: [],
        "normalisation as scales of nodes": [],
    }
    _, linear, summed, scaled = found.values()
    for node in (n for n in model.graph.node if n.domain == DOMAIN and n.op_type == "spmm"):
        if values.is_linear(values.makers.get(node.input[2])):
            linear.append(module_of(node))
        elif any(values.is_linear(reader) for reader in values.read_by(node.output[0])):
            summed.append(module_of(node))
        norm = values.makers.get(node.input[4]) if len(node.input) > 4 else None
        if norm is not None and norm.op_type == "gcn_norm":
            scaled.append(module_of(node))
    return found


def merged(*all_choices: Mapping[str, list[str]]) -> Choices:
    """Return choices as one, each module once, without what was done nowhere."""
    names = dict.fromkeys(name for choices in all_choices for name in choices)
    together = {n: [m for c in all_choices for m in c.get(n, [])] for n in names}
    return {name: list(dict.fromkeys(modules)) for name, modules in together.items() if modules}


def _swappable(
    values: Values, node: onnx.NodeProto
) -> tuple[onnx.NodeProto, onnx.NodeProto] | None:
    """Return a linear layer and the sum of its answers, if nothing else reads those."""
    graph = values.makers.get(node.input[0]) if node.input else None
    if node.domain != DOMAIN or node.op_type != "spmm" or graph is None:
        return None
    if graph.op_type != "csr":  # pairs of R-GCN, which `blocks` looks for as they are
        return None
    linear = values.makers.get(node.input[2])
    if linear is None or not values.is_linear(linear) or given(linear, 2):
        return None
    if values.readers[node.input[2]] > 1:
        return None
    return linear, node


def _scalable(values: Values, name: str) -> bool:
    """Return whether all channels of a value can be scaled by changing constants."""
    node = values.makers.get(name)
    if node is None:
        return name in values.constants
    if values.readers[name] > 1:
        return False
    if values.is_linear(node):
        return not given(node, 2) or _scalable(values, node.input[2])
    if node.op_type == "Add":
        return all(_scalable(values, n) for n in node.input)
    if node.domain == DOMAIN and node.op_type == "spmm":
        return node.input[2] in values.makers and _scalable(values, node.input[2])
    return False


def _scale(
    values: Values, node: onnx.NodeProto, index: int, scale: Array, shift: Array | None
) -> None:
    """Scale the channels of a node's input, and shift them if a shift is given."""
    name = node.input[index]
    maker = values.makers.get(name)
    if maker is None:
        value = values.array(name) * scale + (0.0 if shift is None else shift)
        node.input[index] = values.add(value, name, "folded")
    elif maker.op_type == "Add":
        on_second = maker.input[1] in values.constants
        _scale(values, maker, 0, scale, None if on_second else shift)
        _scale(values, maker, 1, scale, shift if on_second else None)
    elif maker.op_type == "Gemm":
        weight = values.add(values.weight(maker) * scale, maker.input[1], "folded")
        maker.input[1] = weight
        put(maker, alpha=1.0, transB=0)
        beta = setting(maker, "beta", 1.0)
        _scale_bias(values, maker, 2, scale, None if shift is None else shift / beta)
    else:
        _scale(values, maker, 2, scale, None)
        _scale_bias(values, maker, _BIAS, scale, shift)


def _scale_bias(
    values: Values, node: onnx.NodeProto, index: int, scale: Array, shift: Array | None
) -> None:
    if given(node, index):
        _scale(values, node, index, scale, shift)
    elif shift is not None:
        node.input.extend([""] * (index + 1 - len(node.input)))
        node.input[index] = values.add(shift, "", "folded")


def _fold_norms(model: onnx.ModelProto) -> None:
    for node in [n for n in model.graph.node if n.op_type == _NORM]:
        values = Values(model)
        name, *parameters = node.input
        known = name in values.makers and all(p in values.constants for p in parameters)
        if not known or setting(node, "training_mode", 0) or not _scalable(values, name):
            continue
        weight, bias, mean, variance = (values.array(p).astype(np.float64) for p in parameters)
        scale = weight / np.sqrt(variance + setting(node, "epsilon", 1e-5))
        _scale(values, node, 0, scale, bias - mean * scale)
        maker = values.makers[name]
        maker.output[list(maker.output).index(name)] = node.output[0]
        model.graph.node.remove(node)
    _drop_unread(model)


def _merge_linears(model: onnx.ModelProto) -> list[str]:
    done = list[str]()
    for second in list(model.graph.node):
        values = Values(model)
        first = values.makers.get(second.input[0]) if second.input else None
        if first is None or not values.is_linear(first) or not values.multiplies(second):
            continue
        a, b = values.weight(first), values.weight(second)
        shared = values.readers[second.input[0]] > 1
        saved = b.size - a.shape[0] * b.shape[1] + (0 if shared else a.size)
        bias = _merged_bias(values, first, second, b)
        if saved < shared or bias is None:
            continue
        second.op_type = "Gemm"
        second.input[0] = first.input[0]
        second.input[1] = values.add(a @ b, second.input[1], "merged")
        put(second, alpha=1.0, transB=0)
        if bias.size:
            del second.input[2:]
            second.input.append(values.add(bias, "bias", "merged"))
            put(second, beta=1.0)
        if not shared:
            model.graph.node.remove(first)
        done.append(f"{module_of(first)} and {module_of(second)}")
    _drop_unread(model)
    return done


def _merged_bias(
    values: Values, first: onnx.NodeProto, second: onnx.NodeProto, weight: Array
) -> Array | None:
    """Return the bias of two layers as one, empty to keep the second's, None if there is none."""
    own = second.input[2] if given(second, 2) else ""
    if not given(first, 2):
        return np.zeros(0)
    if first.input[2] not in values.constants or (own and own not in values.constants):
        return None
    bias = setting(first, "beta", 1.0) * values.array(first.input[2]).astype(np.float64) @ weight
    return bias + (setting(second, "beta", 1.0) * values.array(own) if own else 0.0)


def _swap(
    model: onnx.ModelProto, values: Values, linear: onnx.NodeProto, total: onnx.NodeProto
) -> None:
    """Let a linear layer read the sum that has read it."""
    between, rows = linear.output[0], linear.input[0]
    shape = next(v.type.tensor_type for v in value_infos(model) if v.name == rows)
    linear.output[0], total.output[0] = total.output[0], between
    total.input[2], linear.input[0] = rows, between
    if given(total, _BIAS):
        del linear.input[2:]
        linear.input.append(total.input[_BIAS])
        put(linear, beta=1.0)
        total.input[_BIAS] = ""
    info = next(v for v in model.graph.value_info if v.name == between)
    info.type.tensor_type.CopyFrom(shape)
    nodes = list(model.graph.node)
    moved = onnx.NodeProto()
    moved.CopyFrom(linear)
    model.graph.node.insert(nodes.index(total) + 1, moved)
    model.graph.node.remove(linear)


def _drop_unread(model: onnx.ModelProto) -> None:
    """Drop weights that nothing reads any more, and what transposed them."""
    read = {value.name for value in (*model.graph.output, *model.graph.input)}
    for node in reversed(list(model.graph.node)):
        if node.op_type == "Transpose" and read.isdisjoint(node.output):
            model.graph.node.remove(node)
        else:
            read |= set(reads(node))
    for tensor in [t for t in model.graph.initializer if t.name not in read]:
        model.graph.initializer.remove(tensor)
