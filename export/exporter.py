"""export: a PyG module and an example in, a bundle out."""

import copy
import inspect
import io
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, overload

import onnx
import safetensors.numpy
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..kernels import accelerate
from ..serve import Bundle, Manifest, TensorSpec
from . import algebra, baking, blocks, passes, pooling
from .bodies import OPSET
from .card import model_card
from .errors import ExportError
from .flattening import Flat, Nested, Part, flat_answers, flatten, sizes_of
from .formats import ONNX, export_as
from .lint import Finding, lint_model
from .reasons import reason
from .relational import tidy_splits
from .translation import translation_table

GRAPH_FORMS = ("edge_index", "csr")
LOWERINGS = ("fused", "blocks", "baked")


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


@overload
def export(
    module: torch.nn.Module,
    example_inputs: Sequence[Nested] | Mapping[str, Nested],
    path: str | os.PathLike[str],
    *,
    format: Literal["onnx"] = "onnx",
    lowering: str = "fused",
    graph: str = "edge_index",
    fanouts: Sequence[int] | None = None,
    batch: int | None = None,
    fold: bool = True,
    about: About | None = None,
) -> Bundle: ...
@overload
def export(
    module: torch.nn.Module,
    example_inputs: Sequence[Nested] | Mapping[str, Nested],
    path: str | os.PathLike[str],
    *,
    format: str,
    lowering: str = "fused",
    graph: str = "edge_index",
    fanouts: Sequence[int] | None = None,
    batch: int | None = None,
    fold: bool = True,
    about: About | None = None,
    **settings: Any,
) -> Bundle | Path: ...
def export(
    module: torch.nn.Module,
    example_inputs: Sequence[Nested] | Mapping[str, Nested],
    path: str | os.PathLike[str],
    *,
    format: str = ONNX,
    lowering: str = "fused",
    graph: str = "edge_index",
    fanouts: Sequence[int] | None = None,
    batch: int | None = None,
    fold: bool = True,
    about: About | None = None,
    **settings: Any,
) -> Bundle | Path:
    """Export a module to ONNX: as a bundle that `serve.Session` runs, or as what is made from one.

    The module is copied, put into evaluation mode, and its convolutions are replaced by the fused
    ones; it is not changed itself. Numbers of nodes and edges stay dynamic, whatever the example's.

    Args:
        module: Any PyG module whose convolutions `accelerate` knows.
        example_inputs: Arguments of `module.forward`, by position or by name, with at least two
            nodes and two edges (of each type). Inputs are named after the arguments; dictionaries
            by type of nodes or edges become one input for each type, `x__paper`.
        path: The directory to write; a bundle that is there already is replaced.
        format: "onnx" for the bundle, or what to make from it, as `convert` does: "triton", a
            model repository of Triton Inference Server, or "web", a page for the browser.
        lowering: "fused", nodes of the `graphstill` domain with function bodies; "baked", the same
            with everything but `x` fixed to the example's: the graph is in the model, sorted and
            normalised, and a call gives features for exactly its nodes; "blocks", standard
            operators alone on a fixed number of in-neighbours of each seed, `x [batch, slots, F]`
            and `edge_count [batch, slots]`, which `serve.Session.blocks` cuts out of a graph.
        graph: "edge_index" for an edge list in any order, or "csr" for rowptr and col.
        fanouts: With lowering="blocks": how many in-neighbours each hop takes, from the seeds
            outwards. With as many as nodes have, answers are the whole graph's.
        batch: With lowering="blocks": how many seeds every call has, for targets that want all
            sizes fixed; any number if None.
        fold: Whether weights take in BatchNorms, and linear layers without anything between them
            become one; without, the file has the module's own weights.
        about: What to say of the model in its manifest.
        settings: What the format takes, see `convert`.

    Returns:
        The bundle; the directory where another format was asked for.

    Raises:
        ExportError: If a convolution has no fused form, or the model does something that ONNX
            cannot express. Nothing is written then.
    """
    if format != ONNX:

        def bundled(place: Path) -> Bundle:
            return export(
                module,
                example_inputs,
                place,
                lowering=lowering,
                graph=graph,
                fanouts=fanouts,
                batch=batch,
                fold=fold,
                about=about,
            )

        return export_as(format, bundled, path, Path(path).name, settings)
    if settings:
        raise ExportError(f'format="onnx" takes no {", ".join(settings)}')
    if lowering not in LOWERINGS:
        raise ExportError(f"lowering must be one of {', '.join(LOWERINGS)}, got {lowering!r}")
    if graph not in GRAPH_FORMS:
        raise ExportError(f"graph must be one of {', '.join(GRAPH_FORMS)}, got {graph!r}")
    if (fanouts is None) == (lowering == "blocks"):
        raise ExportError('lowering="blocks" and fanouts go together: give both or neither')
    if batch is not None and not fanouts:
        raise ExportError('batch fixes the number of seeds of lowering="blocks" alone')
    inputs = name_inputs(module, example_inputs)
    parts = flatten(inputs)
    typed = any(part.key is not None for part in parts.values())
    if typed and graph == "csr":
        raise ExportError('graph="csr" is for graphs of one type of nodes; leave it out')
    if lowering == "blocks" and (typed or graph == "csr"):
        raise ExportError('lowering="blocks" takes a graph of one type of nodes as edge_index')
    held = _held(inputs, graph) if lowering == "baked" else {}
    fused = fuse(module)
    with torch.no_grad():
        answers = flat_answers(fused(**inputs), {part.key for part in parts.values() if part.key})
    model = _to_onnx(fused, parts, list(answers))
    passes.strip_prefix(model, "module.")
    tidy_splits(model)
    passes.merge_duplicates(model)
    passes.drop_unread_outputs(model)
    has_graph = "edge_index" in inputs and not held
    counted = passes.normalisations(model)
    choices = algebra.choose(
        model, _batch_norms(fused), folding=fold, summing_first=lowering == "blocks"
    )
    if held:
        baking.bake(model, held, sizes_of(parts))
    relations = dict[str, int]()
    if fanouts is not None:
        relations = passes.relation_counts(model)
        blocks.lower(model, fanouts, batch)
    if graph == "csr" and has_graph:
        passes.take_csr_inputs(model)
    hops = passes.count_hops(model) if fanouts is None else len(fanouts)
    pooling.fuse_scatters(model)
    pooling.name_graph_counts(model)
    tables = passes.table_sizes(model) | relations
    specs = tuple(
        replace(_spec(value, parts.get(value.name)), below=tables.get(value.name))
        for value in model.graph.input
    )
    # one input could tell whole-graph degrees of one graph, counted in one way
    takes_degrees = len(counted) == 1 and not typed and not held and fanouts is None
    if takes_degrees:
        passes.accept_in_degree(model)
    add_self_loops, fill_value = next(iter(counted), (True, 1.0))
    passes.check_safe(model)
    passes.attach_bodies(model)
    found = _lint(model, {} if held or fanouts else parts)
    # a value of all nodes, or layers that count degrees differently: no one input could tell them
    # the whole graph's
    whole_graph = bool(held) or (bool(counted) and not takes_degrees and fanouts is None)
    whole_graph |= any(finding.hazard == "whole-graph" for finding in found)
    described = about or About()
    form = "typed" if typed else graph if has_graph else "none"
    form = "blocks" if fanouts else form
    manifest = Manifest(
        inputs=specs,
        outputs=tuple(_spec(value, answers[value.name]) for value in model.graph.output),
        files={"model.onnx": None},  # pyright: ignore[reportArgumentType] -- filled when written
        producer=f"graphstill {version('graphstill')}",
        graph=form,
        lowering=lowering,
        hops=None if whole_graph else hops,
        in_degree=takes_degrees,
        add_self_loops=add_self_loops,
        fill_value=fill_value,
        parameters=count_parameters(module),
        embedding_parameters=count_embedding_parameters(module),
        limits={} if held or fanouts else dict.fromkeys(_node_counts(parts), 2**31 - 1),
        fanouts=None if fanouts is None else list(fanouts),
        choices=choices,
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
    if held:
        files[baking.GRAPH_FILE] = safetensors.numpy.save(held)
    return Bundle.write(path, manifest, files)


def _batch_norms(module: torch.nn.Module) -> list[str]:
    kind = torch.nn.modules.batchnorm._BatchNorm
    named = [(path, m) for path, m in module.named_modules() if isinstance(m, kind)]
    return [f"{path} ({type(m).__name__})" for path, m in named]


def _held(inputs: Mapping[str, Nested], graph: str) -> dict[str, NDArray[Any]]:
    """Return what the baked lowering fixes: all inputs but x, as arrays."""
    plain = {name: t.numpy() for name, t in inputs.items() if isinstance(t, Tensor) and name != "x"}
    if len(plain) + 1 != len(inputs) or "edge_index" not in plain:
        raise ExportError(
            'lowering="baked" needs features x and a graph edge_index of one type of nodes, got '
            f"{', '.join(inputs)}"
        )
    if graph != "edge_index":
        raise ExportError(f'lowering="baked" holds the graph; graph={graph!r} has no meaning then')
    return plain


def name_inputs(
    module: torch.nn.Module, example: Sequence[Nested] | Mapping[str, Nested]
) -> dict[str, Nested]:
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
    arguments: dict[str, Nested] = {}
    for name, value in bound.arguments.items():
        kind = signature.parameters[name].kind
        if kind == inspect.Parameter.VAR_POSITIONAL:
            raise ExportError(f"forward takes *{name}: give the example by name")
        arguments |= value if kind == inspect.Parameter.VAR_KEYWORD else {name: value}
    return {name: value for name, value in arguments.items() if value is not None}


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


def _to_onnx(
    module: torch.nn.Module, parts: Mapping[str, Part], outputs: Sequence[str]
) -> onnx.ModelProto:
    named = {dim for part in parts.values() for dim in (part.dimensions or {}).values()}
    dims = {dim: torch.export.Dim(dim, min=int(dim.startswith("num_nodes"))) for dim in named}
    try:
        with torch.no_grad(), _quiet():
            program = torch.onnx.export(
                Flat(module, parts.values()).eval(),
                tuple(part.value for part in parts.values()),
                dynamo=True,
                opset_version=OPSET,
                input_names=list(parts),
                output_names=list(outputs),
                dynamic_shapes=(
                    tuple(
                        {axis: dims[dim] for axis, dim in (part.dimensions or {}).items()}
                        for part in parts.values()
                    ),
                ),
                custom_translation_table=translation_table(),
                external_data=False,
                verbose=False,
            )
    except ExportError:
        raise
    except Exception as error:
        name = type(module).__name__
        raise ExportError(f"torch cannot export {name} to ONNX: {reason(error, module)}") from error
    assert program is not None
    model = program.model_proto
    _check_dynamic(model, parts)
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes about itself from the user; its errors are raised.

    It tries without Dynamo first, and prints and logs how that failed before it tries with it.
    """
    loggers = [logging.getLogger(name) for name in ("torch", "torch.onnx")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _check_dynamic(model: onnx.ModelProto, parts: Mapping[str, Part]) -> None:
    """Refuse a graph that torch has narrowed to some sizes: it would refuse all others."""
    for value in model.graph.input:
        shape = [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for axis, dim in (parts[value.name].dimensions or {}).items():
            if shape[axis] != dim:
                raise ExportError(
                    f"the module works for {dim} = {shape[axis]} only: something in forward "
                    "depends on the number itself"
                )


def _spec(value: onnx.ValueInfoProto, part: Part | None) -> TensorSpec:
    kind = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    shape = tuple(d.dim_param or d.dim_value for d in kind.shape.dim)
    if part is None or part.key is None:
        return TensorSpec(value.name, dtype.name, shape)
    return TensorSpec(value.name, dtype.name, shape, part.argument, part.key, part.ends)


def _node_counts(parts: Mapping[str, Part]) -> list[str]:
    dims = [dim for part in parts.values() for dim in (part.dimensions or {}).values()]
    return [dim for dim in dict.fromkeys(dims) if dim.startswith("num_nodes")]


def _lint(model: onnx.ModelProto, parts: Mapping[str, Part]) -> list[Finding]:
    """Return what the lint finds, the sizes of the example among it."""
    sizes = sizes_of(parts)
    if not any(dim.startswith("num_edges") for dim in sizes):
        sizes = {}
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
    if manifest.fanouts:
        facts["fanouts"] = ",".join(map(str, manifest.fanouts))
    onnx.helper.set_model_props(model, {f"graphstill.{k}": v for k, v in facts.items()})
