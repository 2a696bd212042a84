"""export: a PyG module and an example in, a bundle out."""

import copy
import inspect
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import onnx
import safetensors.torch
import torch
from torch import Tensor

from ..kernels import accelerate
from ..serve import Bundle, Manifest, TensorSpec
from . import passes
from .bodies import OPSET
from .card import model_card
from .errors import ExportError
from .lint import Finding, lint_model
from .relational import tidy_splits
from .translation import translation_table

GRAPH_FORMS = ("edge_index", "csr")
LOWERINGS = ("fused",)

# what the dimensions of an input mean, by its name; the rest is found by size
_DIMENSIONS = {
    "x": {0: "num_nodes"},
    "edge_index": {1: "num_edges"},
    "edge_weight": {0: "num_edges"},
    "edge_attr": {0: "num_edges"},
    "edge_type": {0: "num_edges"},
    "batch": {0: "num_nodes"},
}


@dataclass(frozen=True)
class About:
    """What a bundle's manifest says and the exporter cannot know; see `serve.Manifest`.

    Attributes:
        task: What the output means.
        architecture: Name and arguments of the network, where graphstill can rebuild it.
        class_names: Names of the classes in the order of the logits.
        feature_names: Names of the features in the order of the columns of x.
        feature_transform: What training did to raw features.
        accuracy: Measured accuracies, fractions in 0–1, by split.
        provenance: Where the weights come from.
    """

    task: str = "node-classification"
    architecture: dict[str, Any] | None = None
    class_names: list[str] | None = None
    feature_names: list[str] | None = None
    feature_transform: str | None = None
    accuracy: dict[str, float] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)


def export(
    module: torch.nn.Module,
    example_inputs: Sequence[Tensor] | Mapping[str, Tensor],
    path: str | os.PathLike[str],
    *,
    lowering: str = "fused",
    graph: str = "edge_index",
    about: About | None = None,
) -> Bundle:
    """Export a module to ONNX as a bundle that `serve.Session` runs.

    The module is copied, put into evaluation mode, and its convolutions are replaced by the fused
    ones; it is not changed itself. Numbers of nodes and edges stay dynamic, whatever the example's.

    Args:
        module: Any PyG module whose convolutions `accelerate` knows.
        example_inputs: Arguments of `module.forward`, by position or by name, with at least two
            nodes and two edges. Inputs are named after the arguments.
        path: The directory to write; a bundle that is there already is replaced.
        lowering: "fused", nodes of the `graphstill` domain with function bodies.
        graph: "edge_index" for an edge list in any order, or "csr" for rowptr and col.
        about: What to say of the model in its manifest.

    Returns:
        The bundle.

    Raises:
        ExportError: If a convolution has no fused form, or the model does something that ONNX
            cannot express. Nothing is written then.
    """
    if lowering not in LOWERINGS:
        raise ExportError(f"lowering must be one of {', '.join(LOWERINGS)}, got {lowering!r}")
    if graph not in GRAPH_FORMS:
        raise ExportError(f"graph must be one of {', '.join(GRAPH_FORMS)}, got {graph!r}")
    inputs = name_inputs(module, example_inputs)
    _check_example(inputs)
    model = _to_onnx(fuse(module), inputs)
    tidy_splits(model)
    passes.merge_duplicates(model)
    passes.drop_unread_outputs(model)
    has_graph = "edge_index" in inputs
    if graph == "csr" and has_graph:
        passes.take_csr_inputs(model)
    hops = passes.count_hops(model)
    specs = tuple(_spec(value) for value in model.graph.input)
    counted = passes.normalisations(model)
    if len(counted) == 1:
        passes.accept_in_degree(model)
    add_self_loops, fill_value = next(iter(counted), (True, 1.0))
    passes.check_safe(model)
    passes.attach_bodies(model)
    found = _lint(model, inputs)
    # a value of all nodes, or layers that count degrees differently: no one input could tell them
    # the whole graph's
    whole_graph = len(counted) > 1 or any(f.hazard == "whole-graph" for f in found)
    described = about or About()
    manifest = Manifest(
        inputs=specs,
        outputs=tuple(_spec(value) for value in model.graph.output),
        files={"model.onnx": None},  # pyright: ignore[reportArgumentType] -- filled when written
        producer=f"graphstill {version('graphstill')}",
        graph=graph if has_graph else "none",
        lowering=lowering,
        hops=None if whole_graph else hops,
        in_degree=len(counted) == 1,
        add_self_loops=add_self_loops,
        fill_value=fill_value,
        parameters=count_parameters(module),
        embedding_parameters=count_embedding_parameters(module),
        limits={"num_nodes": 2**31 - 1},
        warnings=[str(finding) for finding in found if finding.severity != "note"],
        **vars(described),
    )
    _describe(model, manifest)
    onnx.checker.check_model(model)
    files = {
        "model.onnx": model.SerializeToString(),
        "weights.safetensors": safetensors.torch.save(_weights(module)),
        "README.md": model_card(manifest).encode(),
    }
    return Bundle.write(path, manifest, files)


