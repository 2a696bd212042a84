"""Nodes that stand for several, taken apart again for what is done to sums and products apart."""

from collections.abc import Mapping
from typing import Any

import onnx
from onnx import helper

from .bodies import (
    ACTIVATIONS,
    DOMAIN,
    GAT_UPDATE_INPUTS,
    GATV2_UPDATE_INPUTS,
    SPMM_INPUTS,
    UPDATE_INPUTS,
)
from .passes import attach_bodies, ours, shapes
from .values import given

Inputs = Mapping[str, str]  # names of values by what they are to the node

_OURS = ("spmm", "gat_mean", "gatv2", "gatv2_mean")
_SCALE = SPMM_INPUTS.index("src_scale")


def split_updates(model: onnx.ModelProto) -> None:
    """Undo `fuse_updates`, `sum_before_products` and `fuse_products`, in place."""
    ways = {
        "spmm_update": _split_sum,
        "gat_update": _split_attention,
        "gatv2_update": _split_gatv2,
    }
    found = ours(model, *ways)
    for node in found:
        _give_back_scale(model, node)
    for node in found:
        parts = _Parts(model, node)
        ways[node.op_type](parts)
        at = list(model.graph.node).index(node)
        model.graph.node.remove(node)
        parts.nodes[-1].output[0] = node.output[0]
        for part in reversed(parts.nodes):
            model.graph.node.insert(at, part)
    if found:
        del model.functions[:]
        attach_bodies(model)


def _give_back_scale(model: onnx.ModelProto, node: onnx.NodeProto) -> None:
    """Let sums multiply their sources by what the node before them multiplies its rows by."""
    at = UPDATE_INPUTS.index("out_scale")
    if node.op_type != "spmm_update" or not given(node, at):
        return
    for reader in ours(model, "spmm", "spmm_update"):
        if reader.input[2] == node.output[0]:
            reader.input.extend([""] * (_SCALE + 1 - len(reader.input)))
            reader.input[_SCALE] = node.input[at]
    node.input[at] = ""


class _Parts:
    """The nodes that one stands for; declares the shapes of what they make."""

    def __init__(self, model: onnx.ModelProto, node: onnx.NodeProto) -> None:
        self.node, self.nodes = node, list[onnx.NodeProto]()
        self.settings = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        self._model, self._shapes = model, shapes(model)
        self.rows, self.outputs = self._shapes.get(node.output[0]) or (0, 0)

    def inputs(self, names: tuple[str, ...]) -> Inputs:
        """Return the node's inputs by name, empty where one is not given."""
        return dict.fromkeys(names, "") | dict(zip(names, self.node.input, strict=False))

    def shape(self, name: str) -> tuple[int | str, ...]:
        """Return the shape of a value, of whatever is known."""
        return self._shapes.get(name) or (0, 0)

    def add(self, op_type: str, names: list[str], width: int | str, **settings: Any) -> str:
        """Add a node and return its answer, which has a row for each of this node's."""
        return self.add_rows(op_type, names, (self.rows, width), **settings)

    def add_rows(
        self, op_type: str, names: list[str], shape: tuple[int | str, ...], **settings: Any
    ) -> str:
        """Add a node whose answer has a shape of its own, and return that answer."""
        while not names[-1]:
            names.pop()
        out = f"{self.node.output[0]}.{len(self.nodes)}"
        domain = DOMAIN if op_type in _OURS else ""
        made = helper.make_node(op_type, names, [out], name=out, domain=domain, **settings)
        self.nodes.append(made)
        kind = onnx.TensorProto.FLOAT
        info = helper.make_tensor_value_info(out, kind, [size or None for size in shape])
        self._model.graph.value_info.append(info)
        return out

    def activate(self, value: str, width: int | str, name: str) -> str:
        """Add an activation, unless there is none."""
        kind = self.settings[name].decode()
        return value if kind == "none" else self.add(ACTIVATIONS[kind], [value], width)


def _split_sum(parts: _Parts) -> None:
    inputs = parts.inputs(UPDATE_INPUTS)
    width = parts.shape(inputs["x"])[-1]
    names = [inputs[name] for name in SPMM_INPUTS]
    last = parts.add("spmm", names, width, reduce=parts.settings["reduce"])
    if inputs["residual"]:
        last = parts.add("Add", [last, inputs["residual"]], width)
    last = parts.activate(last, width, "activation")
    if inputs["linear_weight"]:
        last = _multiply(parts, last, inputs)
        parts.activate(last, parts.outputs, "out_activation")


def _multiply(parts: _Parts, value: str, inputs: Inputs) -> str:
    added, settings = inputs["linear_bias"], parts.settings
    identity, outputs = settings["identity"], parts.outputs
    if inputs["root"]:
        names = [inputs["root"], inputs["root_weight"], added]
        added = parts.add("Gemm", names, outputs, transB=settings["trans_root"])
    names = [value, inputs["linear_weight"], value if identity else added]
    factors = {"alpha": settings["alpha"], "beta": identity or 1.0}
    out = parts.add("Gemm", names, outputs, transB=settings["trans_weight"], **factors)
    return parts.add("Add", [out, added], outputs) if identity and added else out


def _split_attention(parts: _Parts) -> None:
    inputs, settings = parts.inputs(GAT_UPDATE_INPUTS), parts.settings
    heads = parts.shape(inputs["alpha_src"])[-1]
    width = (
        heads * parts.outputs if isinstance(heads, int) and isinstance(parts.outputs, int) else 0
    )
    rows = parts.shape(inputs["x"])[0]
    names = [inputs["x"], inputs["linear_weight"]]
    product = parts.add_rows("Gemm", names, (rows, width), transB=settings["trans_weight"])
    names = [inputs["rowptr"], inputs["col"], product, inputs["alpha_src"], inputs["alpha_dst"]]
    same = {name: settings[name] for name in ("negative_slope", "add_self_loops")}
    last = parts.add("gat_mean", [*names, inputs["bias"]], parts.outputs, **same)
    parts.activate(last, parts.outputs, "activation")


def _split_gatv2(parts: _Parts) -> None:
    inputs, settings = parts.inputs(GATV2_UPDATE_INPUTS), parts.settings
    heads, channels = parts.shape(inputs["att"])
    width = heads * channels if isinstance(heads, int) and isinstance(channels, int) else 0
    ends = [
        parts.add_rows(
            "Gemm",
            [inputs[x], inputs[f"weight_{side}"], inputs[f"bias_{side}"]],
            (parts.shape(inputs[x])[0], width),
            transB=settings[f"trans_{side}"],
        )
        for x, side in (("x", "l"), ("x_dst", "r"))
    ]
    names = [inputs["rowptr"], inputs["col"], *ends, inputs["att"], inputs["bias"]]
    same = {name: settings[name] for name in ("negative_slope", "add_self_loops")}
    kind = "gatv2_mean" if settings["mean_heads"] else "gatv2"
    last = parts.add(kind, names, parts.outputs, **same)
    parts.activate(last, parts.outputs, "activation")
