"""GATv2 and the products of both ends as one node, so that none of all heads is ever held.

GATv2 scores an edge by the products of its two ends, x W_l and x W_r, both [N, H · C]. Nodes of
their own write them for all heads before anybody attends to them, beside an answer of that width.
`gatv2_update` multiplies and attends to a few heads after the other, and multiplies a row's own end
where the row is; it takes in the activation behind it.
"""

import onnx

from .bodies import GATV2_UPDATE_INPUTS
from .passes import module_of, ours
from .values import Values, activation_of, given, put, setting


def fuse_products(model: onnx.ModelProto) -> list[str]:
    """Fuse GATv2 with the products before it, in place; return in which modules."""
    done = list[str]()
    for node in ours(model, "gatv2", "gatv2_mean"):
        values = Values(model)
        ends = [values.makers.get(name) for name in node.input[2:4]]
        if all(_is_product(values, node, end) for end in ends):
            _replace(model, values, node, [end for end in ends if end is not None])
            done.append(module_of(node))
    return done


def _is_product(values: Values, node: onnx.NodeProto, end: onnx.NodeProto | None) -> bool:
    """Return whether an end is rows times a weight, and a bias, that nothing else reads."""
    if end is None or not values.multiplies(end) or setting(end, "alpha", 1.0) != 1.0:
        return False
    out = end.output[0]
    if values.readers[out] != list(node.input).count(out):
        return False
    if not given(end, 2):
        return True
    width = values.weight(end).shape[1]
    plain = values.is_constant(end.input[2]) and values.array(end.input[2]).shape == (width,)
    return plain and setting(end, "beta", 1.0) == 1.0


def _replace(
    model: onnx.ModelProto, values: Values, node: onnx.NodeProto, ends: list[onnx.NodeProto]
) -> None:
    inputs = dict.fromkeys(GATV2_UPDATE_INPUTS, "")
    inputs |= dict(zip(("rowptr", "col", "", "", "att", "bias"), node.input, strict=False))
    for end, x, side in zip(ends, ("x", "x_dst"), "lr", strict=True):
        inputs |= {x: end.input[0], f"weight_{side}": end.input[1]}
        inputs[f"bias_{side}"] = end.input[2] if given(end, 2) else ""
    after = values.only_reader(node.output[0])
    activation = activation_of(after) if after is not None else None
    turned = {
        f"trans_{side}": int(setting(end, "transB", 0))
        for end, side in zip(ends, "lr", strict=True)
    }
    put(
        node,
        mean_heads=int(node.op_type == "gatv2_mean"),
        activation=activation or "none",
        **turned,
    )
    node.op_type = "gatv2_update"
    names = [inputs[name] for name in GATV2_UPDATE_INPUTS]
    while not names[-1]:
        names.pop()
    del node.input[:]
    node.input.extend(names)
    for end in {end.output[0]: end for end in ends}.values():
        model.graph.node.remove(end)
    if after is not None and activation:
        node.output[0] = after.output[0]
        model.graph.node.remove(after)
