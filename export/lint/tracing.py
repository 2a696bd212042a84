"""Where a value comes from: following a scope's producers backwards."""

from collections.abc import Callable

import onnx

from .scopes import Scope, read

# operators that keep what they are given, in another shape or selection
_PASS_IDS = (
    "Cast Concat Expand Gather GatherND Identity Reshape Slice Split Squeeze Transpose Unsqueeze"
).split()


def are_ids(scope: Scope, name: str, edge_list: str | None) -> bool:
    """Return whether a value is ids of a list of edges that were only reshaped or selected."""
    waiting, seen = [name], set[str]()
    while waiting and edge_list is not None:
        name = waiting.pop()
        if name == edge_list:
            return True
        node = scope.producers.get(name)
        if node is not None and node.op_type in _PASS_IDS and name not in seen:
            waiting += node.input if node.op_type == "Concat" else node.input[:1]
        seen.add(name)
    return False


def ancestor(
    scope: Scope, name: str, wanted: Callable[[onnx.NodeProto], bool]
) -> onnx.NodeProto | None:
    """Return a node that a value was computed from, at any distance; None if there is none.

    What only asks for a shape is not followed: sizes do not depend on values.
    """
    waiting, seen = [name], set[str]()
    while waiting:
        name = waiting.pop()
        node = scope.producers.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        if wanted(node):
            return node
        if node.op_type not in ("Shape", "Size"):
            waiting += node.input
    return None


def largest_id(scope: Scope, edge_list: str | None) -> Callable[[onnx.NodeProto], bool]:
    """Return a function that tells whether a node takes the maximum of ids."""
    return lambda node: node.op_type == "ReduceMax" and are_ids(scope, read(node, 0), edge_list)
