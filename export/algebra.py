"""The same numbers with less work: choices that are made at export, and what was chosen.

* a BatchNorm in evaluation is a scale and a shift per channel, which the weights before it take in,
  through sums over neighbours too: (S X W + b) · s + t = S X (W · s) + (b · s + t);
* two linear layers with nothing between them are one, where that has no more to multiply;
* a sum over neighbours and a linear layer may change places, S (X W) = (S X) W. On a whole graph
  the layers choose by width; where every neighbour has a slot of its own (`blocks`), the sum comes
  first, and the product is with a K-th of the rows.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from .bodies import DOMAIN
from .passes import module_of, value_infos

Array = NDArray[Any]
Choices = dict[str, list[str]]

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
    return _merged(*done, chosen(model, norms))


def fold(model: onnx.ModelProto) -> Choices:
    """Fold BatchNorms into weights and merge linear layers, in place; return which were merged."""
    _fold_norms(model)
    return {"linear layers merged": _merge_linears(model)}


def sum_first(model: onnx.ModelProto) -> Choices:
    """Put sums over neighbours before linear layers, in place; return where."""
    done = list[str]()
    while True:
        values = _Values(model)
        pair = next((p for node in model.graph.node if (p := values.swappable(node))), None)
        if pair is None:
            return {"neighbours summed before the linear layer": list(dict.fromkeys(done))}
        _swap(model, values, *pair)
        done.append(module_of(pair[1]))


def chosen(model: onnx.ModelProto, norms: Sequence[str] = ()) -> Choices:
    """Return what layers chose by their widths, how they normalise, and which norms are folded."""
    values = _Values(model)
    left = {module_of(node) for node in model.graph.node if node.op_type == _NORM}
    found: Choices = {
        "BatchNorm folded into weights": [name for name in norms if name not in left],
        "linear layer before neighbours are summed": [],
        "neighbours summed before the linear layer": [],
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


def _merged(*all_choices: Mapping[str, list[str]]) -> Choices:
    """Return choices as one, each module once, without what was done nowhere."""
    names = dict.fromkeys(name for choices in all_choices for name in choices)
    together = {n: [m for c in all_choices for m in c.get(n, [])] for n in names}
    return {name: list(dict.fromkeys(modules)) for name, modules in together.items() if modules}


class _Values:
    """Who makes and reads a value, and what is constant; and changes to constants."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.makers = {name: node for node in model.graph.node for name in node.output if name}
        outputs = [value.name for value in model.graph.output]
        self.readers = Counter([*outputs, *(n for node in model.graph.node for n in _reads(node))])
        taken = {value.name for value in model.graph.input}
        self.constants = {t.name: t for t in model.graph.initializer if t.name not in taken}

    def is_constant(self, name: str) -> bool:
        """Return whether a value is a weight, or one that is transposed in every call."""
        node = self.makers.get(name)
        if node is not None and node.op_type == "Transpose":
            return self.is_constant(node.input[0])
        return name in self.constants

    def array(self, name: str) -> Array:
        """Return a constant."""
        node = self.makers.get(name)
        if node is None:
            return numpy_helper.to_array(self.constants[name])
        turned = [tuple(a.ints) for a in node.attribute if a.name == "perm"]
        return np.transpose(self.array(node.input[0]), *turned)

    def add(self, value: Array, old: str, what: str) -> str:
        """Add a constant that an old one became, and return its name."""
        node = self.makers.get(old)
        old = old if node is None else node.input[0]
        label, number = f"{old or 'constant'}.{what}", 1
        while label in self.constants:
            number += 1
            label = f"{old or 'constant'}.{what}{number}"
        tensor = numpy_helper.from_array(np.ascontiguousarray(value, np.float32), label)
        self.model.graph.initializer.append(tensor)
        self.constants[label] = tensor
        return label

    def read_by(self, name: str) -> list[onnx.NodeProto]:
        """Return the nodes that read a value."""
        return [node for node in self.model.graph.node if name in node.input]

    def is_linear(self, node: onnx.NodeProto | None) -> bool:
        """Return whether a node multiplies rows by a constant matrix."""
        if node is None or node.op_type != "Gemm" or _setting(node, "transA", 0):
            return False
        return self.is_constant(node.input[1])

    def weight(self, node: onnx.NodeProto) -> Array:
        """Return what a linear layer multiplies by, [in, out]."""
        weight = self.array(node.input[1])
        weight = weight.T if _setting(node, "transB", 0) else weight
        return weight.astype(np.float64) * _setting(node, "alpha", 1.0)

    def swappable(self, node: onnx.NodeProto) -> tuple[onnx.NodeProto, onnx.NodeProto] | None:
        """Return a linear layer and the sum of its answers, if nothing else reads those."""
        graph = self.makers.get(node.input[0]) if node.input else None
        if node.domain != DOMAIN or node.op_type != "spmm" or graph is None:
            return None
        if graph.op_type != "csr":  # pairs of R-GCN, which `blocks` looks for as they are
            return None
        linear = self.makers.get(node.input[2])
        if linear is None or not self.is_linear(linear) or _given(linear, 2):
            return None
        if self.readers[node.input[2]] > 1:
            return None
        return linear, node

    def scalable(self, name: str) -> bool:
        """Return whether all channels of a value can be scaled by changing constants."""
        node = self.makers.get(name)
        if node is None:
            return name in self.constants
        if self.readers[name] > 1:
            return False
        if self.is_linear(node):
            return not _given(node, 2) or self.scalable(node.input[2])
        if node.op_type == "Add":
            return all(map(self.scalable, node.input))
        if node.domain == DOMAIN and node.op_type == "spmm":
            return node.input[2] in self.makers and self.scalable(node.input[2])
        return False

    def scale(self, node: onnx.NodeProto, index: int, scale: Array, shift: Array | None) -> None:
        """Scale the channels of a node's input, and shift them if a shift is given."""
        name = node.input[index]
        maker = self.makers.get(name)
        if maker is None:
            value = self.array(name) * scale + (0.0 if shift is None else shift)
            node.input[index] = self.add(value, name, "folded")
        elif maker.op_type == "Add":
            on_second = maker.input[1] in self.constants
            self.scale(maker, 0, scale, None if on_second else shift)
            self.scale(maker, 1, scale, shift if on_second else None)
        elif maker.op_type == "Gemm":
            weight = self.add(self.weight(maker) * scale, maker.input[1], "folded")
            maker.input[1] = weight
            _set(maker, alpha=1.0, transB=0)
            beta = _setting(maker, "beta", 1.0)
            self._scale_bias(maker, 2, scale, None if shift is None else shift / beta)
        else:
            self.scale(maker, 2, scale, None)
            self._scale_bias(maker, _BIAS, scale, shift)

    def _scale_bias(
        self, node: onnx.NodeProto, index: int, scale: Array, shift: Array | None
    ) -> None:
        if _given(node, index):
            self.scale(node, index, scale, shift)
        elif shift is not None:
            node.input.extend([""] * (index + 1 - len(node.input)))
            node.input[index] = self.add(shift, "", "folded")


