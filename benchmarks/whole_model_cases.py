"""The graphs that `whole_models.py` runs on, the models for each, and what is asked of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

Inputs = dict[str, np.ndarray]
FEATURES = 128


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


def neighbourhood(data: Path, fanouts: Sequence[int]) -> Inputs:
    """Return one node of ogbn-arxiv and its neighbours at a distance of 1, 2, …; -1 is for all."""
    import torch

    from graphstill.distill.sampler import NeighborSampler
    from graphstill.kernels import CSRGraph

    whole = arxiv(data)
    graph = CSRGraph.from_edge_index(torch.from_numpy(whole["edge_index"]), len(whole["x"]))
    part = NeighborSampler(graph, fanouts).sample(torch.tensor([1234]), 0)
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


_ARXIV = "the ogbn-arxiv graph, 169,343 nodes, 2.3 M edges"
# hidden 256, hidden 32; a plain export at 256 has temporaries of tens of gigabytes
_SUMS = {"PyG CSR": 2.5, "PyG edge_index": 12.0, "AOTInductor": 8.0}
_ATTENTION = {"PyG edge_index": 7.0, "AOTInductor": 5.0}
_PLAIN = {"plain ONNX": 80.0}

CASES = {
    "gcn": Case(
        _ARXIV,
        arxiv,
        {"gcn-256": _SUMS, "gcn-32": _SUMS | _PLAIN, "gcnii-64": {}, "gcnii-4": {}},
        {
            ("gcn-256 PyG CSR", "gcn-32 prepared"): 25.0,
            ("gcnii-64 PyG CSR", "gcnii-4 prepared"): 100.0,
        },
        parts=True,
    ),
    "sage": Case(
        _ARXIV,
        arxiv,
        {
            "sage-256": {"PyG CSR": 2.0, "PyG edge_index": 5.0, "AOTInductor": 5.0},
            "sage-32": _SUMS | {"PyG edge_index": 10.0} | _PLAIN,
        },
        parts=True,
    ),
    "gat": Case(
        _ARXIV,
        arxiv,
        {"gat-256": _ATTENTION, "gat-32": _ATTENTION | _PLAIN, "gcn-32": {}},
        {("gat-256 PyG edge_index", "gcn-32 prepared"): 100.0},
        parts=True,
    ),
    "gatv2": Case(_ARXIV, arxiv, {"gatv2-256": _ATTENTION, "gatv2-32": _ATTENTION | _PLAIN}),
    "rgcn": Case(
        "the AM graph, 1.08 M nodes, 2.7 M edges of 24 relations",
        am,
        {"rgcn-32": {"PyG edge_index": 12.0}, "rgcn-256": {"PyG edge_index": 12.0}, "rgcn-512": {}},
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
    "one-node": Case(
        "one node of ogbn-arxiv with its whole neighbourhood of 3 hops, sorted in every call",
        partial(neighbourhood, fanouts=(-1, -1, -1)),
        {"gcn-256": {}, "gcn-32": {}, "gat-256": {}},
        {
            ("gcn-256 PyG edge_index", "gcn-32 edge_index"): 25.0,
            ("gat-256 PyG edge_index", "gcn-32 edge_index"): 100.0,
        },
    ),
    "one-node-sampled": Case(
        "one node of ogbn-arxiv with 15, 10 and 5 sampled neighbours, sorted in every call",
        partial(neighbourhood, fanouts=(15, 10, 5)),
        {"gcn-256": {}, "gcn-32": {}, "gat-256": {}},
        {
            ("gcn-256 PyG edge_index", "gcn-32 edge_index"): 25.0,
            ("gat-256 PyG edge_index", "gcn-32 edge_index"): 100.0,
        },
    ),
}
