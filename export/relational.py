"""Products of R-GCN in an exported graph: one for each relation, in standard ONNX.

ONNX Runtime's own products are the fastest there are, and prepare constant matrices when a file is
loaded. So rows, which are sorted by relation, are split, multiplied and joined again.
"""
# what onnxscript's operators return while they are traced is typed as what it may be outside
# pyright: reportArgumentType=false, reportOptionalSubscript=false

from collections.abc import Sequence
from typing import Any

import onnx
from onnxscript import opset18

# its annotations are those of scripts; what torch translates are values of its own
standard: Any = opset18


def relation_products(x: Any, sizes: Any, weight: Any) -> Any:
    """Write `reference.relation_products` as nodes, while torch's exporter translates."""
    relations = weight.shape[0]
    parts = standard.Split(x, sizes, axis=0, num_outputs=relations)
    parts = parts if isinstance(parts, Sequence) else [parts]
    ids = [standard.Constant(value_int=relation) for relation in range(relations)]
    matrices = [standard.Gather(weight, relation, axis=0) for relation in ids]
    transform = standard.MatMul if len(weight.shape) == 3 else _blocks(*weight.shape[1:])
    return standard.Concat(*map(transform, parts, matrices), axis=0)


def _blocks(blocks: int, width: int, out: int) -> Any:
    """Return a product of rows [P, B · f] with B diagonal blocks [B, f, o]."""

    def transform(x: Any, weight: Any) -> Any:
        split = standard.Reshape(x, standard.Constant(value_ints=[0, blocks, width]))
        product = standard.MatMul(standard.Transpose(split, perm=[1, 0, 2]), weight)
        rows = standard.Transpose(product, perm=[1, 0, 2])
        return standard.Reshape(rows, standard.Constant(value_ints=[0, blocks * out]))

    return transform


def tidy_splits(model: onnx.ModelProto) -> None:
    """Drop the number of parts from Splits that are given their sizes: ONNX allows one of both."""
    for node in model.graph.node:
        if node.op_type == "Split" and len(node.input) == 2:
            kept = [a for a in node.attribute if a.name != "num_outputs"]
            del node.attribute[:]
            node.attribute.extend(kept)