def _fold_norms(model: onnx.ModelProto) -> None:
    for node in [n for n in model.graph.node if n.op_type == _NORM]:
        values = _Values(model)
        name, *parameters = node.input
        known = name in values.makers and all(p in values.constants for p in parameters)
        if not known or _setting(node, "training_mode", 0) or not values.scalable(name):
            continue
        weight, bias, mean, variance = (values.array(p).astype(np.float64) for p in parameters)
        scale = weight / np.sqrt(variance + _setting(node, "epsilon", 1e-5))
        values.scale(node, 0, scale, bias - mean * scale)
        maker = values.makers[name]
        maker.output[list(maker.output).index(name)] = node.output[0]
        model.graph.node.remove(node)
    _drop_unread(model)


def _merge_linears(model: onnx.ModelProto) -> list[str]:
    done = list[str]()
    for second in list(model.graph.node):
        values = _Values(model)
        first = values.makers.get(second.input[0]) if second.input else None
        if first is None or not values.is_linear(second) or not values.is_linear(first):
            continue
        a, b = values.weight(first), values.weight(second)
        shared = values.readers[second.input[0]] > 1
        more_work = a.shape[0] * b.shape[1] > a.size + b.size
        bias = _merged_bias(values, first, second, b)
        if shared or more_work or bias is None:
            continue
        second.input[0] = first.input[0]
        second.input[1] = values.add(a @ b, second.input[1], "merged")
        _set(second, alpha=1.0, transB=0)
        if bias.size:
            del second.input[2:]
            second.input.append(values.add(bias, "bias", "merged"))
            _set(second, beta=1.0)
        model.graph.node.remove(first)
        done.append(f"{module_of(first)} and {module_of(second)}")
    _drop_unread(model)
    return done


