"""The graphs that `whole_models.py` runs on, the models for each, and what is asked of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

Inputs = dict[str, np.ndarray]
FEATURES = 128
FANOUTS = (15, 10, 5)


@dataclass(frozen=True)
class Case:
    """A graph and its models.

    Attributes:
        title: What the graph is.
        read: Reads its inputs from the folder of data.
        bars: Models, and how many times faster than a peer the prepared bundle is to be.
        students: A teacher's row in PyG and a student's of ours, and how many times faster the
            student is to be.
        parts: Whether the parts of the models are measured beside them.
    """

    title: str
    read: Callable[[Path], Inputs]
    bars: Mapping[str, Mapping[str, float]]
    students: Mapping[tuple[str, str], float] = field(default_factory=dict)
    parts: bool = False


def _drawn(count: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, FEATURES), np.float32)


def arxiv(data: Path) -> Inputs:
    """Return the ogbn-arxiv graph with random features."""
    from graphs import arxiv as read

    graph = read(data)
    return {"x": _drawn(int(graph["num_nodes"])), "edge_index": graph["edge_index"]}


def neighbourhood(data: Path) -> Inputs:
    """Return one node of ogbn-arxiv with 15, 10 and 5 neighbours at a distance of 1, 2 and 3."""
    import torch

    from graphstill.distill.sampler import NeighborSampler
    from graphstill.kernels import CSRGraph

    whole = arxiv(data)
    graph = CSRGraph.from_edge_index(torch.from_numpy(whole["edge_index"]), len(whole["x"]))
    part = NeighborSampler(graph, FANOUTS).sample(torch.tensor([1234]), 0)
    return {"x": whole["x"][part.n_id.numpy()], "edge_index": part.edge_index.numpy()}


def am(data: Path) -> Inputs:
    """Return the AM graph with random features."""
    from graphs import am as read

    graph = read(data)
    count = int(graph.pop("num_nodes"))
    return {"x": _drawn(count), **graph}


def planetoid(name: str) -> Callable[[Path], Inputs]:
    """Return what reads Cora or PubMed with their own features."""

    def read(data: Path) -> Inputs:
        from torch_geometric.datasets import Planetoid

        found: Any = Planetoid(str(data / "planetoid"), name)[0]
        return {"x": found.x.numpy(), "edge_index": found.edge_index.numpy()}

    return read


CASES = {
    "arxiv": Case(
        "the ogbn-arxiv graph, 169,343 nodes, 2.3 M edges",
        arxiv,
        {
            "gcn-256": {"PyG CSR": 2.5, "PyG edge_index": 12.0, "AOTInductor": 8.0},
            "gcn-32": {
                "PyG CSR": 2.5,
                "PyG edge_index": 12.0,
                "AOTInductor": 8.0,
                "plain ONNX": 80.0,
            },
            "sage-256": {"PyG CSR": 2.0, "PyG edge_index": 5.0, "AOTInductor": 5.0},
            "sage-32": {
                "PyG CSR": 2.5,
                "PyG edge_index": 10.0,
                "AOTInductor": 8.0,
                "plain ONNX": 80.0,
            },
            "gat-256": {"PyG edge_index": 7.0, "AOTInductor": 5.0},
            "gat-32": {"PyG edge_index": 7.0, "AOTInductor": 5.0, "plain ONNX": 80.0},
            "gatv2-256": {"PyG edge_index": 7.0, "AOTInductor": 5.0},
            "gatv2-32": {"PyG edge_index": 7.0, "AOTInductor": 5.0, "plain ONNX": 80.0},
            "gcnii-64": {},
            "gcnii-4": {},
        },
        {
            ("gcn-256 PyG CSR", "gcn-32 prepared"): 25.0,
            ("gat-256 PyG edge_index", "gcn-32 prepared"): 100.0,
            ("gcnii-64 PyG CSR", "gcnii-4 prepared"): 100.0,
        },
        parts=True,
    ),
    "am": Case(
        "the AM graph, 1.08 M nodes, 2.7 M edges of 24 relations",
        am,
        {
            "rgcn-32": {"PyG edge_index": 12.0},
            "rgcn-256": {"PyG edge_index": 12.0},
            "rgcn-512": {},
        },
        {("rgcn-512 PyG edge_index", "rgcn-32 prepared"): 20.0},
    ),
    "pubmed": Case(
        "PubMed, 19,717 nodes, 88,648 edges",
        planetoid("PubMed"),
        {"gcnii-64": {}, "gcnii-4": {}},
        {("gcnii-64 PyG CSR", "gcnii-4 prepared"): 50.0},
    ),
    "cora": Case(
        "Cora, 2,708 nodes, 10,556 edges",
        planetoid("Cora"),
        {"gcnii-64": {}, "gcnii-4": {}},
        {("gcnii-64 PyG CSR", "gcnii-4 prepared"): 25.0},
    ),
    "neighbourhood": Case(
        "one node of ogbn-arxiv with 15, 10 and 5 sampled neighbours, a new graph in every call",
        neighbourhood,
        {"gcn-256": {}, "gcn-32": {}, "sage-256": {}, "sage-32": {}, "gat-256": {}, "gat-32": {}},
        {
            ("gcn-256 PyG edge_index", "gcn-32 edge_index"): 25.0,
            ("gat-256 PyG edge_index", "gcn-32 edge_index"): 100.0,
        },
    ),
}
