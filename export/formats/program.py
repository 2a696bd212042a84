"""A module as a program of torch that takes what a manifest lists, and walks its graph sorted once.

Tracing sees each layer sort and normalise the graph for itself, and an edge list whatever the form
of the graph. The passes here are those that `export.passes` makes over ONNX.
"""

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram
from torch.fx import Graph, Node
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from ...kernels import CSRGraph
from ...serve import Manifest, TensorSpec
from ..flattening import Key, Nested, flat_answers, flatten, nest
from ..tracing import fuse

aten, graphstill = torch.ops.aten, torch.ops.graphstill


def traced(
    module: torch.nn.Module, example: Mapping[str, Nested], manifest: Manifest, device: str
) -> ExportedProgram:
    """Return a module with fused convolutions as a program on a device.

    It takes the inputs of the manifest in their order, behind them in_degree where the manifest has
    it, [N] or [0], and answers with a tuple. Its numbers of nodes and edges are dynamic.

    Raises:
        Exception: Whatever torch says of what it cannot trace.
    """
    tensors = _in_order(example, manifest)
    shapes = [_dynamic(spec) for spec in manifest.inputs]
    if manifest.in_degree:
        tensors.append(torch.ones(3))
        shapes.append({0: Dim("degrees", min=0)})
    places = [(spec.argument or spec.name, spec.key) for spec in manifest.inputs]
    called = _Called(fuse(module), places, manifest.graph == "csr").eval().to(device)
    program = _program(called, tuple(t.to(device) for t in tensors), tuple(shapes))
    _rewrite(program.graph_module.graph, manifest)
    program.graph_module.recompile()
    return program


def operators_of(graph: Graph) -> list[Node]:
    """Return the operators of ours in a graph."""
    return [node for node in graph.nodes if getattr(node.target, "namespace", "") == "graphstill"]


def _in_order(example: Mapping[str, Nested], manifest: Manifest) -> list[Tensor]:
    """Return the example's tensors in the order of the manifest."""
    values = {name: part.value for name, part in flatten(example).items()}
    if manifest.graph == "csr":
        graph = CSRGraph.from_edge_index(values["edge_index"], values["x"].shape[0])
        values |= {"rowptr": graph.rowptr, "col": graph.col}
    return [values[spec.name] for spec in manifest.inputs]


def _dynamic(spec: TensorSpec) -> dict[int, Any]:
    """Return the axes of an input whose sizes may differ from call to call."""
    found: dict[int, Any] = {}
    for axis, size in enumerate(spec.shape):
        if isinstance(size, str):
            name, _, more = size.partition(" + ")  # "num_nodes + 1"
            found[axis] = Dim(name, min=0) + int(more) if more else Dim(name, min=0)
    return found


class _Called(torch.nn.Module):
    """A module as the program calls it; of tensors behind those with a place it knows nothing."""

    def __init__(
        self, module: torch.nn.Module, places: Sequence[tuple[str, Key | None]], csr: bool
    ) -> None:
        super().__init__()
        self.module, self.places, self.csr = module, places, csr

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return the answers, flat."""
        arguments = nest(self.places, tensors[: len(self.places)])
        if self.csr:  # the module never knows: it always sees edge_index
            rowptr, col = arguments.pop("rowptr"), arguments.pop("col")
            rows = torch.ops.graphstill.edge_rows(rowptr, col)
            arguments["edge_index"] = torch.stack([col.to(torch.int64), rows])
        answers = flat_answers(self.module(**arguments))
        return tuple(part.value for part in answers.values())


def _program(
    called: torch.nn.Module, arguments: tuple[Tensor, ...], shapes: tuple[dict[int, Any], ...]
) -> ExportedProgram:
    """Trace a module: as it runs, or by Dynamo where a size depends on values, as in pooling."""
    try:
        return torch.export.export(called, arguments, dynamic_shapes=(shapes,))
    except GuardOnDataDependentSymNode:
        return torch.export.export(called, arguments, dynamic_shapes=(shapes,), strict=True)


def _rewrite(graph: Graph, manifest: Manifest) -> None:
    """Let a graph sort and normalise once, or take what is sorted and counted already."""
    names = [spec.name for spec in manifest.inputs] + ["in_degree"] * manifest.in_degree
    nodes = [node for node in graph.nodes if node.op == "placeholder"]
    inputs = dict(zip(names, nodes[-len(names) :], strict=True))  # weights come first
    _drop_conversions(graph)
    _merge_duplicates(graph)
    if manifest.graph == "csr":
        _take_csr(graph, inputs["rowptr"], inputs["col"])
    if manifest.in_degree:
        for node in operators_of(graph):
            if node.target is graphstill.gcn_norm.default:
                node.update_arg(3, inputs["in_degree"])
    graph.eliminate_dead_code()
    graph.lint()


def _drop_conversions(graph: Graph) -> None:
    """Drop conversions to the type that a tensor has already, and what checks for it."""
    for node in list(graph.nodes):
        if node.target is aten._assert_tensor_metadata.default:
            graph.erase_node(node)
        elif node.target is aten.to.dtype:
            given: Any = node.args[0]
            if given.meta["val"].dtype == node.meta["val"].dtype:
                node.replace_all_uses_with(given)
                graph.erase_node(node)


def _merge_duplicates(graph: Graph) -> None:
    """Keep one of several operators of ours that compute the same thing.

    To Inductor they are opaque, and it keeps all.
    """
    seen: dict[tuple[Any, ...], Node] = {}
    ours = set(operators_of(graph))
    for node in list(graph.nodes):
        if node in ours or node.target is operator.getitem:
            first = seen.setdefault((node.target, node.args, tuple(node.kwargs.items())), node)
            if first is not node:
                node.replace_all_uses_with(first)
                graph.erase_node(node)


def _take_csr(graph: Graph, rowptr: Node, col: Node) -> None:
    """Put rowptr and col where edges are sorted that are in their order already."""
    for node in operators_of(graph):
        edges: Any = node.args[0]
        if node.target is not graphstill.csr.default or edges.target is not aten.stack.default:
            continue
        with graph.inserting_before(node):
            count = graph.call_function(aten.sym_size.int, (col, 0))
            device = {"device": col.meta["val"].device}
            perm = graph.call_function(aten.arange.default, (count,), device)
        for part in list(node.users):
            which: Any = part.args[1]
            part.replace_all_uses_with((rowptr, col, perm)[which])
            graph.erase_node(part)
        graph.erase_node(node)
