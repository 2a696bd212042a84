"""Reductions of rows by an index, such as pooling over graphs, as operators of ours.

PyG pools by scattering: an index of the features' own shape [N, F] is written, and ONNX Runtime
scatters on one thread. A sum of rows by graph is `spmm` over the graph that joins each node to its
graph, a maximum `extremum`; one `csr` node serves all poolings over one `batch`.
"""

import re
from collections.abc import Iterator

import numpy as np
import onnx
from onnx import helper, numpy_helper

from .bodies import DOMAIN

_REDUCE = {b"add": "sum", b"max": "max", b"min": "min"}


def fuse_scatters(model: onnx.ModelProto) -> None:
    """Replace scatters that reduce rows into zeros; whatever looks different stays as it is."""
    graphs: dict[tuple[str, str], list[str]] = {}
    for node in [n for n in model.graph.node if n.op_type == "ScatterElements"]:
        known = _Values(model)
        found = known.row_reduction(node)
        if found is None:
            continue
        index, count, reduce = found
        at = list(model.graph.node).index(node)
        added = []
        if (index, count) not in graphs:
            label = f"pooled_{len(graphs)}"
            added, graphs[index, count] = _csr(label, index, count)
        rowptr, col = graphs[index, count]
        added.append(
            helper.make_node(
                "spmm" if reduce == "sum" else "extremum",
                [rowptr, col, node.input[2]],
                [node.output[0]],
                domain=DOMAIN,
                reduce=reduce,
            )
        )
        model.graph.node.remove(node)
        for offset, new in enumerate(added):
            model.graph.node.insert(at + offset, new)
    _drop_unread(model)


class _Values:
    """Who makes a value, what is constant, and which shapes are known."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.made_by = {name: node for node in model.graph.node for name in node.output}
        self.constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        self.shapes = {
            value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
            for value in (*model.graph.input, *model.graph.value_info, *model.graph.output)
        }

    def row_reduction(self, node: onnx.NodeProto) -> tuple[str, str, str] | None:
        """Return index [N], number of rows and how they are reduced, if this is what a node does.

        A maximum is two scatters in torch's translation: rows that get something are set to the
        lowest number there is first.
        """
        data, indices, updates = node.input
        about = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        reduce, axis = about.get("reduction", b"none"), about.get("axis", 0)
        index = self._row_index(indices)
        same = self.shapes.get(indices) == self.shapes.get(updates, ())
        if reduce not in _REDUCE or axis != 0 or index is None or not same:
            return None
        before = self.made_by.get(data)
        if reduce != b"add" and before is not None and before.op_type == "ScatterElements":
            if before.input[1] != indices or not self._is_lowest(before.input[2], reduce):
                return None
            data, before = before.input[0], self.made_by.get(before.input[0])
        elif reduce != b"add":
            return None
        if before is None or before.op_type != "ConstantOfShape" or self._filled(before) != 0:
            return None
        return index, self._count(before.input[0]), _REDUCE[reduce]

    def _count(self, shape: str) -> str:
        """Return a vector that begins with a shape's number of rows, for any width the same."""
        node = self.made_by.get(shape)
        return node.input[0] if node is not None and node.op_type == "Concat" else shape

    def _row_index(self, name: str) -> str | None:
        """Return the index of rows [N] that was expanded to [N, F]."""
        node = self.made_by.get(name)
        if node is not None and node.op_type == "Expand":
            name, node = node.input[0], self.made_by.get(node.input[0])
        if node is None or node.op_type not in ("Reshape", "Unsqueeze"):
            return None
        to_column = {"Reshape": [[-1, 1]], "Unsqueeze": [[-1], [1]]}[node.op_type]
        given = self.constants.get(node.input[1], np.zeros(0)).tolist()
        is_row = len(self.shapes.get(node.input[0], ())) == 1
        return node.input[0] if given in to_column and is_row else None

    def _is_lowest(self, name: str, reduce: bytes) -> bool:
        node = self.made_by.get(name)
        if node is None or node.op_type != "ConstantOfShape":
            return False
        limit = np.finfo(np.float32).max
        return self._filled(node) == (-limit if reduce == b"max" else limit)

    def _filled(self, node: onnx.NodeProto) -> float:
        values = [numpy_helper.to_array(a.t) for a in node.attribute if a.name == "value"]
        return float(values[0].ravel()[0]) if values else 0.0


def _csr(label: str, index: str, count: str) -> tuple[list[onnx.NodeProto], list[str]]:
    """Return the nodes that sort rows by an index, and the names of rowptr and col."""

    def constant(name: str, value: int | list[int]) -> onnx.NodeProto:
        tensor = numpy_helper.from_array(np.asarray(value, np.int64))
        return helper.make_node("Constant", [], [f"{label}_{name}"], value=tensor)

    def node(op_type: str, inputs: str, output: str) -> onnx.NodeProto:
        names = [word if word in (index, count) else f"{label}_{word}" for word in inputs.split()]
        return helper.make_node(op_type, names, [f"{label}_{output}"])

    rowptr, col = f"{label}_rowptr", f"{label}_col"
    nodes = [
        constant("zero", 0),
        constant("one", 1),
        constant("first", [0]),
        node("Size", index, "rows"),
        node("Gather", f"{count} zero", "groups"),
        node("Range", "zero rows one", "row"),
        node("Unsqueeze", "row first", "row_2d"),
        node("Unsqueeze", f"{index} first", "group_2d"),
    ]
    row, group, edges = (f"{label}_{name}" for name in ("row_2d", "group_2d", "edges"))
    nodes.append(helper.make_node("Concat", [row, group], [edges], axis=0))
    sizes = [f"{label}_rows", f"{label}_groups"]
    nodes.append(helper.make_node("csr", [edges, *sizes], [rowptr, col, ""], domain=DOMAIN))
    return nodes, [rowptr, col]


def _drop_unread(model: onnx.ModelProto) -> None:
    """Drop nodes whose results nobody reads."""
    read = {output.name for output in model.graph.output}
    for node in reversed(list(model.graph.node)):
        if read.isdisjoint(node.output):
            model.graph.node.remove(node)
        else:
            read |= {*node.input, *_inner_reads(node)}


def _inner_reads(node: onnx.NodeProto) -> Iterator[str]:
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from inner.input
            yield from _inner_reads(inner)


def name_graph_counts(model: onnx.ModelProto) -> None:
    """Call what is counted at run time, the number of graphs in `batch`, by its name."""
    if not any(value.name.startswith("batch") for value in model.graph.input):
        return
    values = [*model.graph.value_info, *model.graph.output]
    dims = [d for value in values for d in value.type.tensor_type.shape.dim]
    counted = dict.fromkeys(
        d.dim_param
        for value in model.graph.output
        for d in value.type.tensor_type.shape.dim
        if re.match(r"u\d+\b", d.dim_param)
    )
    names = {
        old: "num_graphs" if i == 0 else f"num_graphs_{i + 1}" for i, old in enumerate(counted)
    }
    for dim in dims:
        if dim.dim_param in names:
            dim.dim_param = names[dim.dim_param]
