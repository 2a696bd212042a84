"""What becomes of torch's graph: choices of algebra, the lowering, degrees, function bodies."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from . import algebra, baking, blocks, passes, pooling
from .errors import ExportError
from .flattening import Nested, Part, sizes_of
from .form import Form
from .gat_updates import sum_before_products
from .gatv2_updates import fuse_products
from .head_means import fuse_head_means
from .hops import count_hops
from .lint import Finding, lint_model
from .relational import tidy_splits
from .updates import fuse_updates


@dataclass(frozen=True)
class Lowered:
    """What a lowered model is like.

    Attributes:
        hops: How far an answer looks, in edges; None where it looks at the whole graph.
        in_degree: Whether it takes an optional `in_degree`.
        add_self_loops: Whether every node has a self loop in `in_degree`.
        fill_value: Weight of an added self loop.
        tables: By input of ids, the number of rows of what the ids look up.
        choices: What was computed in another way than the network says.
        findings: What the lint says.
    """

    hops: int | None
    in_degree: bool
    add_self_loops: bool
    fill_value: float
    tables: dict[str, int]
    choices: dict[str, list[str]]
    findings: list[Finding] = field(default_factory=list)


def lower(
    model: onnx.ModelProto,
    module: torch.nn.Module,
    parts: Mapping[str, Part],
    form: Form,
    held: Mapping[str, NDArray[Any]],
) -> Lowered:
    """Turn torch's graph into the model of a bundle, in place.

    Args:
        model: The graph of the module, with nodes of our domain.
        module: The module, its convolutions fused.
        parts: Its inputs.
        form: What to turn it into.
        held: Inputs that a baked model holds.

    Raises:
        ExportError: If the model has no such form, or is not safe.
    """
    passes.strip_prefix(model, "module.")
    tidy_splits(model)
    passes.merge_duplicates(model)
    passes.drop_unread_outputs(model)
    counted = passes.normalisations(model)
    choices = algebra.choose(
        model,
        _batch_norms(module),
        folding=form.fold,
        summing_first=form.lowering == "blocks",
    )
    fusing = form.fuse and form.fanouts is None
    if fusing and (averaged := fuse_head_means(model)):
        choices["heads averaged while neighbours are summed"] = averaged
    if fusing and (summed := sum_before_products(model)):
        choices = algebra.merged(choices, {algebra.SUMMED_FIRST: summed})
    if fusing and (multiplied := fuse_products(model)):
        choices["both ends multiplied where they are attended to"] = multiplied
    tables = _take_form(model, parts, form, held)
    hops = count_hops(model) if form.fanouts is None else len(form.fanouts)
    pooling.fuse_scatters(model)
    pooling.name_graph_counts(model)
    tables = passes.table_sizes(model) | tables
    typed = any(part.key is not None for part in parts.values())
    # one input could tell whole-graph degrees of one graph, counted in one way
    fixed = bool(held) or form.fanouts is not None
    takes_degrees = len(counted) == 1 and not typed and not fixed
    if takes_degrees:
        passes.accept_in_degree(model)
    passes.check_safe(model)
    if fusing and (updated := fuse_updates(model)):
        choices["rows updated while neighbours are summed"] = list(dict.fromkeys(updated))
    passes.attach_bodies(model)
    findings = _lint(model, {} if held or form.fanouts else parts)
    # a value of all nodes, or layers that count degrees differently: no one input could tell them
    # the whole graph's
    whole = bool(held) or (bool(counted) and not takes_degrees and form.fanouts is None)
    whole |= any(finding.hazard == "whole-graph" for finding in findings)
    add_self_loops, fill_value = next(iter(counted), (True, 1.0))
    return Lowered(
        None if whole else hops,
        takes_degrees,
        add_self_loops,
        fill_value,
        tables,
        choices,
        findings,
    )


def _take_form(
    model: onnx.ModelProto, parts: Mapping[str, Part], form: Form, held: Mapping[str, NDArray[Any]]
) -> dict[str, int]:
    """Put the graph in, cut it into trees, or take it sorted; return what relations there were."""
    if held:
        baking.bake(model, dict(held), sizes_of(parts))
    elif form.fanouts is not None:
        relations = passes.relation_counts(model)
        blocks.lower(model, form.fanouts, form.batch)
        return relations
    elif form.graph == "csr" and (ends := _destinations(parts)):
        passes.take_csr_inputs(model, ends)
    return {}


def _destinations(parts: Mapping[str, Part]) -> dict[str, str]:
    """Return what the destinations of each edge list count in."""
    typed = {name: part.ends[1] for name, part in parts.items() if part.ends is not None}
    return typed or ({"edge_index": "num_nodes"} if "edge_index" in parts else {})


def held_inputs(inputs: Mapping[str, Nested]) -> dict[str, NDArray[Any]]:
    """Return what the baked lowering fixes: all inputs but x, as arrays.

    Raises:
        ExportError: If they are not those of a graph of one type of nodes.
    """
    plain = {name: t.numpy() for name, t in inputs.items() if isinstance(t, Tensor) and name != "x"}
    if len(plain) + 1 != len(inputs) or "edge_index" not in plain:
        raise ExportError(
            'lowering="baked" needs features x and a graph edge_index of one type of nodes, got '
            f"{', '.join(inputs)}"
        )
    return plain


def _batch_norms(module: torch.nn.Module) -> list[str]:
    kinds = torch.nn.BatchNorm1d | torch.nn.SyncBatchNorm
    named = [(path, m) for path, m in module.named_modules() if isinstance(m, kinds)]
    return [f"{path} ({type(m).__name__})" for path, m in named]


def _lint(model: onnx.ModelProto, parts: Mapping[str, Part]) -> list[Finding]:
    """Return what the lint finds, the sizes of the example among it."""
    sizes = sizes_of(parts)
    if not any(dim.startswith("num_edges") for dim in sizes):
        sizes = {}
    return lint_model(model, sizes=sizes).findings
