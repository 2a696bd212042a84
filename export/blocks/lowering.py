"""From a graph over all nodes to one over trees: each value is computed where it is asked for.

A tree has its seed as level 0, and K_l slots below each slot of level l - 1, in this order, one
after the other; a call gives a row per slot, [batch, slots, …]. Starting from the answers of level
0, a value of level l is computed from the same level, except that an operator of ours looks at what
is below, at level l + 1. So nothing is computed that no seed needs, and what a layer does besides
aggregating is copied as it is, once for each level that needs it.

Right for whatever treats nodes alike and one by one; what looks at all nodes is refused.
"""

from collections.abc import Sequence

import onnx
from onnx import helper

from ..errors import ExportError
from ..hops import count_hops, summary_of_graph
from ..lint import lint_model
from ..passes import module_of, normalisations, ours
from .levels import INSTEAD, Levels
from .trees import COUNTED, Trees

_LARGEST = 2**20


def lower(model: onnx.ModelProto, fanouts: Sequence[int], batch: int | None = None) -> None:
    """Rewrite a model of a whole graph, in place, for trees of in-neighbours.

    Args:
        model: The model, its aggregations as nodes of our domain.
        fanouts: Number of in-neighbours of each hop, from the seeds outwards; none for a model
            without a graph, which stays as it is.
        batch: Number of trees in a call; any if None.

    Raises:
        ExportError: If an answer depends on more than a tree, or an operator has no form for trees.
            The message names the module.
    """
    trees = Trees(tuple(fanouts), batch)
    _check(model, trees)
    if not fanouts:
        return
    levels = Levels(model, trees)
    answers = [levels.value(output.name, 0) for output in model.graph.output]
    for output, made in zip(model.graph.output, answers, strict=True):
        if made != output.name:
            levels.emit.nodes.append(helper.make_node("Identity", [made], [output.name]))
    _put(model, levels)


def _check(model: onnx.ModelProto, trees: Trees) -> None:
    fanouts = list(trees.fanouts)
    if any(type(count) is not int or count < 1 for count in fanouts):
        raise ExportError(f"fanouts must be positive whole numbers, got {fanouts}")
    if trees.batch is not None and trees.batch < 1:
        raise ExportError(f"batch must be at least 1, got {trees.batch}")
    for finding in lint_model(model).findings:
        if finding.hazard == "whole-graph":
            node = next((n for n in model.graph.node if n.name == finding.node), None)
            raise ExportError(f"{module_of(node)}: {finding.operator} {finding.message}{INSTEAD}")
    summary, hops = summary_of_graph(model), count_hops(model)
    if summary is not None:
        said = f"{summary.op_type} makes one value of all nodes or edges"
        raise ExportError(f"{module_of(summary)}: {said}.{INSTEAD}")
    if len(fanouts) != hops:
        raise ExportError(f"an answer looks along {hops} hops: give {hops} fanouts, got {fanouts}")
    if trees.slots > _LARGEST:
        raise ExportError(
            f"trees of {fanouts} have {trees.slots:,} slots, at most {_LARGEST:,} are allowed"
        )
    if len(normalisations(model)) > 1:
        raise ExportError("layers count in-degrees differently; no one input could tell them")
    for node in ours(model, "csr"):
        if node.input[0] != "edge_index":
            raise ExportError(f"{module_of(node)}: it builds a graph of its own.{INSTEAD}")
    taken = {value.name for value in model.graph.input} & set(COUNTED)
    if taken:
        raise ExportError(
            f"blocks have inputs {', '.join(taken)} of their own; rename the module's"
        )
    _check_weights(model)
    for output in model.graph.output:
        rows = output.type.tensor_type.shape.dim[0].dim_param
        if rows != "num_nodes":
            raise ExportError(f"{output.name} has a row for each of {rows}, not of the nodes")


def _check_weights(model: onnx.ModelProto) -> None:
    """Refuse a normalisation by weights that only the model knows: who counts degrees must too."""
    makers = {name: node for node in model.graph.node for name in node.output}
    for node in ours(model, "gcn_norm"):
        name = node.input[2] if len(node.input) > 2 else ""
        while name in makers and makers[name].op_type in ("Gather", "Cast", "Identity"):
            name = makers[name].input[0]
        if name not in ("", "edge_weight"):
            said = "it normalises by weights that the model computes"
            raise ExportError(f"{module_of(node)}: {said}; blocks need them as input edge_weight")


def _put(model: onnx.ModelProto, levels: Levels) -> None:
    """Replace what a model holds by what was made."""
    graph = model.graph
    read = {name for node in levels.emit.nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.node[:], graph.input[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(levels.emit.nodes)
    graph.initializer.extend([*kept, *levels.emit.constants])
    order = sorted(levels.inputs, key=lambda name: name in COUNTED)
    graph.input.extend(levels.inputs[name] for name in order)
    for output in graph.output:
        rows = output.type.tensor_type.shape.dim[0]
        if levels.trees.batch is None:
            rows.dim_param = "batch"
        else:
            rows.dim_value = levels.trees.batch
    model.CopyFrom(onnx.shape_inference.infer_shapes(model))
