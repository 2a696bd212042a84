"""How far an answer looks: edges along the longest chain of aggregations, or the whole graph."""

import onnx

from ..serve.tensors import rowptr_of
from .bodies import DOMAIN
from .passes import value_infos

AGGREGATIONS = (
    "dot_attention",
    "dot_attention_mean",
    "extremum",
    "gat",
    "gat_mean",
    "gat_update",
    "gatv2",
    "gatv2_mean",
    "gatv2_update",
    "sddmm",
    "spmm",
    "spmm_heads",
    "spmm_int8",
    "spmm_int8_rows",
    "spmm_update",
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
    "spmm_update": (3, 5, 6, 7, 8, 9, 10, 11, 12, 13),
    "spmm_heads": (3,),
    "extremum": (3,),
}


def _ends_of_edges(model: onnx.ModelProto) -> set[str]:
    """Return the values that name an end of each edge, and where the pairs of a node start."""
    inputs = {value.name for value in model.graph.input}
    found = {name for name in inputs if name[:3] == "col" and rowptr_of(name) in inputs}
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
