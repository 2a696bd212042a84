"""What `kernels.py` and `gpu.py` measure: each operator and layer in every row's own way."""

from collections.abc import Callable, Mapping
from typing import Any

HEADS = 4


def target(
    inputs: Mapping[str, Any],
    threads: int,
    *,
    kind: str,
    width: int,
    peer: str,
    direction: str,
    device: str = "cpu",
) -> Callable[[], Any]:
    """Return one call of a row: it answers with the output and the gradient of the features."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    num_nodes = int(inputs["num_nodes"])
    graph = {
        name: torch.as_tensor(inputs[name]).to(device) for name in inputs if name != "num_nodes"
    }
    x = torch.randn(num_nodes, width).to(device)
    function = BUILDERS[kind](graph, num_nodes, width, kind, peer)
    if direction == "forward":

        def forward() -> Any:
            with torch.no_grad():
                return (function(x),)

        return forward
    leaf = x.requires_grad_()
    slope = torch.randn(function(x).shape).to(device)

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
    if peer == "read":
        csr = CSRGraph.from_edge_index(edge_index, num_nodes)
        bags = torch.arange(0, csr.num_edges, 2048, dtype=torch.int32, device=csr.col.device)
        return lambda x: torch.nn.functional.embedding_bag(csr.col, x, bags, mode="sum")
    if peer == "CuPy CSR":
        return _cupy(CSRGraph.from_edge_index(edge_index, num_nodes))
    if peer.startswith("cuSPARSE"):
        from cusparse import aggregation

        return aggregation(CSRGraph.from_edge_index(edge_index, num_nodes), kind, peer)
    if peer == "embedding_bag":
        csr = CSRGraph.from_edge_index(edge_index, num_nodes)
        offsets = csr.rowptr.int()
        return lambda x: torch.nn.functional.embedding_bag(
            csr.col, x, offsets, mode=kind, include_last_offset=True
        )
    if peer in ("torch CSR", "torch COO"):
        values = torch.ones(edge_index.shape[1], device=edge_index.device)
        if kind == "mean":
            values /= edge_index[1].bincount(minlength=num_nodes)[edge_index[1]]
        coo = torch.sparse_coo_tensor(edge_index.flip(0), values, (num_nodes,) * 2).coalesce()
        matrix = coo if peer == "torch COO" else coo.to_sparse_csr()
        return lambda x: torch.sparse.mm(matrix, x)
    if peer == "PyG CSR":
        csr = CSRGraph.from_edge_index(edge_index, num_nodes)
        ones = torch.ones(csr.num_edges, device=csr.col.device)
        adjacency = torch.sparse_csr_tensor(csr.rowptr, csr.col.long(), ones, (num_nodes,) * 2)
        conv = SimpleConv(aggr=kind)
        return lambda x: conv(x, adjacency)
    return _pyg(SimpleConv(aggr=kind), edge_index, num_nodes, width, peer)


def _cupy(csr: Any) -> Callable[..., Any]:
    """Return cuSPARSE's product with a matrix that CuPy holds; forward only."""
    import cupy  # type: ignore[reportMissingImports]
    import cupyx.scipy.sparse  # type: ignore[reportMissingImports]
    import torch

    rowptr, col = (cupy.from_dlpack(t.to(torch.int32)) for t in (csr.rowptr, csr.col))
    shape, ones = (csr.num_nodes, csr.num_src), cupy.ones(csr.num_edges, dtype=cupy.float32)
    matrix = cupyx.scipy.sparse.csr_matrix((ones, col, rowptr), shape=shape)
    return lambda x: torch.from_dlpack(matrix @ cupy.from_dlpack(x))


