"""How torch's exporter writes our operators: one node of the `graphstill` domain for each.

The schemas are the operators' formal signatures in ONNX, version 1. What a signature means is said
in `kernels.reference`; `bodies` says it in standard ONNX operators.
"""
# what onnxscript's operators return while they are traced is typed as what it may be outside
# pyright: reportArgumentType=false, reportOptionalSubscript=false

from collections.abc import Callable, Iterator
from typing import Any

import onnx
import torch
from onnx.defs import OpSchema
from onnxscript.values import Op, Opset

from .bodies import DOMAIN
from .relational import relation_products, standard

_IDS = ("I", ["tensor(int64)"], "positions and ids")
_COLUMNS = ("C", ["tensor(int32)"], "source ids")
_FLOATS = ("T", ["tensor(float)"], "features")
_BYTES = ("Q", ["tensor(int8)"], "quantised features")


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
        type_constraints=[_IDS, _COLUMNS, _FLOATS, _BYTES],
        attributes=[
            OpSchema.Attribute(label, getattr(OpSchema.AttrType, kind), "")
            for label, kind in attributes.items()
        ],
    )


def _attention(name: str, inputs: str, attributes: dict[str, str]) -> Iterator[OpSchema]:
    """Yield the schemas of attention and of its mean over heads, which is never traced."""
    for label in (name, f"{name}_mean"):
        yield _schema(label, f"rowptr:I col:C {inputs}", "out:T", attributes)


_GAT = {"negative_slope": "FLOAT", "add_self_loops": "INT"}

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
        # never traced: `updates` makes it of nodes of a finished graph
        _schema(
            "spmm_update",
            "rowptr:I col:C x:T weight:T? src_scale:T? dst_scale:T? self_weight:T? bias:T? "
            "residual:T? linear_weight:T? linear_bias:T? root:T? root_weight:T? out_scale:T?",
            "out:T",
            {
                "reduce": "STRING",
                "activation": "STRING",
                "out_activation": "STRING",
                "trans_weight": "INT",
                "trans_root": "INT",
                "alpha": "FLOAT",
                "identity": "FLOAT",
            },
        ),
        *_attention("gat", "x:T alpha_src:T alpha_dst:T bias:T?", _GAT),
        # never traced either
        _schema(
            "gat_update",
            "rowptr:I col:C x:T alpha_src:T alpha_dst:T linear_weight:T bias:T?",
            "out:T",
            {**_GAT, "trans_weight": "INT", "activation": "STRING"},
        ),
        *_attention("gatv2", "x_l:T x_r:T att:T bias:T?", _GAT),
        # nor this
        _schema(
            "gatv2_update",
            "rowptr:I col:C x:T x_dst:T weight_l:T weight_r:T att:T bias_l:T? bias_r:T? bias:T?",
            "out:T",
            {**_GAT, "mean_heads": "INT", "trans_l": "INT", "trans_r": "INT"}
            | {"activation": "STRING"},
        ),
        *_attention("dot_attention", "query:T key:T value:T", {"heads": "INT"}),
        _schema("spmm_heads", "rowptr:I col:C x:T weight:T", "out:T", {"reduce": "STRING"}),
        _schema("spmm_int8", "rowptr:I col:C x:Q scale:T", "out:T", {"reduce": "STRING"}),
        # these three are never traced: `quantisation` puts them into a finished graph
        _schema(
            "spmm_int8_rows",
            "rowptr:I col:C x:Q src_scale:T weight:T? dst_scale:T? self_weight:T? bias:T?",
            "out:T",
            {"reduce": "STRING"},
        ),
        _schema("quantize_rows", "x:T", "q:Q scale:T", {"activation": "STRING"}),
        _schema(
            "linear_int8",
            "x:Q scale:T weight:Q weight_scale:T bias:T? residual:T?",
            "out:T",
            {},
        ),
        _schema("edge_rows", "rowptr:I col:C", "out:I", {}),
        _schema("edge_softmax", "rowptr:I score:T own:T?", "out:T own_out:T?", {}),
        _schema("sddmm", "rowptr:I col:C a:T b:T", "out:T", {"heads": "INT"}),
        _schema(
            "relational_csr",
            "rowptr:I col:C relation:I",
            "pair_rowptr:I pair_col:C target_rowptr:I target_col:C sizes:I pair:I?",
            {"num_relations": "INT"},
        ),
        _schema("extremum", "rowptr:I col:C x:T weight:T?", "out:T", {"reduce": "STRING"}),
    )
}


