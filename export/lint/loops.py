"""Hazards of control flow: ONNX Runtime leaves its fast path for every round of a loop."""

from collections.abc import Iterator

import onnx

from .findings import Finding, Severity
from .scopes import Scope, attribute, label, read
from .subject import Subject

# rounds below this are no loop over nodes or edges
_MANY = 1000


def loop_over_elements(subject: Subject) -> Iterator[Finding]:
    """Find loops with a round for every node or edge.

    A Loop without a trip count, as in the bodies of our operators, stops when its condition says
    so; how often it runs is not to be seen, and it is not named.
    """
    for scope in subject.scopes:
        for node in scope.nodes:
            rounds = _rounds(scope, node)
            if rounds is not None:
                yield _finding(
                    "warning",
                    scope,
                    node,
                    f"runs once for {rounds}; each round costs microseconds before it computes.",
                    "Write it over whole tensors (index, scatter_add), or export the convolutions "
                    "with graphstill.export.export.",
                )


def computing_branch(subject: Subject) -> Iterator[Finding]:
    """Find an If whose branches compute; one that only chooses between values is cheap."""
    for scope in subject.scopes:
        for node in scope.nodes:
            if node.op_type == "If" and any(len(a.g.node) > 1 for a in node.attribute):
                yield _finding(
                    "note",
                    scope,
                    node,
                    "computes in a branch: nothing is fused across it, and providers other than "
                    "the CPU's and CUDA's may not take it.",
                    "Export with dynamo=True, or decide in Python before exporting.",
                )


def _rounds(scope: Scope, node: onnx.NodeProto) -> str | None:
    """Return what a loop runs over if that may be many, else None."""
    if node.op_type == "Scan":
        return _scanned(scope, node)
    if node.op_type != "Loop" or not read(node, 0):
        return None
    if read(node, 0) not in scope.constants:
        return "as many elements as its input has"
    count = scope.constant(read(node, 0))
    rounds = int(count.reshape(-1)[0]) if count is not None and count.size else 0
    return f"{rounds} elements" if _MANY <= rounds < 2**62 else None  # the largest means: no limit


def _scanned(scope: Scope, node: onnx.NodeProto) -> str | None:
    count = attribute(node, "num_scan_inputs", 0)
    for name in node.input[-count if isinstance(count, int) and count else len(node.input) :]:
        dims = scope.dims(name)
        if not dims or not isinstance(dims[0], int):
            return "as many elements as its input has"
        if dims[0] >= _MANY:
            return f"{dims[0]} elements"
    return None


def _finding(
    severity: Severity, scope: Scope, node: onnx.NodeProto, message: str, advice: str
) -> Finding:
    hazard = "branch" if node.op_type == "If" else "loop-over-elements"
    return Finding(severity, hazard, node.op_type, label(node), scope.place, message, advice)