def _merged_bias(
    values: _Values, first: onnx.NodeProto, second: onnx.NodeProto, weight: Array
) -> Array | None:
    """Return the bias of two layers as one, empty to keep the second's, None if there is none."""
    own = second.input[2] if _given(second, 2) else ""
    if not _given(first, 2):
        return np.zeros(0)
    if first.input[2] not in values.constants or (own and own not in values.constants):
        return None
    bias = _setting(first, "beta", 1.0) * values.array(first.input[2]).astype(np.float64) @ weight
    return bias + (_setting(second, "beta", 1.0) * values.array(own) if own else 0.0)


def _swap(
    model: onnx.ModelProto, values: _Values, linear: onnx.NodeProto, total: onnx.NodeProto
) -> None:
    """Let a linear layer read the sum that has read it."""
    between, rows = linear.output[0], linear.input[0]
    shape = next(v.type.tensor_type for v in value_infos(model) if v.name == rows)
    linear.output[0], total.output[0] = total.output[0], between
    total.input[2], linear.input[0] = rows, between
    if _given(total, _BIAS):
        del linear.input[2:]
        linear.input.append(total.input[_BIAS])
        _set(linear, beta=1.0)
        total.input[_BIAS] = ""
    info = next(v for v in model.graph.value_info if v.name == between)
    info.type.tensor_type.CopyFrom(shape)
    nodes = list(model.graph.node)
    moved = onnx.NodeProto()
    moved.CopyFrom(linear)
    model.graph.node.insert(nodes.index(total) + 1, moved)
    model.graph.node.remove(linear)


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """Yield what a node reads, in the graphs that it holds too."""
    yield from node.input
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from _reads(inner)


def _given(node: onnx.NodeProto | None, index: int) -> bool:
    return node is not None and index < len(node.input) and node.input[index] != ""


def _setting(node: onnx.NodeProto, name: str, default: float) -> float:
    found = [helper.get_attribute_value(a) for a in node.attribute if a.name == name]
    return found[0] if found else default


def _set(node: onnx.NodeProto, **settings: float) -> None:
    for attribute in [a for a in node.attribute if a.name in settings]:
        node.attribute.remove(attribute)
    node.attribute.extend(helper.make_attribute(*item) for item in settings.items())


def _drop_unread(model: onnx.ModelProto) -> None:
    """Drop weights that nothing reads any more, and what transposed them."""
    read = {value.name for value in (*model.graph.output, *model.graph.input)}
    for node in reversed(list(model.graph.node)):
        if node.op_type == "Transpose" and read.isdisjoint(node.output):
            model.graph.node.remove(node)
        else:
            read |= set(_reads(node))
    for tensor in [t for t in model.graph.initializer if t.name not in read]:
        model.graph.initializer.remove(tensor)