def translation_table() -> dict[Callable[..., object], Callable[..., object]]:
    """Return torch's `custom_translation_table` for our operators."""
    opset = Opset(DOMAIN, 1)
    op: dict[str, Any] = {name: Op(opset, name, schema) for name, schema in SCHEMAS.items()}

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
        if weight is not None and len(weight.shape) == 2:
            u = _scaled(x, src_scale)
            out = op["spmm_heads"](rowptr, col, u, weight, reduce=reduce)
            out = out if self_weight is None else standard.Add(out, _scaled(u, self_weight))
            out = _scaled(out, dst_scale)
            out = out if bias is None else standard.Add(out, bias)
        else:
            scales = (src_scale, dst_scale, self_weight)
            out = op["spmm"](rowptr, col, x, weight, *scales, bias, reduce=reduce)
        # these two are not part of the node: ONNX has operators for them
        if residual is not None:
            # torch has seen to it that they are as wide and as long; a pass wants to know
            out.shape, out.dtype = residual.shape, residual.dtype
            out = standard.Add(out, residual)
        after = {"none": lambda y: y, "relu": standard.Relu, "elu": standard.Elu}
        return after[activation](out)

    # torch's second output of attention, lse, and the transposed graph are for the backward pass

    def gat(rowptr, col, x, alpha_src, alpha_dst, bias, slope, loops, *_transposed):
        settings = {"negative_slope": float(slope), "add_self_loops": int(loops)}
        return (op["gat"](rowptr, col, x, alpha_src, alpha_dst, bias, **settings),)

    def gatv2(rowptr, col, x_l, x_r, att, bias, slope, loops, *_transposed):
        settings = {"negative_slope": float(slope), "add_self_loops": int(loops)}
        return (op["gatv2"](rowptr, col, x_l, x_r, att, bias, **settings),)

    def dot_attention(rowptr, col, query, key, value, heads, *_transposed):
        return (op["dot_attention"](rowptr, col, query, key, value, heads=int(heads)),)

    def extremum(rowptr, col, x, weight, reduce, *_transposed):
        return op["extremum"](rowptr, col, x, weight, reduce=reduce)

    def spmm_int8(rowptr, col, x, scale, reduce):
        return op["spmm_int8"](rowptr, col, x, scale, reduce=reduce)

    def edge_rows(rowptr, col):
        return op["edge_rows"](rowptr, col)

    def edge_softmax(rowptr, score):
        return op["edge_softmax"](rowptr, score, None)[0]

    def edge_softmax_own(rowptr, score, own):
        return op["edge_softmax"](rowptr, score, own)

    def sddmm(rowptr, col, a, b, heads):
        return op["sddmm"](rowptr, col, a, b, heads=int(heads))

    def relational_csr(rowptr, col, relation, num_relations):
        return op["relational_csr"](rowptr, col, relation, num_relations=int(num_relations))

    ops = torch.ops.graphstill
    return {
        ops.csr.default: csr,
        ops.gcn_norm.default: gcn_norm,
        ops.spmm.default: spmm,
        ops.gat.default: gat,
        ops.gatv2.default: gatv2,
        ops.dot_attention.default: dot_attention,
        ops.extremum.default: extremum,
        ops.spmm_int8.default: spmm_int8,
        ops.edge_rows.default: edge_rows,
        ops.edge_softmax.default: edge_softmax,
        ops.edge_softmax_own.default: edge_softmax_own,
        ops.sddmm.default: sddmm,
        ops.relational_csr.default: relational_csr,
        ops.relation_products.default: relation_products,
    }


def _scaled(x, scale):
    """Write the product of each row with a factor of its own, if there is one."""
    if scale is None:
        return x
    return standard.Mul(standard.Unsqueeze(scale, standard.Constant(value_ints=[1])), x)


def check_against_schema(node: onnx.NodeProto) -> None:
    """Raise ValueError if a node of our domain does not fit its operator's schema."""
    schema = SCHEMAS[node.op_type]
    if not schema.min_input <= len(node.input) <= schema.max_input:
        raise ValueError(f"{node.op_type} takes {schema.max_input} inputs, got {len(node.input)}")
