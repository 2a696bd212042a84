"""Hazards of values over all nodes: answers that depend on which part of the graph is shown.

A norm or a pooling over the whole graph (GraphNorm, PairNorm, attention over all nodes) is right
for the whole graph and different for every subgraph, so a sampled or k-hop subgraph cannot give the
same answer for its seeds.
"""

from collections.abc import Iterator

import onnx

from .findings import Finding, Severity
from .scopes import Dims, Scope, attribute, label, read
from .subject import Subject

_ADVICE = (
    "Call it with the whole graph, never with a sampled or k-hop subgraph; or use a norm of each "
    "node alone (LayerNorm with mode='node', BatchNorm)."
)
# they ask for sizes only, or are a size that was baked in
_NO_SUMMARY = ("Shape", "Size", "Reshape", "Expand")


def summary_of_all_nodes(subject: Subject) -> Iterator[Finding]:
    """Find values computed from all nodes, and what the answers then depend on.

    A value of a known and fixed shape that is computed from one with a row per node summarises the
    graph. Where an answer has a row per node, it depends on the others; where it has none, the
    answer is about the whole graph by design.
    """
    dim = subject.node_dim
    if dim is None:
        return
    per_node = any(dim in dims for _, dims in subject.outputs.values())
    severity: Severity = "warning" if per_node else "note"
    for scope in subject.scopes:
        for node in scope.nodes:
            said = _summarises(scope, node, dim)
            if said:
                yield Finding(
                    severity, "whole-graph", node.op_type, label(node), scope.place, said, _ADVICE
                )


def _summarises(scope: Scope, node: onnx.NodeProto, dim: str) -> str | None:
    rows = [name for name in node.input if dim in (scope.dims(name) or [])]
    if not rows or node.op_type in _NO_SUMMARY:
        return None
    if node.op_type in ("Softmax", "LogSoftmax", "CumSum"):
        return _along_nodes(scope, node, dim)
    outputs = [scope.dims(name) for name in node.output if name]
    if any(dims is not None and _is_fixed(dims) for dims in outputs):
        return f"computes one value of shape {outputs[0]} from the rows of all nodes."
    return None


def _along_nodes(scope: Scope, node: onnx.NodeProto, dim: str) -> str | None:
    dims = scope.dims(read(node, 0)) or []
    axis = attribute(node, "axis", -1)
    if node.op_type == "CumSum":
        given = scope.constant(read(node, 1))
        axis = int(given.reshape(-1)[0]) if given is not None else None
    if isinstance(axis, int) and -len(dims) <= axis < len(dims) and dims[axis] == dim:
        return "runs along the rows of all nodes."
    return None


def _is_fixed(dims: Dims) -> bool:
    return all(isinstance(dim, int) for dim in dims)
