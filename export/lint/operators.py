"""Hazards of operators that a runtime or an execution provider does not have."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import onnx
import onnxruntime
from onnx import helper
from onnxruntime.capi import _pybind_state as compiled

from .findings import Finding
from .scopes import Scope, label, operator
from .subject import CPU, CUDA, TENSORRT, Subject

_STANDARD = ("", "ai.onnx")
# what ONNX Runtime has of its own
_RUNTIMES = ("com.microsoft", "ai.onnx.ml", "ai.onnx.preview.training", "com.microsoft.nchwc")

# Operators that exports of graph networks contain and a provider does not have.
# CUDA https://github.com/microsoft/onnxruntime/blob/main/docs/OperatorKernels.md
# TensorRT https://github.com/onnx/onnx-tensorrt/blob/main/docs/operators.md
# OpenVINO https://github.com/openvinotoolkit/openvino/blob/master/src/frontends/onnx/docs/supported_ops.md
# CoreML https://onnxruntime.ai/docs/execution-providers/CoreML-ExecutionProvider.html (ML Program)
# WebGPU https://github.com/microsoft/onnxruntime/blob/main/js/web/docs/webgpu-operators.md
_MISSING = {
    CUDA: "SequenceMap Unique",
    TENSORRT: "Compress Optional OptionalGetElement OptionalHasElement SequenceAt "
    "SequenceConstruct SequenceEmpty SequenceInsert SequenceMap Unique",
    "OpenVINOExecutionProvider": "Bernoulli Optional OptionalGetElement OptionalHasElement "
    "SequenceMap",
    "CoreMLExecutionProvider": "Compress ConstantOfShape CumSum Equal Expand GatherElements "
    "Greater GreaterOrEqual If IsNaN Less LessOrEqual Loop Mod NonZero Not OneHot ReduceMin Scan "
    "ScatterElements ScatterND Size TopK Trilu Unique Where",
    "WebGpuExecutionProvider": "Compress IsNaN Loop NonZero Scan SequenceMap TopK Unique",
}
# sizes that only the data knows; ONNX Runtime keeps NonZero from TensorRT unless told otherwise:
# https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html (data-dependent
# shapes, trt_op_types_to_exclude)
_DATA_DEPENDENT = ("Compress", "NonZero", "NonMaxSuppression", "Unique")


def known_providers() -> list[str]:
    """Return the execution providers that the lint knows something about."""
    return [CPU, *_MISSING]


def missing_in_provider(subject: Subject) -> Iterator[Finding]:
    """Find operators that a provider leaves to the CPU, once for each operator and provider."""
    for provider in subject.providers:
        missing = _MISSING.get(provider, "").split()
        for op_type in missing:
            used = _uses(subject, op_type)
            if used:
                yield _of_first(
                    used,
                    "unsupported-operator",
                    f"{provider} has no {op_type}: ONNX Runtime runs it on the CPU, with copies "
                    "to and fro.",
                    "Use a student without it for that provider (an MLP, or neighbours of a fixed "
                    "number), or run on the CPU or CUDA.",
                )


def missing_on_cpu(subject: Subject) -> Iterator[Finding]:
    """Find standard operators that the installed ONNX Runtime has no CPU kernel for."""
    if CPU not in subject.providers:
        return
    known = _on_cpu()
    used = {n.op_type for scope in subject.scopes for n in scope.nodes if n.domain in _STANDARD}
    for op_type in sorted(used - known):
        scope, node = _uses(subject, op_type)[0]
        yield Finding(
            "error",
            "unsupported-operator",
            op_type,
            label(node),
            scope.place,
            f"ONNX Runtime {onnxruntime.__version__} has no such operator on the CPU, and the file "
            "does not load.",
            "Export with an opset_version that has its parts, or update onnxruntime.",
        )


@lru_cache(maxsize=1)
def _on_cpu() -> frozenset[str]:
    """Return the standard operators with a CPU kernel, or made of others by ONNX itself."""
    kernels = compiled.get_all_opkernel_def()  # pyright: ignore[reportAttributeAccessIssue] -- compiled
    native = {k.op_name for k in kernels if k.provider == CPU and k.domain in _STANDARD}
    schemas = [schema for schema in onnx.defs.get_all_schemas() if schema.domain in _STANDARD]
    made = {schema.name for schema in schemas if _has_parts(schema)}
    return frozenset(native | made | {"Constant"})


def _has_parts(schema: Any) -> bool:
    """Return whether ONNX defines an operator by others; its stubs know neither attribute."""
    return schema.has_function or schema.has_context_dependent_function


def data_dependent_size(subject: Subject) -> Iterator[Finding]:
    """Find sizes that depend on data, which TensorRT cannot plan an engine for."""
    if TENSORRT not in subject.providers:
        return
    for op_type in _DATA_DEPENDENT:
        used = _uses(subject, op_type)
        if used:
            yield _of_first(
                used,
                "data-dependent-size",
                "the size of its answer depends on the data, and TensorRT splits its engine there.",
                "Take self loops and normalisation out of the graph (give edge_weight), or use "
                "neighbours of a fixed number.",
            )


def custom_operator(subject: Subject) -> Iterator[Finding]:
    """Find operators of other domains that have no function body, so that few can run the file."""
    bodies = {(f.domain, f.name, f.overload) for f in subject.model.functions}
    seen = set[tuple[str, str, str]]()
    for scope in subject.scopes:
        for node in scope.nodes:
            key = (node.domain, node.op_type, node.overload)
            if node.domain in _STANDARD or key in bodies or key in seen:
                continue
            seen.add(key)
            runtimes = node.domain in _RUNTIMES
            yield Finding(
                "warning" if runtimes else "error",
                "custom-operator",
                operator(node),
                label(node),
                scope.place,
                "only ONNX Runtime has this operator."
                if runtimes
                else "the file defines no body for it: it loads only where a library has it.",
                "Export without ONNX Runtime's own optimisations."
                if runtimes
                else "Export it with a function body, as graphstill.export.export does.",
            )


def unknown_version(subject: Subject) -> Iterator[Finding]:
    """Find operator sets and file formats newer than the installed ONNX Runtime knows."""
    for entry in subject.model.opset_import:
        if entry.domain in _STANDARD:
            said = _refused(entry.version, min(subject.model.ir_version, 10))
            if said:
                yield _version(f"operator set {entry.version}", said)
    said = _refused(18, subject.model.ir_version)
    if said:
        yield _version(f"file format (IR) {subject.model.ir_version}", said)


def _version(what: str, said: str) -> Finding:
    return Finding(
        "error",
        "unknown-version",
        "",
        what,
        "the file",
        f"ONNX Runtime {onnxruntime.__version__} refuses it: {said}",
        "Export with an older opset_version (18 to 20 runs everywhere), or update onnxruntime.",
    )


@lru_cache(maxsize=64)
def _refused(opset: int, ir_version: int) -> str:
    """Return what ONNX Runtime says against a version, empty if it loads one Identity of it."""
    value = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], "g", value[:1], value[1:]
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime has no common base of its errors
        return str(error).rpartition(") ")[2].strip() or str(error)
    return ""


def _uses(subject: Subject, op_type: str) -> list[tuple[Scope, onnx.NodeProto]]:
    return [
        (scope, node)
        for scope in subject.scopes
        for node in scope.nodes
        if node.op_type == op_type and node.domain in _STANDARD
    ]


def _of_first(
    used: list[tuple[Scope, onnx.NodeProto]], hazard: str, said: str, advice: str
) -> Finding:
    scope, node = used[0]
    more = f" ({len(used)} of them in the file)" if len(used) > 1 else ""
    return Finding(
        "warning", hazard, node.op_type, label(node), scope.place, f"{said[:-1]}{more}.", advice
    )
