"""Values of the levels of trees, each made when it is first asked for.

What a module computes between its convolutions is copied for each level that needs it; operators of
ours are written by their forms; a Gather of an end of each edge is a step between two levels.
"""

from collections.abc import Iterator, Sequence

import onnx
from onnx import helper

from ..bodies import DOMAIN
from ..errors import ExportError
from ..passes import module_of, value_infos
from .emitter import Emitter
from .forms import FORMS
from .hop import Hop, scalar
from .relational import sum_of_relations
from .trees import COUNTED, COUNTS, Trees

_BROADCASTING = ("Add", "Div", "Max", "Min", "Mul", "Pow", "Sub")
_PASS_ON = ("Cast", "Identity", "Reshape", "Unsqueeze")
INSTEAD = ' lowering="blocks" shows a seed its own in-neighbours alone; use lowering="fused"'


class Levels:
    """Values of each level of the trees, made when they are first asked for.

    Attributes:
        trees: The shape of the trees.
        emit: The nodes made so far.
        inputs: Inputs that they read, by name.
    """

    def __init__(self, model: onnx.ModelProto, trees: Trees) -> None:
        self.trees = trees
        self.emit = Emitter(_names(model))
        self.inputs: dict[str, onnx.ValueInfoProto] = {}
        self._given = {value.name: value for value in model.graph.input}
        self._makers = {name: node for node in model.graph.node for name in node.output if name}
        self._shapes = dict(_shapes(model))
        self._local = set(_depending(model))
        self._ends = dict(_ends(model))
        self._made: dict[tuple[str, int], str] = {}
        self._kept = set[str]()

    def maker(self, name: str) -> onnx.NodeProto:
        """Return the node that made a value in the model over all nodes."""
        return self._makers[name]

    def maker_or_none(self, name: str) -> onnx.NodeProto | None:
        """Return the same, None for inputs and weights."""
        return self._makers.get(name)

    def given(self, name: str, level: int, value: str) -> None:
        """Say what a value is for the nodes of a level."""
        self._made[name, level] = value

    def widths(self, name: str) -> list[int]:
        """Return the sizes of a value's rows, or all of one that has no rows of nodes."""
        dims = self._shapes.get(name)
        fixed = [dim for dim in (dims or [])[name in self._local :] if isinstance(dim, int)]
        if dims is None or len(fixed) < len(dims) - (name in self._local):
            raise ExportError(f"{self._module(name)}: {name} has rows of no fixed width, {dims}")
        return fixed

    def _module(self, name: str) -> str:
        return module_of(self._makers.get(name))

    def value(self, name: str, level: int) -> str:
        """Return what a value is for the nodes of a level; weights are the same for all."""
        if name not in self._local:
            return self._weight(name)
        if (name, level) not in self._made:
            self._make(name, level)
        return self._made[name, level]

    def value_or_number(self, name: str, level: int) -> str:
        """Return the same, or the one number [1] that was expanded to all nodes."""
        node = self._makers.get(name)
        if node is not None and node.op_type == "Expand" and node.input[0] not in self._local:
            return self._weight(node.input[0])
        return self.value(name, level)

    def _weight(self, name: str) -> str:
        """Return a weight, or what is computed from weights alone, which is kept as it is."""
        node = self._makers.get(name)
        if node is not None and name not in self._kept:
            self._kept |= set(node.output)
            for read in filter(None, node.input):
                self._weight(read)
            self.emit.nodes.append(node)
        return name

    def _make(self, name: str, level: int) -> None:
        if name in self._given:
            self._made[name, level] = self._of_input(name, level)
            return
        node = self._makers[name]
        if node.domain == DOMAIN:
            made = self._by_form(node, level)
        elif node.op_type == "Gather" and node.input[1] in self._ends:
            made = [self._along(node, level)]
        elif node.op_type == "Equal" and all(name in self._ends for name in node.input):
            made = [self._is_loop(level)]
        else:
            made = self._copied(node, level)
        self._made |= {(n, level): m for n, m in zip(node.output, made, strict=False)}
        if (name, level) not in self._made:
            raise ExportError(f"{module_of(node)}: {name} has no form for trees{INSTEAD}")

    def _by_form(self, node: onnx.NodeProto, level: int) -> list[str]:
        rowptr = self._makers.get(node.input[0])
        if node.op_type == "spmm" and rowptr is not None and rowptr.op_type == "relational_csr":
            return [sum_of_relations(self, node, level)]
        if node.op_type not in FORMS or not self._walks_edges(node):
            raise ExportError(f"{module_of(node)}: {node.op_type} has no form for trees.{INSTEAD}")
        return FORMS[node.op_type](Hop(self, node, level))

    def _walks_edges(self, node: onnx.NodeProto) -> bool:
        """Return whether an operator walks the graph's edges, and neither others nor a part."""
        rowptr = self._makers.get(node.input[0])
        if rowptr is None or rowptr.op_type != "csr":
            return False
        names_edges = self._ends.get(node.input[1]) == "source"
        return names_edges or any(self.belongs_to_edges(name) for name in node.input[1:4])

    def _copied(self, node: onnx.NodeProto, level: int) -> list[str]:
        if any(a.HasField("g") for a in node.attribute):
            raise ExportError(f"{module_of(node)}: {node.op_type} holds a graph{INSTEAD}")
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        del copy.metadata_props[:], copy.input[:], copy.output[:]
        read = [self._unexpanded(node, name) for name in node.input]
        copy.input.extend(self.value(name, level) if name else "" for name in read)
        copy.output.extend(self._named(name, level) for name in node.output)
        copy.name = f"{node.name}_hop{level}" if level else node.name
        self.emit.nodes.append(copy)
        return list(copy.output)

    def _unexpanded(self, node: onnx.NodeProto, name: str) -> str:
        """Return what an input was expanded from, where the operator would expand it itself."""
        maker = self._makers.get(name)
        if node.op_type not in _BROADCASTING or maker is None or maker.op_type != "Expand":
            return name
        others = [self._shapes.get(other) for other in node.input if other != name]
        data = maker.input[0]
        fits = self._shapes.get(name) in others and data in self._shapes
        return data if fits and len(self._shapes[data]) == len(self._shapes[name]) else name

    def _named(self, name: str, level: int) -> str:
        return self.emit.name(f"{name}_hop{level}") if name and level else name

    def _along(self, node: onnx.NodeProto, level: int) -> str:
        """Return what an end of each edge has, or what edges have in another order: as it is."""
        data, end = node.input[0], self._ends[node.input[1]]
        if end == "order":
            return self.value(data, level)
        if end == "source":
            return self.value(data, level + 1)
        emit, fan_out, rest = self.emit, self.trees.fanouts[level], self.widths(data)
        times = emit.ints(1, fan_out, *[1] * len(rest))
        tiled = emit("Tile", emit.unsqueeze(self.value(data, level), 1), times)
        return emit.reshape(tiled, -1, *rest)

    def belongs_to_edges(self, name: str) -> bool:
        """Return whether a value has a row per edge."""
        return self._shapes.get(name, [])[:1] == ["num_edges"]

    def _of_input(self, name: str, level: int) -> str:
        """Return an input's rows of a level; an edge's lie in the slot that it comes from."""
        kind, dims = self._given[name].type.tensor_type, self._shapes[name]
        if dims[0] not in ("num_nodes", "num_edges") or name == "edge_index":
            raise ExportError(f"the model uses {name} {dims} outside its convolutions.{INSTEAD}")
        rest = self.widths(name)
        self._declare(name, kind.elem_type, rest)
        return self._rows(name, level + (dims[0] == "num_edges"), rest)

    def extra(self, name: str, level: int) -> str:
        """Return an input of the trees that the whole graph's model had not, [n] of a level."""
        self._declare(name, onnx.TensorProto.FLOAT, [])
        return self._rows(name, level, [])

    def _declare(self, name: str, element: int, rest: Sequence[int]) -> None:
        shape = [self.trees.batch or "batch", self.trees.slots, *rest]
        value = helper.make_tensor_value_info(name, element, shape)
        self.inputs.setdefault(name, value)

    def _rows(self, name: str, level: int, rest: Sequence[int]) -> str:
        rows = self.emit.sliced(name, 1, *self.trees.bounds(level))
        return self.emit.reshape(rows, -1, *rest)

    def counts(self, level: int, loops: bool) -> str:
        """Return how many in-edges the slots below a level stand for, [n, K]."""
        return self.emit("Abs" if loops else "Relu", self._signed_counts(level))

    def mask(self, level: int, loops: bool) -> str:
        """Return 1 for slots below a level that stand for an in-edge, else 0, [n, K]."""
        return self.emit("Clip", self.counts(level, loops), *self.unit_interval())

    def _is_loop(self, level: int) -> str:
        """Return whether slots below a level are self loops, [n · K] bool."""
        negative = self.emit("Mul", self._signed_counts(level), self.emit.number(-1.0))
        bound = self.emit("Clip", negative, *self.unit_interval())
        return self.emit.reshape(self.emit("Cast", bound, to=onnx.TensorProto.BOOL), -1)

    def _signed_counts(self, level: int) -> str:
        return self.emit.reshape(self.extra(COUNTS, level + 1), -1, self.trees.fanouts[level])

    def unit_interval(self) -> tuple[str, str]:
        """Return the bounds 0 and 1."""
        return self.emit.constant(scalar(0.0)), self.emit.constant(scalar(1.0))

    def is_loop_weight(self, name: str) -> bool:
        """Return whether a value is what GCN weighs nodes themselves by."""
        node = self._makers.get(name)
        return node is not None and node.op_type == "gcn_norm" and node.output[1] == name


