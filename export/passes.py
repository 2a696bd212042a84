"""What is done to an exported graph before it is written: small passes over onnx.ModelProto."""

from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ..serve.tensors import sorted_names
from .bodies import DOMAIN, body_for
from .errors import ExportError


def ours(model: onnx.ModelProto, *op_types: str) -> list[onnx.NodeProto]:
    """Return the nodes of our domain, of the given types or of all."""
    nodes = [node for node in model.graph.node if node.domain == DOMAIN]
    return [node for node in nodes if not op_types or node.op_type in op_types]


def module_of(node: onnx.NodeProto | None) -> str:
    """Return path and class of the module that a node was traced in."""
    about = {p.key: p.value for p in node.metadata_props} if node is not None else {}
    path, _, kind = about.get("namespace", "").rpartition("/")[0].rpartition("/")[2].partition(": ")
    path = path.removeprefix("module").removeprefix(".")
    return f"{path or '(itself)'} ({kind.rpartition('.')[2]})" if kind else "the module"


def strip_prefix(model: onnx.ModelProto, prefix: str) -> None:
    """Take what a module that was wrapped is called in the wrapper off the names of weights."""
    taken = {value.name for value in model.graph.input}
    taken |= {name for node in model.graph.node for name in node.output}
    for tensor in model.graph.initializer:
        short = tensor.name.removeprefix(prefix)
        if short not in taken:
            _rename(model, tensor.name, short)
            tensor.name = short


def merge_duplicates(model: onnx.ModelProto) -> None:
    """Keep one of several nodes of our domain that compute the same thing.

    Every layer sorts and normalises the graph for itself; ONNX Runtime does not notice.
    """
    seen: dict[tuple[object, ...], onnx.NodeProto] = {}
    for node in ours(model):
        attributes = tuple(sorted(a.SerializeToString() for a in node.attribute))
        first = seen.setdefault((node.op_type, tuple(node.input), attributes), node)
        if first is not node:
            for old, new in zip(node.output, first.output, strict=True):
                _rename(model, old, new)
            model.graph.node.remove(node)


def drop_unread_outputs(model: onnx.ModelProto) -> None:
    """Drop optional outputs at a node's end that nobody reads, so that they are not computed."""
    for node in ours(model, "csr", "relational_csr"):
        if node.output[-1] and not _is_read(model, node.output[-1]):
            node.output[-1] = ""
    for node in ours(model, "edge_softmax"):
        if len(node.input) < 3:  # there are no scores of nodes, and nothing to answer for them
            del node.output[1:]


def take_csr_inputs(model: onnx.ModelProto, ends: Mapping[str, str]) -> None:
    """Replace edge lists and their sorting by rowptr and col, of each type of edges if there are.

    What belongs to an edge must then be given in CSR order, so its reordering goes too.

    Args:
        model: The model.
        ends: The dimension that the destinations of each edge list count in, by its name.

    Raises:
        ExportError: If the model sorts another graph, or uses an edge list for anything but its
            convolutions.
    """
    nodes = ours(model, "csr")
    sorted_lists = [node.input[0] for node in nodes]
    if not nodes or len(set(sorted_lists)) < len(nodes) or not ends.keys() >= set(sorted_lists):
        raise ExportError(
            f'graph="csr" needs a model that sorts each edge list that it is given once, this one '
            f"sorts {len(nodes)} graphs, of {', '.join(ends)}"
        )
    for node in nodes:
        _take_sorted(model, node, ends[node.input[0]])


def _take_sorted(model: onnx.ModelProto, node: onnx.NodeProto, destinations: str) -> None:
    name = node.input[0]
    rowptr, col, *perm = node.output
    model.graph.node.remove(node)
    for values in filter(None, perm):
        _drop_reordering(model, values)
    _count_edges_by(model, name, col)
    if _is_read(model, name):
        readers = [reader.op_type for reader in model.graph.node if name in reader.input]
        raise ExportError(
            f'graph="csr": the model uses {name} outside its convolutions ({readers[0]}); '
            'export it with graph="edge_index"'
        )
    given = next(value for value in model.graph.input if value.name == name)
    edges = given.type.tensor_type.shape.dim[1].dim_param
    model.graph.input.remove(given)
    new_rowptr, new_col = sorted_names(name)
    for array, old, kind, size in (
        (new_rowptr, rowptr, onnx.TensorProto.INT64, f"{destinations} + 1"),
        (new_col, col, onnx.TensorProto.INT32, edges),
    ):
        _rename(model, old, array)
        model.graph.input.append(helper.make_tensor_value_info(array, kind, [size]))


def _count_edges_by(model: onnx.ModelProto, edges: str, col: str) -> None:
    """Make whoever asks an edge list for the number of edges ask col."""
    for node in model.graph.node:
        if node.op_type == "Shape" and node.input[0] == edges:
            asked = {a.name: a.i for a in node.attribute}
            if asked == {"start": 1, "end": 2}:
                node.input[0] = col
                del node.attribute[:]


