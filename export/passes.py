"""What is done to an exported graph before it is written: small passes over onnx.ModelProto."""

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import helper, numpy_helper

from .bodies import DOMAIN, body_for
from .errors import ExportError

AGGREGATIONS = (
    "dot_attention",
    "dot_attention_mean",
    "extremum",
    "gat",
    "gat_mean",
    "gatv2",
    "gatv2_mean",
    "sddmm",
    "spmm",
    "spmm_heads",
    "spmm_int8",
    "spmm_int8_rows",
)


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


def take_csr_inputs(model: onnx.ModelProto) -> None:
    """Replace the input edge_index and its sorting by the inputs rowptr and col.

    What belongs to an edge must then be given in CSR order, so its reordering goes too.

    Raises:
        ExportError: If the model uses edge_index for anything but its convolutions.
    """
    nodes = ours(model, "csr")
    if len(nodes) != 1 or nodes[0].input[0] != "edge_index":
        raise ExportError(f'graph="csr" needs a model with one graph, this one sorts {len(nodes)}')
    rowptr, col, *perm = nodes[0].output
    model.graph.node.remove(nodes[0])
    for name in filter(None, perm):
        _drop_reordering(model, name)
    _count_edges_by(model, col)
    if _is_read(model, "edge_index"):
        readers = [node.op_type for node in model.graph.node if "edge_index" in node.input]
        raise ExportError(
            f'graph="csr": the model uses edge_index outside its convolutions ({readers[0]}); '
            'export it with graph="edge_index"'
        )
    model.graph.input.remove(next(i for i in model.graph.input if i.name == "edge_index"))
    for name, kind, size in (("rowptr", "INT64", "num_nodes + 1"), ("col", "INT32", "num_edges")):
        _rename(model, {"rowptr": rowptr, "col": col}[name], name)
        element = getattr(onnx.TensorProto, kind)
        model.graph.input.append(helper.make_tensor_value_info(name, element, [size]))


def _count_edges_by(model: onnx.ModelProto, col: str) -> None:
    """Make whoever asks edge_index for the number of edges ask col."""
    for node in model.graph.node:
        if node.op_type == "Shape" and node.input[0] == "edge_index":
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


def count_hops(model: onnx.ModelProto) -> int | None:
    """Return how many edges an answer looks back along, None where it sees the whole graph.

    Aggregations follow edges, and so does a Gather of both ends of each edge. A tensor that is
    computed from per-node values in another way and has no node dimension itself is a summary of
    the graph (a pooling, a norm over all nodes), and whatever uses it sees everything.
    """
    hops, summary = _hops(model)
    return hops if summary is None else None


def summary_of_graph(model: onnx.ModelProto) -> onnx.NodeProto | None:
    """Return the first node that makes a summary of the whole graph, for `count_hops`."""
    return _hops(model)[1]


def _hops(model: onnx.ModelProto) -> tuple[int, onnx.NodeProto | None]:
    per_node, ends = _tensors_with(model, "num_nodes"), _ends_of_edges(model)
    known = _known_shapes(model)
    depth: dict[str, int] = {}
    for node in model.graph.node:
        is_ours = node.domain == DOMAIN
        follows = node.op_type == "Gather" and node.input[1] in ends
        if node.op_type not in ("Shape", "Size") and any(name in per_node for name in node.input):
            if not is_ours and not follows and (known - per_node).intersection(node.output):
                return 0, node
            # what has no known shape may have a node dimension
            per_node |= set(node.output) - known
        if is_ours and node.op_type in AGGREGATIONS:
            follows = node.input[0] not in ends  # pairs belong to their destination already
        stay = _NOT_OF_SOURCES.get(node.op_type, ()) if is_ours else ()
        depths = [depth.get(n, 0) + (follows and i not in stay) for i, n in enumerate(node.input)]
        depth |= dict.fromkeys(node.output, max(depths, default=0))
    return max((depth.get(output.name, 0) for output in model.graph.output), default=0), None


# inputs of aggregations that belong to edges, whose ends were followed before, or to destinations
_NOT_OF_SOURCES = {
    "spmm": (3, 5, 6, 7),
    "spmm_int8_rows": (4, 5, 6, 7),
    "spmm_heads": (3,),
    "extremum": (3,),
}


def _ends_of_edges(model: onnx.ModelProto) -> set[str]:
    """Return the values that name an end of each edge, and where the pairs of a node start."""
    found = {"col"}
    for node in model.graph.node:
        if node.domain == DOMAIN:
            at = {"csr": 1, "edge_rows": 0, "relational_csr": 2}.get(node.op_type)
            found |= set() if at is None else {node.output[at]}
        elif node.op_type in ("Cast", "Reshape", "Unsqueeze", "Identity"):
            found |= {node.output[0]} if node.input[0] in found else set()
    return found


def _known_shapes(model: onnx.ModelProto) -> set[str]:
    """Return the values of whose shape every size is known, as a number or by name."""
    return {
        value.name
        for value in value_infos(model)
        if value.type.tensor_type.HasField("shape")
        and all(d.WhichOneof("value") for d in value.type.tensor_type.shape.dim)
    }


def _tensors_with(model: onnx.ModelProto, dim: str) -> set[str]:
    return {
        value.name
        for value in value_infos(model)
        if any(dim in d.dim_param for d in value.type.tensor_type.shape.dim)
    }


def value_infos(model: onnx.ModelProto) -> Iterator[onnx.ValueInfoProto]:
    """Yield what is known of inputs, intermediate values and outputs."""
    yield from model.graph.input
    yield from model.graph.value_info
    yield from model.graph.output


def _is_read(model: onnx.ModelProto, name: str) -> bool:
    outputs = [output.name for output in model.graph.output]
    return name in outputs or any(name in node.input for node in model.graph.node)


def _rename(model: onnx.ModelProto, old: str, new: str) -> None:
    """Make every reader of a value read another one."""
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            if name == old:
                node.input[i] = new
