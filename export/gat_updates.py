"""Attention that sums rows before it multiplies them, where that reads less.

A layer of GAT multiplies each row, x W, [M, H · C], and attends to the products. Where its heads
are averaged and a row is not much wider than a head, it is less to sum the rows themselves, once
for each head, and to multiply the sums: Σ_e p_e (x[j] W) = (Σ_e p_e x[j]) W. An edge then brings F
numbers in place of H · C, and the products of all heads are never written. `gat_update` does so,
and takes in the activation behind it.
"""

import onnx

from .bodies import GAT_UPDATE_INPUTS
from .passes import module_of, ours, shapes
from .values import Values, activation_of, given, put, setting

# how many times as wide as a head a row may be; then H · F products an edge cost what is saved
_WIDEST = 2


def sum_before_products(model: onnx.ModelProto) -> list[str]:
    """Fuse such attention with the product before it, in place; return in which modules."""
    done = list[str]()
    for node in ours(model, "gat", "gat_mean"):
        values, known = Values(model), shapes(model)
        product = values.makers.get(node.input[2])
        heads = (known.get(node.input[3]) or (0,))[-1]
        if product is None or not isinstance(heads, int) or heads < 1:
            continue
        averaged = node.op_type == "gat_mean" or heads == 1
        if averaged and _is_plain_product(values, product) and _pays(values, product, heads):
            _replace(model, values, node, product)
            done.append(module_of(node))
    return done


def _is_plain_product(values: Values, node: onnx.NodeProto) -> bool:
    """Return whether a node multiplies rows by a weight, adds nothing, and has one reader."""
    plain = values.multiplies(node) and not given(node, 2) and setting(node, "alpha", 1.0) == 1.0
    return plain and values.readers[node.output[0]] == 1


def _pays(values: Values, product: onnx.NodeProto, heads: int) -> bool:
    features, width = values.weight(product).shape
    return features <= _WIDEST * (width // heads) and features < width


def _replace(
    model: onnx.ModelProto, values: Values, node: onnx.NodeProto, product: onnx.NodeProto
) -> None:
    inputs = dict.fromkeys(GAT_UPDATE_INPUTS, "")
    inputs |= dict(
        zip(("rowptr", "col", "x", "alpha_src", "alpha_dst", "bias"), node.input, strict=False)
    )
    inputs |= {"x": product.input[0], "linear_weight": product.input[1]}
    after = values.only_reader(node.output[0])
    activation = activation_of(after) if after is not None else None
    node.op_type = "gat_update"
    del node.input[:]
    node.input.extend(inputs.values() if inputs["bias"] else list(inputs.values())[:-1])
    put(node, trans_weight=int(setting(product, "transB", 0)), activation=activation or "none")
    model.graph.node.remove(product)
    if after is not None and activation:
        node.output[0] = after.output[0]
        model.graph.node.remove(after)
