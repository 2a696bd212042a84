"""Hazards of values over all nodes: answers that depend on which part of the graph is shown.

A norm or a pooling over the whole graph (GraphNorm, PairNorm, attention over all nodes) is right
for the whole graph and different for every subgraph, so a sampled or k-hop subgraph cannot give the
same answer for its seeds.
"""

from collections.abc import Collection, Iterator

import onnx

from .findings import Finding, Severity
from .scopes import Dims, Scope, attribute, label, read
from .subject import Subject

_ADVICE = (
    "Call it with the whole graph, never with a sampled or k-hop subgraph; or use a norm of each "
    "node alone (LayerNorm with mode='node', BatchNorm)."
)
# they ask for sizes, change a shape, read some rows, or hold graphs that are read themselves
_NO_SUMMARY = "Expand Gather GatherND If Loop Reshape Scan Shape Size Slice Split".split()
_FLOATS = (
    onnx.TensorProto.FLOAT,
    onnx.TensorProto.DOUBLE,
    onnx.TensorProto.FLOAT16,
    onnx.TensorProto.BFLOAT16,
)


def summary_of_all_nodes(subject: Subject) -> Iterator[Finding]:
    """Find values computed from all nodes or edges, on which the answers then depend.

    A value of a fixed shape that is computed from one with a row per node or edge summarises the
    graph. Where an answer has a row per node, it depends on the others; where it has none, the
    answer is about the whole graph by design.
    """
    if subject.edge_list is None:
        return
    per_node = any(not _is_fixed(dims) for _, dims in subject.outputs.values())
    severity: Severity = "warning" if per_node else "note"
    for scope in subject.scopes:
        for node in scope.nodes:
            said = _summarises(scope, node) or _runs_along(scope, node, subject.symbols)
            if said:
                yield Finding(
                    severity, "whole-graph", node.op_type, label(node), scope.place, said, _ADVICE
                )


def _summarises(scope: Scope, node: onnx.NodeProto) -> str | None:
    rows = [name for name in node.input if scope.element(name) in _FLOATS]
    dynamic = any(not _is_fixed(dims) for name in rows if (dims := scope.dims(name)) is not None)
    outputs = [dims for name in node.output if (dims := scope.dims(name)) is not None]
    if dynamic and node.op_type not in _NO_SUMMARY and any(map(_is_fixed, outputs)):
        return f"computes one value of shape {outputs[0]} from all nodes or edges."
    return None


def _runs_along(scope: Scope, node: onnx.NodeProto, symbols: Collection[str]) -> str | None:
    """Say whether a Softmax or a CumSum of numbers runs along the nodes or edges of the input."""
    dims = scope.dims(read(node, 0))
    if node.op_type not in ("Softmax", "LogSoftmax", "CumSum") or not dims:
        return None
    axis = attribute(node, "axis", -1)
    if node.op_type == "CumSum":
        given = scope.constant(read(node, 1))
        axis = int(given.reshape(-1)[0]) if given is not None and given.size else None
    if not isinstance(axis, int) or not -len(dims) <= axis < len(dims):
        return None
    along_input = dims[axis] in symbols and scope.element(read(node, 0)) in _FLOATS
    return f"runs along all {dims[axis]}." if along_input else None


def _is_fixed(dims: Dims) -> bool:
    return all(isinstance(dim, int) for dim in dims)
