"""Hazards of sizes that were those of the example: the file is right for one graph only."""

from collections.abc import Iterator

import numpy as np
import onnx

from .findings import Finding, Severity
from .scopes import Dims, Scope, label, read
from .subject import Subject
from .tracing import ancestor, largest_id

_DYNAMIC = (
    "Export with dynamic dimensions, named and bounded: "
    'dynamic_shapes={"x": {0: Dim("num_nodes", min=2)}, "edge_index": {1: Dim("num_edges", min=2)}}'
    "; graphstill.export.export does."
)


def fixed_inputs_and_outputs(subject: Subject) -> Iterator[Finding]:
    """Find inputs and outputs without any dynamic dimension beside a list of edges."""
    if subject.edge_list is None:
        return
    for kind, tensors in (("input", subject.inputs), ("output", subject.outputs)):
        for name, (_, dims) in tensors.items():
            if _is_fixed(dims) and dims[0] != 1:  # one row: an answer for the whole graph
                graph_sized = name == subject.edge_list or len(dims) >= 2
                yield Finding(
                    "error" if graph_sized else "warning",
                    "baked-in-size",
                    "",
                    name,
                    f"the {kind}s",
                    f"the {kind} has the fixed shape {dims}, so the file is good for graphs of one "
                    "size.",
                    _DYNAMIC,
                )


def fixed_reshapes(subject: Subject) -> Iterator[Finding]:
    """Find a Reshape of a dynamic tensor to a shape that is fixed: it holds for one size."""
    for scope in subject.scopes:
        for node in scope.nodes:
            if node.op_type != "Reshape":
                continue
            dims, shape = scope.dims(read(node, 0)), scope.constant(read(node, 1))
            dynamic = dims is not None and any(dim in subject.symbols for dim in dims)
            if dynamic and shape is not None and (shape > 0).all():
                yield _baked(
                    "error", scope, node, f"reshapes {dims} to the fixed shape {shape.tolist()}."
                )


def example_sizes(subject: Subject) -> Iterator[Finding]:
    """Find shapes and slices whose first size is the example's number of nodes or edges.

    Sizes are those the caller knows, and those of inputs that are fixed.
    """
    known = {size: dim for dim, size in _known_sizes(subject).items() if size > 1}
    if not known:
        return
    for scope in subject.scopes:
        for node in scope.nodes:
            for size in _first_sizes(scope, node):
                if size in known:
                    said = f"is given the constant {size}, which is {known[size]} of the example."
                    yield _baked("warning", scope, node, said)
                    break


def rows_from_ids(subject: Subject) -> Iterator[Finding]:
    """Find tensors with as many rows as the largest id says: nodes behind it have none.

    PyG counts nodes so where it is not told: a scatter without dim_size, a layer without x.
    """
    for scope in subject.scopes:
        is_largest = largest_id(scope, subject.edge_list)
        for node in scope.nodes:
            at = {"ConstantOfShape": 0, "Expand": 1, "Range": 1}.get(node.op_type)
            if at is not None and ancestor(scope, read(node, at), is_largest):
                yield Finding(
                    "warning",
                    "rows-from-ids",
                    node.op_type,
                    label(node),
                    scope.place,
                    "has as many rows as the largest id in the list of edges: nodes without edges "
                    "at the end are missing from the answer.",
                    "Give the number of nodes: dim_size=x.size(0) in scatter, num_nodes=x.size(0).",
                )


def _known_sizes(subject: Subject) -> dict[str, int]:
    sizes = dict(subject.sizes)
    for name, (_, dims) in subject.inputs.items():
        if name == subject.edge_list and isinstance(dims[-1], int):
            sizes.setdefault("num_edges", dims[-1])
        elif subject.edge_list and len(dims) == 2 and isinstance(dims[0], int):
            sizes.setdefault("num_nodes", dims[0])
    return sizes


def _first_sizes(scope: Scope, node: onnx.NodeProto) -> list[int]:
    """Return the size that a node gives to its first dimension, or where it ends there."""
    at = {"Reshape": 1, "Expand": 1, "ConstantOfShape": 0, "Slice": 2, "Range": 1}.get(node.op_type)
    if at is None or (node.op_type == "Slice" and not _along_elements(scope, node)):
        return []
    shape = scope.constant(read(node, at))
    return [int(np.ravel(shape)[0])] if shape is not None and shape.size else []


def _along_elements(scope: Scope, node: onnx.NodeProto) -> bool:
    """Return whether a Slice cuts nodes or edges: the first axis, or the second of [2, E]."""
    axes = scope.constant(read(node, 3)) if len(node.input) > 3 else np.zeros(1)
    dims = scope.dims(read(node, 0))
    edges = dims is not None and len(dims) == 2 and dims[0] == 2
    return (
        axes is not None and axes.size > 0 and int(np.ravel(axes)[0]) in ((0, 1) if edges else (0,))
    )


def _is_fixed(dims: Dims) -> bool:
    return bool(dims) and all(isinstance(dim, int) for dim in dims)


def _baked(severity: Severity, scope: Scope, node: onnx.NodeProto, message: str) -> Finding:
    return Finding(
        severity,
        "baked-in-size",
        node.op_type,
        label(node),
        scope.place,
        message,
        "Compute it from the input's shape (x.shape[0], edge_index.shape[1]) and export with "
        "dynamic dimensions.",
    )
