"""The operators' function bodies: what they compute, in standard ONNX operators (opset 18).

An exported file carries the body of every operator it uses, so that any ONNX runtime can run it;
ONNX Runtime with the C++ library runs the library's kernel instead.

A body cannot ask whether an input is there, so every combination of optional inputs is an overload
of its own. The texts are in ONNX's own syntax.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import onnx

from .attention import (
    GAT_UPDATE_INPUTS,
    GATV2_UPDATE_INPUTS,
    dot_attention,
    gat,
    gat_update,
    gatv2,
    gatv2_update,
)
from .edges import edge_rows, edge_softmax, sddmm
from .graph import csr, gcn_norm
from .int8 import linear_int8, quantize_rows, spmm_int8_rows
from .relational import relational_csr
from .sums import (
    SPMM_INPUTS,
    UPDATE_INPUTS,
    extremum,
    spmm,
    spmm_heads,
    spmm_int8,
    spmm_update,
)
from .text import ACTIVATIONS, DOMAIN, OPSET

__all__ = [
    "ACTIVATIONS",
    "DOMAIN",
    "GATV2_UPDATE_INPUTS",
    "GAT_UPDATE_INPUTS",
    "OPSET",
    "SPMM_INPUTS",
    "UPDATE_INPUTS",
    "body_for",
]

_Body = Callable[[Sequence[str], Mapping[str, object]], onnx.FunctionProto]

_BODIES: dict[str, _Body] = {
    "csr": csr,
    "dot_attention": dot_attention,
    "dot_attention_mean": partial(dot_attention, mean=True),
    "edge_rows": edge_rows,
    "edge_softmax": edge_softmax,
    "extremum": extremum,
    "gat": gat,
    "gat_mean": partial(gat, mean=True),
    "gat_update": gat_update,
    "gatv2": gatv2,
    "gatv2_mean": partial(gatv2, mean=True),
    "gatv2_update": gatv2_update,
    "gcn_norm": gcn_norm,
    "linear_int8": linear_int8,
    "quantize_rows": quantize_rows,
    "relational_csr": relational_csr,
    "sddmm": sddmm,
    "spmm": spmm,
    "spmm_heads": spmm_heads,
    "spmm_int8": spmm_int8,
    "spmm_int8_rows": spmm_int8_rows,
    "spmm_update": spmm_update,
}


def body_for(node: onnx.NodeProto) -> onnx.FunctionProto:
    """Return the body of a node of our domain, as the overload for the inputs it has.

    Raises:
        KeyError: If the domain has no operator of that name.
    """
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return _BODIES[node.op_type](list(node.input), attributes)
