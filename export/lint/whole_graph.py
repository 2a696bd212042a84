"""Hazards of values over all nodes: answers that depend on which part of the graph is shown.

A norm or a pooling over the whole graph (GraphNorm, PairNorm, attention over all nodes) is right
for the whole graph and different for every subgraph, so a sampled or k-hop subgraph cannot give the
same answer for its seeds.
"""

from collections.abc import Collection, Iterator, Sequence

import onnx

from .findings import Finding, Severity
from .scopes import FLOATS, Dims, Scope, attribute, label, read
from .subject import Subject

_ADVICE = (
    "Call it with the whole graph, never with a sampled or k-hop subgraph; or use a norm of each "
    "node alone (LayerNorm with mode='node', BatchNorm)."
)
# they ask for sizes, change a shape, read some rows, or hold graphs that are read themselves
_NO_SUMMARY = "Expand Gather GatherND If Loop Reshape Scan Shape Size Slice Split".split()


def summary_of_all_nodes(subject: Subject) -> Iterator[Finding]:
    """Find values computed from all nodes or edges, on which the answers then depend.

    A value of a fixed shape that is computed from one with a row per node or edge summarises the
    graph. Where an answer has a row per node, it depends on the others; where it has none, the
    answer is about the whole graph by design.
    """
    if subject.edge_list is None or not subject.symbols:  # of one size: `sizes` names that
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
    rows = [name for name in node.input if scope.element(name) in FLOATS]
    dynamic = any(not _is_fixed(dims) for name in rows if (dims := scope.dims(name)) is not None)
    outputs = [dims for name in node.output if (dims := scope.dims(name)) is not None]
    if dynamic and node.op_type not in _NO_SUMMARY and any(map(_is_fixed, outputs)):
        return f"computes one value of shape {outputs[0]} from all nodes or edges."
    return None


def _runs_along(scope: Scope, node: onnx.NodeProto, symbols: Collection[str]) -> str | None:
    """Say whether a node mixes the rows of an input of the model and keeps their number."""
    dims = scope.dims(read(node, 0))
    if not dims or scope.element(read(node, 0)) not in FLOATS:
        return None
    along = [dims[axis] for axis in _mixed(scope, node, len(dims)) if dims[axis] in symbols]
    return f"runs along all {along[0]}." if along else None


def _mixed(scope: Scope, node: onnx.NodeProto, rank: int) -> Sequence[int]:
    """Return the axes along which an operator that keeps the shape makes one value of many."""
    axis = attribute(node, "axis", -1)
    if node.op_type == "CumSum":
        given = scope.constant(read(node, 1))
        axis = int(given.reshape(-1)[0]) if given is not None and given.size else None
    if not isinstance(axis, int) or not -rank <= axis < rank:
        return ()
    if node.op_type in ("Softmax", "LogSoftmax", "Hardmax", "LpNormalization", "CumSum"):
        return (axis,)
    if node.op_type == "LayerNormalization":
        return range(axis % rank, rank)
    if node.op_type in ("InstanceNormalization", "GroupNormalization"):
        return range(2, rank)
    training = node.op_type == "BatchNormalization" and attribute(node, "training_mode", 0)
    return (0,) if training else ()


def _is_fixed(dims: Dims) -> bool:
    return all(isinstance(dim, int) for dim in dims)
