"""What `whole_models.py` measures beside bundles: random networks, in each of PyG's ways."""

from collections.abc import Callable, Mapping
from typing import Any

from graphstill.export.peers import aot_inductor, in_torch, on_csr, plain_onnx

__all__ = ["aot_inductor", "network", "plain_onnx", "pyg_csr", "pyg_edge_index"]

CLASSES = 40


def network(model: str, inputs: Mapping[str, Any]) -> Any:
    """Build a network in PyG for these inputs; the same numbers each time."""
    import torch
    from torch_geometric import nn as pyg

    from graphstill.distill.gcnii import GCNII
    from graphstill.distill.relational_models import RGCN

    kind, _, size = model.partition("-")
    width, hidden = inputs["x"].shape[1], int(size)
    torch.manual_seed(0)
    if kind == "gcnii":  # as many layers as channels
        return GCNII(width, hidden, hidden, CLASSES).eval()
    if kind == "rgcn":  # a teacher of 3 layers, students of 2
        layers = 2 if hidden == 32 else 3
        return RGCN(width, hidden, layers, CLASSES, int(inputs["edge_type"].max()) + 1).eval()
    extra = {"gat": {"heads": 4}, "gatv2": {"heads": 4, "v2": True}}.get(kind, {})
    make = {"gcn": pyg.GCN, "sage": pyg.GraphSAGE}.get(kind, pyg.GAT)
    return make(width, hidden, 3, CLASSES, **extra).eval()


def pyg_edge_index(inputs: Mapping[str, Any], threads: int, *, model: str) -> Callable[[], Any]:
    """PyG in eager mode on an edge list."""
    return in_torch(network(model, inputs), inputs, threads)


def pyg_csr(inputs: Mapping[str, Any], threads: int, *, model: str) -> Callable[[], Any]:
    """PyG in eager mode on a sparse CSR adjacency, normalised beforehand for GCN and GCNII."""
    return on_csr(network(model, inputs), inputs, threads)
