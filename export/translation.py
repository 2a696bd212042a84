"""How torch's exporter writes our operators: one node of the `graphstill` domain for each.

The schemas are the operators' formal signatures in ONNX, version 1. What a signature means is said
in `kernels.reference`; `bodies` says it in standard ONNX operators.
"""

from collections.abc import Callable

import onnx
import torch
from onnx.defs import OpSchema
from onnxscript import opset18 as standard
from onnxscript.values import Op, Opset

from .bodies import DOMAIN

_IDS = ("I", ["tensor(int64)"], "positions and ids")
_COLUMNS = ("C", ["tensor(int32)"], "source ids")
_FLOATS = ("T", ["tensor(float)"], "features")


def _schema(name: str, inputs: str, outputs: str, attributes: dict[str, str]) -> OpSchema:
    """Build a schema from "name:type" words; a question mark makes an input optional."""
    optional = {
        True: OpSchema.FormalParameterOption.Optional,
        False: OpSchema.FormalParameterOption.Single,
    }

    def parameters(words: str) -> list[OpSchema.FormalParameter]:
        pairs = [(*word.rstrip("?").split(":"), word.endswith("?")) for word in words.split()]
        return [
            OpSchema.FormalParameter(label, kind, param_option=optional[missing])
            for label, kind, missing in pairs
        ]

    return OpSchema(
        name,
        DOMAIN,
        1,
        "",
        inputs=parameters(inputs),
        outputs=parameters(outputs),
        type_constraints=[_IDS, _COLUMNS, _FLOATS],
        attributes=[
            OpSchema.Attribute(label, getattr(OpSchema.AttrType, kind), "")
            for label, kind in attributes.items()
        ],
    )


SCHEMAS = {
    schema.name: schema
    for schema in (
        _schema("csr", "edge_index:I num_src:I num_dst:I", "rowptr:I col:C perm:I", {}),
        _schema(
            "gcn_norm",
            "rowptr:I col:C weight:T? in_degree:T?",
            "scale:T self_weight:T",
            {"fill_value": "FLOAT", "add_self_loops": "INT"},
        ),
        _schema(
            "spmm",
            "rowptr:I col:C x:T weight:T? src_scale:T? dst_scale:T? self_weight:T? bias:T?",
            "out:T",
            {"reduce": "STRING"},
        ),
        _schema(
            "gat",
            "rowptr:I col:C x:T alpha_src:T alpha_dst:T bias:T?",
            "out:T",
            {"negative_slope": "FLOAT", "add_self_loops": "INT"},
        ),
    )
}


def translation_table() -> dict[Callable[..., object], Callable[..., object]]:
    """Return torch's `custom_translation_table` for our operators."""
    opset = Opset(DOMAIN, 1)
    op = {name: Op(opset, name, schema) for name, schema in SCHEMAS.items()}

    def csr(edge_index, num_src, num_dst):
        return op["csr"](edge_index, num_src, num_dst)

    def gcn_norm(rowptr, col, weight, in_degree, fill_value, add_self_loops):
        return op["gcn_norm"](
            rowptr,
            col,
            weight,
            in_degree,
            fill_value=float(fill_value),
            add_self_loops=int(add_self_loops),
        )

    def spmm(
        rowptr,
        col,
        x,
        weight=None,
        src_scale=None,
        dst_scale=None,
        self_weight=None,
        bias=None,
        residual=None,
        reduce="sum",
        activation="none",
        rowptr_t=None,
        row_t=None,
        perm_t=None,
    ):
        out = op["spmm"](
            rowptr, col, x, weight, src_scale, dst_scale, self_weight, bias, reduce=reduce
        )
        # these two are not part of the node: ONNX has operators for them
        if residual is not None:
            out = standard.Add(out, residual)  # type: ignore[reportArgumentType]
        after = {"none": lambda y: y, "relu": standard.Relu, "elu": standard.Elu}
        return after[activation](out)

    def gat(
        rowptr,
        col,
        x,
        alpha_src,
        alpha_dst,
        bias,
        negative_slope,
        add_self_loops,
        rowptr_t=None,
        row_t=None,
        perm_t=None,
    ):
        # torch's second output, lse, is for the backward pass alone
        return (
            op["gat"](
                rowptr,
                col,
                x,
                alpha_src,
                alpha_dst,
                bias,
                negative_slope=float(negative_slope),
                add_self_loops=int(add_self_loops),
            ),
        )

    ops = torch.ops.graphstill
    return {
        ops.csr.default: csr,
        ops.gcn_norm.default: gcn_norm,
        ops.spmm.default: spmm,
        ops.gat.default: gat,
    }


def check_against_schema(node: onnx.NodeProto) -> None:
    """Raise ValueError if a node of our domain does not fit its operator's schema."""
    schema = SCHEMAS[node.op_type]
    if not schema.min_input <= len(node.input) <= schema.max_input:
        raise ValueError(f"{node.op_type} takes {schema.max_input} inputs, got {len(node.input)}")
