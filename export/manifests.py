"""The manifest of an exported network: what the exporter knows, and what it is told."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any

import onnx
import torch

from ..serve import Manifest, TensorSpec
from .flattening import Part
from .form import Form
from .lowering import Lowered


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


def manifest_of(
    model: onnx.ModelProto,
    module: torch.nn.Module,
    parts: Mapping[str, Part],
    answers: Mapping[str, Part],
    form: Form,
    lowered: Lowered,
    about: About,
) -> Manifest:
    """Return the manifest of a lowered model, its files still without hashes.

    Args:
        model: The model.
        module: The network.
        parts: Its inputs.
        answers: Its outputs.
        form: What the model was turned into.
        lowered: What is known of it since.
        about: What to say of it.
    """
    fixed = form.lowering == "baked" or bool(form.fanouts)
    # `in_degree` may be left out of a call, and is told of by its flag
    given = [v for v in model.graph.input if not (lowered.in_degree and v.name == "in_degree")]
    return Manifest(
        inputs=tuple(
            replace(_spec(value, _part(value, parts)), below=lowered.tables.get(value.name))
            for value in given
        ),
        outputs=tuple(_spec(value, answers[value.name]) for value in model.graph.output),
        files={"model.onnx": None},  # pyright: ignore[reportArgumentType] -- filled when written
        producer=f"graphstill {version('graphstill')}",
        graph=_graph(parts, form),
        lowering=form.lowering,
        hops=lowered.hops,
        in_degree=lowered.in_degree,
        add_self_loops=lowered.add_self_loops,
        fill_value=lowered.fill_value,
        parameters=count_parameters(module),
        embedding_parameters=count_embedding_parameters(module),
        limits={} if fixed else dict.fromkeys(_node_counts(parts), 2**31 - 1),
        fanouts=None if form.fanouts is None else list(form.fanouts),
        choices=lowered.choices,
        warnings=[str(finding) for finding in lowered.findings if finding.severity != "note"],
        **vars(about),
    )


def _part(value: onnx.ValueInfoProto, parts: Mapping[str, Part]) -> Part | None:
    """Return the part that an input is, or whose sources it is."""
    label = value.name.removeprefix("col")
    return parts.get(value.name) or parts.get(f"edge_index{label}")


def _graph(parts: Mapping[str, Part], form: Form) -> str:
    """Return in which form a model takes its graph."""
    if any(part.key is not None for part in parts.values()):
        return "typed"
    if form.fanouts:
        return "blocks"
    return form.graph if "edge_index" in parts and form.lowering != "baked" else "none"


def count_parameters(module: torch.nn.Module) -> int:
    """Return how many trainable numbers a module has, each counted once."""
    return sum(p.numel() for p in module.parameters())


def count_embedding_parameters(module: torch.nn.Module) -> int:
    """Return how many of a module's parameters are embedding tables."""
    tables = [m.weight for m in module.modules() if isinstance(m, torch.nn.Embedding)]
    return sum(table.numel() for table in dict.fromkeys(tables))


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


def describe(model: onnx.ModelProto, manifest: Manifest) -> None:
    """Write the facts of a manifest into the metadata of its model."""
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