def name_inputs(
    module: torch.nn.Module, example: Sequence[Tensor] | Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return example inputs by the names of the arguments of `module.forward`.

    Raises:
        ExportError: If forward has no such arguments.
    """
    try:
        signature = inspect.signature(module.forward)
        bound = (
            signature.bind(**example) if isinstance(example, Mapping) else signature.bind(*example)
        )
    except TypeError as error:
        raise ExportError(f"the example does not fit {type(module).__name__}: {error}") from error
    return {name: value for name, value in bound.arguments.items() if value is not None}


def fuse(module: torch.nn.Module) -> torch.nn.Module:
    """Return a copy in evaluation mode with fused convolutions.

    Raises:
        ExportError: If a convolution has no fused form. The message names each.
    """
    holder = torch.nn.ModuleDict({"module": copy.deepcopy(module).eval()})
    report = accelerate(holder)
    if report.kept:
        reasons = [f"  {path[7:] or '(itself)'}: {why}" for path, why in report.kept.items()]
        raise ExportError("no fused form for these convolutions:\n" + "\n".join(reasons))
    return holder["module"]


def count_parameters(module: torch.nn.Module) -> int:
    """Return how many trainable numbers a module has, each counted once."""
    return sum(p.numel() for p in module.parameters())


def count_embedding_parameters(module: torch.nn.Module) -> int:
    """Return how many of a module's parameters are embedding tables."""
    tables = [m.weight for m in module.modules() if isinstance(m, torch.nn.Embedding)]
    return sum(table.numel() for table in dict.fromkeys(tables))


def _check_example(inputs: Mapping[str, Tensor]) -> None:
    for name, value in inputs.items():
        if not isinstance(value, Tensor):
            raise ExportError(f"inputs must be tensors, {name} is {type(value).__name__}")
        if value.is_floating_point() and value.dtype != torch.float32:
            raise ExportError(f"{name} must be float32, got {value.dtype}")
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise ExportError(f"{name} of the example holds NaN or infinity")
    if "edge_index" in inputs:
        edge_index = inputs["edge_index"]
        if edge_index.dtype != torch.int64 or edge_index.dim() != 2 or edge_index.shape[0] != 2:
            raise ExportError(
                f"edge_index must be [2, E] int64, got {list(edge_index.shape)} {edge_index.dtype}"
            )


def _dynamic_shapes(inputs: Mapping[str, Tensor]) -> dict[str, dict[int, torch.export.Dim]]:
    """Name the dimensions that may differ from call to call."""
    dims = {
        "num_nodes": torch.export.Dim("num_nodes", min=1),
        "num_edges": torch.export.Dim("num_edges", min=0),
    }
    sizes = {
        dim: inputs[name].shape[axis]
        for name, axis, dim in (("edge_index", 1, "num_edges"), ("x", 0, "num_nodes"))
        if name in inputs and inputs[name].dim() > axis
    }
    for dim, size in sizes.items():
        if size < 2:
            raise ExportError(f"the example needs at least two of {dim}, it has {size}")
    named = {}
    for name, value in inputs.items():
        meaning = _DIMENSIONS.get(name)
        if meaning is None:
            if len(set(sizes.values())) < len(sizes):
                raise ExportError(
                    f"cannot tell nodes from edges in {name}: give an example with different "
                    "numbers of them"
                )
            matching = [dim for dim, size in sizes.items() if value.shape[:1] == (size,)]
            meaning = dict(enumerate(matching))
        named[name] = {axis: dims[dim] for axis, dim in meaning.items()}
    return named


def _to_onnx(module: torch.nn.Module, inputs: dict[str, Tensor]) -> onnx.ModelProto:
    with torch.no_grad():
        answer = module(**inputs)
    outputs = _output_names(answer)
    try:
        with torch.no_grad(), _quiet():
            program = torch.onnx.export(
                module,
                kwargs=dict(inputs),
                dynamo=True,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=outputs,
                dynamic_shapes=_dynamic_shapes(inputs),
                custom_translation_table=translation_table(),
                external_data=False,
                verbose=False,
            )
    except ExportError:
        raise
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise ExportError(
            f"torch cannot export {type(module).__name__} to ONNX: {lines[0] if lines else error!r}"
        ) from error
    assert program is not None
    return program.model_proto


def _output_names(answer: object) -> list[str]:
    if isinstance(answer, Tensor):
        return ["logits"]
    if isinstance(answer, Mapping):
        return [str(name) for name in answer]
    if isinstance(answer, Sequence) and all(isinstance(value, Tensor) for value in answer):
        return [f"output_{i}" for i in range(len(answer))]
    raise ExportError(f"forward must return tensors, it returned {type(answer).__name__}")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes about itself from the user; its errors are raised."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    kind = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    shape = tuple(d.dim_param or d.dim_value for d in kind.shape.dim)
    return TensorSpec(value.name, dtype.name, shape)


def _lint(model: onnx.ModelProto, inputs: Mapping[str, Tensor]) -> list[Finding]:
    """Return what the lint finds, the sizes of the example among it."""
    sizes = {
        dim: inputs[name].shape[axis]
        for name, axis, dim in (("x", 0, "num_nodes"), ("edge_index", 1, "num_edges"))
        if name in inputs and "edge_index" in inputs
    }
    return lint_model(model, sizes=sizes).findings


def _weights(module: torch.nn.Module) -> dict[str, Tensor]:
    # copies: safetensors refuses tensors that share memory
    return {name: t.detach().cpu().clone() for name, t in module.state_dict().items()}


def _describe(model: onnx.ModelProto, manifest: Manifest) -> None:
    model.producer_name = "graphstill"
    facts = {
        "producer": manifest.producer,
        "lowering": manifest.lowering,
        "graph": manifest.graph,
        "hops": "all" if manifest.hops is None else str(manifest.hops),
        "task": manifest.task,
    }
    onnx.helper.set_model_props(model, {f"graphstill.{k}": v for k, v in facts.items()})