def _drop_reordering(model: onnx.ModelProto, perm: str) -> None:
    """Make whatever is gathered by a permutation pass through unchanged."""
    for node in [n for n in model.graph.node if perm in n.input]:
        if node.op_type == "Reshape":  # torch writes index_select as Reshape and Gather
            _drop_reordering(model, node.output[0])
        elif node.op_type == "Gather" and node.input[1] == perm:
            _rename(model, node.output[0], node.input[0])
        else:
            raise ExportError(f'graph="csr": {node.op_type} uses the order of the edges')
        model.graph.node.remove(node)


def normalisations(model: onnx.ModelProto) -> set[tuple[bool, float]]:
    """Return add_self_loops and fill_value of all `gcn_norm` nodes."""
    attributes = [
        {a.name: helper.get_attribute_value(a) for a in node.attribute}
        for node in ours(model, "gcn_norm")
    ]
    return {(bool(a["add_self_loops"]), float(a["fill_value"])) for a in attributes}


def accept_in_degree(model: onnx.ModelProto) -> None:
    """Let a caller override the degrees that GCN normalises by.

    The input in_degree has an empty initialiser as its default, which means: those of this graph.
    """
    nodes = ours(model, "gcn_norm")
    for node in nodes:
        del node.input[3:]
        node.input.extend([""] * (3 - len(node.input)) + ["in_degree"])
    if nodes:
        default = numpy_helper.from_array(np.zeros(0, np.float32), "in_degree")
        model.graph.initializer.append(default)
        declared = helper.make_tensor_value_info("in_degree", onnx.TensorProto.FLOAT, ["degrees"])
        model.graph.input.append(declared)


def table_sizes(model: onnx.ModelProto) -> dict[str, int]:
    """Return, for inputs that are ids, how many rows the tables have that they are looked up in."""
    shapes = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    source = {value.name: value.name for value in model.graph.input}
    sizes: dict[str, int] = {}
    for node in model.graph.node:
        moves = ("Cast", "Identity", "Reshape", "Slice", "Unsqueeze")
        if node.op_type in moves and node.input[0] in source:
            source[node.output[0]] = source[node.input[0]]
        if node.op_type == "Gather" and node.input[0] in shapes and node.input[1] in source:
            axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
            rows, ids = shapes[node.input[0]][axis], source[node.input[1]]
            sizes[ids] = min(rows, sizes.get(ids, rows))
    return sizes


def relation_counts(model: onnx.ModelProto) -> dict[str, int]:
    """Return how many relations the model knows, by the input that names them."""
    nodes = ours(model, "relational_csr")
    known = [helper.get_attribute_value(node.attribute[0]) for node in nodes]
    named = any(value.name == "edge_type" for value in model.graph.input)
    return {"edge_type": min(known)} if known and named else {}


def attach_bodies(model: onnx.ModelProto) -> None:
    """Give every node of our domain its function body."""
    bodies = {}
    for node in ours(model):
        body = body_for(node)
        node.overload = body.overload
        bodies[body.name, body.overload] = body
    model.functions.extend(bodies.values())
    if bodies and DOMAIN not in {entry.domain for entry in model.opset_import}:
        model.opset_import.append(helper.make_opsetid(DOMAIN, 1))


def check_safe(model: onnx.ModelProto) -> None:
    """Refuse what ONNX Runtime would compute wrongly.

    Raises:
        ExportError: For a ScatterND with a reduction, which races on several threads, and for
            operators of other domains.
    """
    for node in model.graph.node:
        if node.domain not in ("", DOMAIN):
            raise ExportError(f"{node.domain}.{node.op_type} is no standard ONNX operator")
        reduction = [a.s for a in node.attribute if a.name == "reduction"]
        if node.op_type == "ScatterND" and reduction not in ([], [b"none"]):
            raise ExportError(
                f"{node.name}: ONNX Runtime computes a ScatterND with a reduction wrongly on more "
                "than one thread. It comes from index_add or index_put(accumulate=True) in the "
                "model; scatter_add computes the same and is safe."
            )


def value_infos(model: onnx.ModelProto) -> Iterator[onnx.ValueInfoProto]:
    """Yield what is known of inputs, intermediate values and outputs."""
    yield from model.graph.input
    yield from model.graph.value_info
    yield from model.graph.output


def shapes(model: onnx.ModelProto) -> dict[str, tuple[int | str, ...]]:
    """Return the shapes that are declared; a dynamic size is a name, one not known is 0."""
    return {
        value.name: tuple(d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim)
        for value in value_infos(model)
        if value.type.tensor_type.HasField("shape")
    }


def _is_read(model: onnx.ModelProto, name: str) -> bool:
    outputs = [output.name for output in model.graph.output]
    return name in outputs or any(name in node.input for node in model.graph.node)


def _rename(model: onnx.ModelProto, old: str, new: str) -> None:
    """Make every reader of a value read another one."""
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            if name == old:
                node.input[i] = new
