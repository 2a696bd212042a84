"""What `kernels.py` measures: each operator and layer in every row's own way."""

from collections.abc import Callable, Mapping
from typing import Any

HEADS = 4


def target(
    inputs: Mapping[str, Any], threads: int, *, kind: str, width: int, peer: str, direction: str
) -> Callable[[], Any]:
    """Return one call of a row: it answers with the output and the gradient of the features."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    num_nodes = int(inputs["num_nodes"])
    graph = {name: torch.from_numpy(inputs[name]) for name in inputs if name != "num_nodes"}
    x = torch.randn(num_nodes, width)
    function = BUILDERS[kind](graph, num_nodes, width, kind, peer)
    if direction == "forward":

        def forward() -> Any:
            with torch.no_grad():
                return (function(x),)

        return forward
    leaf = x.requires_grad_()
    slope = torch.randn(function(x).shape)

    def both() -> Any:
        leaf.grad = None
        out = function(leaf)
        out.backward(slope)
        return out.detach(), leaf.grad

    return both


def _aggregation(
    graph: Any, num_nodes: int, width: int, kind: str, peer: str
) -> Callable[..., Any]:
    import torch
    from torch_geometric.nn import SimpleConv

    from graphstill.kernels import CSRGraph, spmm

    edge_index = graph["edge_index"]
    if peer == "ours":
        csr = CSRGraph.from_edge_index(edge_index, num_nodes)
        _ = csr.transposed  # part of preparing
        return lambda x: spmm(csr, x, reduce=kind)
    if peer == "embedding_bag":
        csr = CSRGraph.from_edge_index(edge_index, num_nodes)
        offsets = csr.rowptr.int()
        return lambda x: torch.nn.functional.embedding_bag(
            csr.col, x, offsets, mode="sum", include_last_offset=True
        )
    if peer in ("torch CSR", "torch COO"):
        ones = torch.ones(edge_index.shape[1])
        coo = torch.sparse_coo_tensor(edge_index.flip(0), ones, (num_nodes, num_nodes)).coalesce()
        matrix = coo if peer == "torch COO" else coo.to_sparse_csr()
        return lambda x: torch.sparse.mm(matrix, x)
    conv = SimpleConv(aggr=kind)
    conv = torch.compile(conv, dynamic=True) if peer == "PyG compiled" else conv
    return lambda x: conv(x, edge_index)


def _layer(graph: Any, num_nodes: int, width: int, kind: str, peer: str) -> Callable[..., Any]:
    import torch
    from torch_geometric import nn as pyg

    from graphstill import kernels

    name = {"gat": "GATConv", "gatv2": "GATv2Conv", "transformer": "TransformerConv"}[kind]
    layer = getattr(pyg, name)(width, width // HEADS, heads=HEADS)
    if peer == "ours":
        holder = torch.nn.ModuleList([layer])
        assert not kernels.accelerate(holder).kept
        csr = kernels.CSRGraph.from_edge_index(graph["edge_index"], num_nodes)
        _ = csr.transposed  # part of preparing
        return lambda x: holder[0](x, csr)
    layer = torch.compile(layer, dynamic=True) if peer == "PyG compiled" else layer
    return lambda x: layer(x, graph["edge_index"])


def _relational(graph: Any, num_nodes: int, width: int, kind: str, peer: str) -> Callable[..., Any]:
    import torch
    from torch_geometric import nn as pyg

    from graphstill import kernels

    edge_index, edge_type = graph["edge_index"], graph["edge_type"]
    relations = int(edge_type.max()) + 1
    make = pyg.FastRGCNConv if peer == "PyG fast" else pyg.RGCNConv
    layer = make(width, width, relations)
    if peer != "ours":
        return lambda x: layer(x, edge_index, edge_type)
    holder = torch.nn.ModuleList([layer])
    assert not kernels.accelerate(holder).kept
    plan = kernels.RelationalGraph.from_edge_index(edge_index, edge_type, relations, num_nodes)
    _ = plan.pairs.transposed, plan.targets.transposed  # part of preparing
    return lambda x: holder[0](x, plan)


BUILDERS: dict[str, Callable[..., Callable[..., Any]]] = {
    **dict.fromkeys(("sum", "mean", "max", "min"), _aggregation),
    **dict.fromkeys(("gat", "gatv2", "transformer"), _layer),
    "rgcn": _relational,
}
