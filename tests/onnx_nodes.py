"""One node of our domain in a model of its own, run by its C++ kernel or by its body."""

import os
from collections.abc import Iterator, Mapping
from functools import lru_cache

import onnx
import onnxruntime
import pytest
import torch
from onnx import helper
from torch import Tensor

from cases import GRAPHS
from graphstill.export.bodies import DOMAIN, body_for
from graphstill.export.translation import SCHEMAS
from graphstill.kernels import reference
from graphstill.serve import native

# another build of the library, to test that one
LIBRARY = os.environ.get("GRAPHSTILL_TEST_LIBRARY")
HOMES = ("C++", "portable")
homes = pytest.mark.parametrize("home", HOMES)
threads = pytest.mark.parametrize("threads", [1, 2])

_TYPES = {
    torch.float32: onnx.TensorProto.FLOAT,
    torch.int8: onnx.TensorProto.INT8,
    torch.int32: onnx.TensorProto.INT32,
    torch.int64: onnx.TensorProto.INT64,
}
_FORMAL_TYPES = {
    "I": onnx.TensorProto.INT64,
    "C": onnx.TensorProto.INT32,
    "Q": onnx.TensorProto.INT8,
    "T": onnx.TensorProto.FLOAT,
}


def options_for(home: str, threads: int) -> onnxruntime.SessionOptions:
    made = onnxruntime.SessionOptions()
    made.intra_op_num_threads = threads
    made.log_severity_level = 4
    if home == "C++":
        made.register_custom_ops_library(LIBRARY or native.library())
    return made


def run(
    node: onnx.NodeProto, inputs: Mapping[str, Tensor], home: str, threads: int
) -> list[Tensor]:
    """Run one node in a model of its own, with its body in the model.

    Sizes are open in it, so that calls that differ in nothing else share a session.
    """
    kinds = tuple((name, t.dtype, t.dim()) for name, t in inputs.items())
    session = _session(node.SerializeToString(), kinds, home, threads)
    return [
        torch.from_numpy(v) for v in session.run(None, {n: t.numpy() for n, t in inputs.items()})
    ]


@lru_cache(maxsize=64)
def _session(
    serialised: bytes, inputs: tuple[tuple[str, torch.dtype, int], ...], home: str, threads: int
) -> onnxruntime.InferenceSession:
    node = onnx.NodeProto.FromString(serialised)
    body = body_for(node)
    node.overload = body.overload
    values = [
        helper.make_tensor_value_info(name, _TYPES[dtype], [None] * rank)
        for name, dtype, rank in inputs
    ]
    rank = 1 if node.op_type in ("csr", "edge_rows", "gcn_norm", "relational_csr") else 2
    outputs = [
        helper.make_tensor_value_info(
            name, _FORMAL_TYPES[formal.type_str], [None] * (1 if formal.name == "scale" else rank)
        )
        for name, formal in zip(node.output, SCHEMAS[node.op_type].outputs, strict=False)
    ]
    model = helper.make_model(
        helper.make_graph([node], "g", values, outputs),
        functions=[body],
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, 1)],
        ir_version=10,
    )
    onnx.checker.check_model(model)
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options_for(home, threads), providers=["CPUExecutionProvider"]
    )


def node(
    op_type: str, inputs: list[str], outputs: list[str], **attributes: object
) -> onnx.NodeProto:
    return helper.make_node(op_type, inputs, outputs, domain=DOMAIN, **attributes)


def csr_of(name: str) -> tuple[Tensor, Tensor, int]:
    edge_index, num_nodes = GRAPHS[name]
    rowptr, col, _ = reference.csr(edge_index, num_nodes, num_nodes)
    return rowptr, col, num_nodes


def nodes_of(owner: onnx.FunctionProto | onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for inner in owner.node:
        yield inner
        for attribute in inner.attribute:
            if attribute.HasField("g"):
                yield from nodes_of(attribute.g)
