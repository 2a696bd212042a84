"""What `whole_models.py` measures beside bundles: PyG's ways, and its plain export."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

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
    graph = [_tensor(inputs[name]) for name in ("edge_index", "edge_type") if name in inputs]
    return _in_torch(network(model, inputs), inputs["x"], graph, threads)


def pyg_csr(inputs: Mapping[str, Any], threads: int, *, model: str) -> Callable[[], Any]:
    """PyG in eager mode on a sparse CSR adjacency, normalised beforehand for GCN and GCNII."""
    import torch
    from torch_geometric.nn.conv.gcn_conv import gcn_norm

    module: Any = network(model, inputs)
    edges: Any = _tensor(inputs["edge_index"])
    weight: Any = torch.ones(edges.shape[1])
    if model.startswith("gcn"):
        edges, weight = gcn_norm(edges, None, len(inputs["x"]))
        for conv in module.convs:
            conv.normalize = conv.add_self_loops = False
    adjacency = torch.sparse_coo_tensor(edges.flip(0), weight, (len(inputs["x"]),) * 2)
    return _in_torch(module, inputs["x"], [adjacency.to_sparse_csr()], threads)


def aot_inductor(inputs: Mapping[str, Any], threads: int, *, path: str) -> Callable[[], Any]:
    """The PyG network compiled ahead of time."""
    import torch

    torch.set_num_threads(threads)
    compiled = torch._inductor.aoti_load_package(path)
    return _in_torch(compiled, inputs["x"], [_tensor(inputs["edge_index"])], threads)


def plain_onnx(inputs: Mapping[str, Any], threads: int, *, path: str) -> Callable[[], Any]:
    """The plain export of the PyG network, in ONNX Runtime with its defaults."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feeds = {name: inputs[name] for name in ("x", "edge_index")}
    return lambda: session.run(None, feeds)[0]


def _tensor(value: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(value)


def _in_torch(module: Any, x: np.ndarray, graph: list[Any], threads: int) -> Callable[[], Any]:
    import torch

    torch.set_num_threads(threads)
    features = torch.from_numpy(x)

    def call() -> Any:
        with torch.inference_mode():
            return module(features, *graph)

    return call