def _names(model: onnx.ModelProto) -> Iterator[str]:
    yield from (value.name for value in model.graph.input)
    yield from (tensor.name for tensor in model.graph.initializer)
    yield from (name for node in model.graph.node for name in node.output)
    yield from COUNTED


def _shapes(model: onnx.ModelProto) -> Iterator[tuple[str, list[int | str]]]:
    for value in value_infos(model):
        dims = value.type.tensor_type.shape.dim
        yield value.name, [d.dim_param or d.dim_value for d in dims]
    for tensor in model.graph.initializer:
        yield tensor.name, [*tensor.dims]


def _depending(model: onnx.ModelProto) -> Iterator[str]:
    """Yield the inputs and all that is computed from them."""
    found = {value.name for value in model.graph.input}
    for node in model.graph.node:
        if not found.isdisjoint(node.input):
            found |= set(filter(None, node.output))
    yield from found


def _ends(model: onnx.ModelProto) -> Iterator[tuple[str, str]]:
    """Yield what an index of edges stands for: their "source", "target" or "order"."""
    found: dict[str, str] = {}
    for node in model.graph.node:
        if node.domain == DOMAIN and node.op_type == "csr":
            found |= {node.output[1]: "source", node.output[2]: "order"}
        elif node.domain == DOMAIN and node.op_type == "edge_rows":
            found[node.output[0]] = "target"
        elif node.op_type in _PASS_ON and node.input[0] in found:
            found[node.output[0]] = found[node.input[0]]
    found.pop("", None)
    yield from found.items()