def _pyg(layer: Any, edge_index: Any, num_nodes: int, width: int, peer: str) -> Callable[..., Any]:
    """Return a layer as it is, or compiled in one of two ways."""
    import tempfile

    import torch

    if peer == "AOTInductor":
        x = torch.randn(num_nodes, width, device=edge_index.device)
        program = torch.export.export(layer.eval(), (x, edge_index))
        with tempfile.TemporaryDirectory() as folder:
            path = torch._inductor.aoti_compile_and_package(program, package_path=f"{folder}/m.pt2")
            layer = torch._inductor.aoti_load_package(path)
    elif peer == "PyG compiled":
        layer = torch.compile(layer, dynamic=True)
    return lambda x: layer(x, edge_index)


def _alone(graph: Any, num_nodes: int, width: int, kind: str) -> Callable[..., Any]:
    """Return an attention operator without the products of its layer."""
    import torch

    from graphstill import kernels

    csr = kernels.CSRGraph.from_edge_index(graph["edge_index"], num_nodes)
    _ = csr.transposed  # part of preparing
    device = graph["edge_index"].device
    scores = torch.randn(2, num_nodes, HEADS).to(device)
    att = torch.randn(HEADS, width // HEADS).to(device)
    return {
        "gat": lambda x: kernels.gat(csr, x, *scores),
        "gatv2": lambda x: kernels.gatv2(csr, x, x, att),
        "transformer": lambda x: kernels.dot_attention(csr, x, x, x, heads=HEADS),
    }[kind]


def _layer(graph: Any, num_nodes: int, width: int, kind: str, peer: str) -> Callable[..., Any]:
    import torch
    from torch_geometric import nn as pyg

    from graphstill import kernels

    if peer == "ours alone":
        return _alone(graph, num_nodes, width, kind)
    name = {"gat": "GATConv", "gatv2": "GATv2Conv", "transformer": "TransformerConv"}[kind]
    layer = getattr(pyg, name)(width, width // HEADS, heads=HEADS).to(graph["edge_index"].device)
    if peer == "ours":
        holder = torch.nn.ModuleList([layer])
        assert not kernels.accelerate(holder).kept
        csr = kernels.CSRGraph.from_edge_index(graph["edge_index"], num_nodes)
        _ = csr.transposed  # part of preparing
        return lambda x: holder[0](x, csr)
    return _pyg(layer, graph["edge_index"], num_nodes, width, peer)


def _distance(graph: Any, num_nodes: int, width: int, kind: str, peer: str) -> Callable[..., Any]:
    from graphstill.kernels import CSRGraph, edge_l1, reference

    csr = CSRGraph.from_edge_index(graph["edge_index"], num_nodes)
    _ = csr.transposed  # part of preparing
    if peer == "ours":
        return lambda x: edge_l1(csr, x, x)
    return lambda x: reference.edge_l1(csr.rowptr, csr.col, x, x)


def _relational(graph: Any, num_nodes: int, width: int, kind: str, peer: str) -> Callable[..., Any]:
    import torch
    from torch_geometric import nn as pyg

    from graphstill import kernels

    edge_index, edge_type = graph["edge_index"], graph["edge_type"]
    relations = int(edge_type.max()) + 1
    make = pyg.FastRGCNConv if peer == "PyG fast" else pyg.RGCNConv
    layer = make(width, width, relations).to(edge_index.device)
    if peer != "ours":
        # it has breaks, so not as one graph
        run = torch.compile(layer, dynamic=True) if peer == "PyG compiled" else layer
        return lambda x: run(x, edge_index, edge_type)
    holder = torch.nn.ModuleList([layer])
    assert not kernels.accelerate(holder).kept
    plan = kernels.RelationalGraph.from_edge_index(edge_index, edge_type, relations, num_nodes)
    _ = plan.pairs.transposed, plan.targets.transposed  # part of preparing
    return lambda x: holder[0](x, plan)


BUILDERS: dict[str, Callable[..., Callable[..., Any]]] = {
    **dict.fromkeys(("sum", "mean", "max", "min"), _aggregation),
    **dict.fromkeys(("gat", "gatv2", "transformer"), _layer),
    "l1": _distance,
    "rgcn": _relational,
}
