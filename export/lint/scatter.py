"""Hazards of scatters that reduce: what PyG's aggregation becomes in a plain export."""

from collections.abc import Iterator

import onnx

from .findings import Finding, Severity
from .scopes import FLOATS, Scope, attribute, label, read
from .subject import CPU, CUDA, TENSORRT, Subject
from .tracing import are_ids

_HALF = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
_EXTREMA = ("max", "min")
_INTEGERS = (onnx.TensorProto.INT32, onnx.TensorProto.INT64)
_EXPORT = "Export the model with graphstill.export.export, whose aggregation has no scatter"


def racing_scatter(subject: Subject) -> Iterator[Finding]:
    """Find ScatterND with a reduction: on the CPU its threads add to one row at the same time.

    https://github.com/microsoft/onnxruntime/issues/18048; on sorted rows too.
    """
    if CPU not in subject.providers:
        return
    for scope, node in _reducing(subject, "ScatterND"):
        yield _finding(
            "error",
            "racing-scatter",
            scope,
            node,
            f"reduction={attribute(node, 'reduction')} loses updates in ONNX Runtime's CPU kernel "
            "on more than one thread, so that answers are wrong and differ from run to run.",
            f"{_EXPORT}; or write it as scatter_add (ScatterElements), or run it on one thread.",
        )


def slow_scatter(subject: Subject) -> Iterator[Finding]:
    """Find ScatterElements with a reduction over rows of features: right, one thread, and slow."""
    if CPU not in subject.providers:
        return
    for scope, node in _reducing(subject, "ScatterElements"):
        dims = scope.dims(read(node, 0))
        if dims is None or len(dims) >= 2:  # counting in one dimension is cheap
            yield _finding(
                "warning",
                "slow-scatter",
                scope,
                node,
                "ONNX Runtime's CPU kernel runs on one thread over an int64 index as large as all "
                "messages; measured 18 to 92 times slower than one fused aggregation.",
                f"{_EXPORT}.",
            )


def half_scatter(subject: Subject) -> Iterator[Finding]:
    """Find reductions of float16 that ONNX Runtime's CPU provider has no kernel for."""
    if CPU not in subject.providers:
        return
    for scope, node in _reducing(subject, "ScatterND", "ScatterElements"):
        element, reduction = scope.element(read(node, 0)), attribute(node, "reduction")
        # measured on ONNX Runtime 1.31: the one exception
        runs = (node.op_type, element) == ("ScatterElements", _HALF[0]) and reduction in _EXTREMA
        if element in _HALF and not runs:
            yield _finding(
                "error",
                "half-scatter",
                scope,
                node,
                "ONNX Runtime's CPU provider has no 16-bit kernel for it and fails when called.",
                "Keep scatters in float32 when converting (op_block_list of onnxruntime's float16 "
                "converter).",
            )


def overwriting_scatter(subject: Subject) -> Iterator[Finding]:
    """Find scatters by ids of edges that do not reduce: of equal ids the last one wins.

    This is what index_add becomes in torch's older exporter, and scatter_add in operator sets
    before 16. The file runs, and every sum is one of its terms. One number per edge may be meant
    so, as PyG means the weight of a self loop; rows of messages never are.
    """
    for scope in subject.scopes:
        for node in scope.nodes:
            if node.op_type not in ("ScatterND", "ScatterElements", "Scatter"):
                continue
            reduces = attribute(node, "reduction", "none") != "none"
            marks = read(node, 2) in scope.constants or scope.element(read(node, 2)) not in FLOATS
            if reduces or marks or not are_ids(scope, read(node, 1), subject.edge_list):
                continue
            dims = scope.dims(read(node, 2))
            yield _finding(
                "warning" if dims is not None and len(dims) < 2 else "error",
                "overwriting-scatter",
                scope,
                node,
                "places messages by the ids of edges without a reduction, so that of all edges to "
                "a node only one counts.",
                f"{_EXPORT}; or export with dynamo=True and opset_version 18.",
            )


def scatter_elsewhere(subject: Subject) -> Iterator[Finding]:
    """Find reductions that a GPU sums in another order each time, or not at all."""
    for scope, node in _reducing(subject, "ScatterND", "ScatterElements"):
        if CUDA in subject.providers and scope.element(read(node, 0)) not in _INTEGERS:
            yield _finding(
                "note",
                "unordered-scatter",
                scope,
                node,
                "CUDA adds with atomics, in another order each run: last bits of sums differ.",
                f"{_EXPORT}, or compare answers with a tolerance.",
            )
        if TENSORRT in subject.providers:
            # https://github.com/NVIDIA/TensorRT/tree/main/plugin/scatterElementsPlugin
            plugin = node.op_type == "ScatterElements"
            yield _finding(
                "warning" if plugin else "error",
                "unreduced-scatter",
                scope,
                node,
                "TensorRT's own scatter only overwrites, and some versions dropped the reduction "
                "without a word.",
                "Check that the ScatterElements plugin is loaded, and compare answers."
                if plugin
                else "Use an MLP student, or neighbours of a fixed number (Gather and Reduce).",
            )


def _reducing(subject: Subject, *op_types: str) -> Iterator[tuple[Scope, onnx.NodeProto]]:
    for scope in subject.scopes:
        for node in scope.nodes:
            scatters = node.op_type in op_types and node.domain in ("", "ai.onnx")
            if scatters and attribute(node, "reduction", "none") != "none":
                yield scope, node


def _finding(
    severity: Severity, hazard: str, scope: Scope, node: onnx.NodeProto, message: str, advice: str
) -> Finding:
    return Finding(severity, hazard, node.op_type, label(node), scope.place, message, advice)
