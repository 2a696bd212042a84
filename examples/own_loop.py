"""Distil a PyG model in a loop of your own, on sampled batches, from a teacher's stored answers.

    python examples/own_loop.py

The digits that come with scikit-learn, 1,797 nodes. The teacher answers once, for the whole graph;
the student trains on parts of it, each with the in-neighbours of some nodes.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch_geometric.data import Data
from torch_geometric.nn import GCN
from torch_geometric.utils import k_hop_subgraph

from graphstill.distill import (
    Distiller,
    LogitKD,
    Objective,
    Role,
    Supervised,
    TeacherStore,
    digits,
    fingerprint,
    observe,
)
from graphstill.distill.methods import LSP, FitNet

nodes = digits()
data = Data(x=nodes.x, edge_index=nodes.edge_index, y=nodes.y)


def batches(size: int) -> Iterator[Data]:
    """Yield parts of the graph: some training nodes first, then whom they look at."""
    for seeds in nodes.split.train[torch.randperm(len(nodes.split.train))].split(size):
        n_id, edge_index, place, _ = k_hop_subgraph(seeds, 2, nodes.edge_index, relabel_nodes=True)
        others = torch.ones(len(n_id), dtype=torch.bool)
        others[place] = False
        order = torch.cat([place, others.nonzero().squeeze(1)])
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order))
        n_id = n_id[order]
        parts = {"x": nodes.x[n_id], "y": nodes.y[n_id], "n_id": n_id, "batch_size": len(seeds)}
        yield Data(edge_index=rank[edge_index], **parts)


def train(loop: torch.nn.Module, epochs: int, lr: float = 0.01) -> None:
    """Train whatever a distiller trains."""
    optimizer = torch.optim.Adam(loop.parameters(), lr=lr)
    for _ in range(epochs):
        loop.train()
        for batch in batches(100):
            optimizer.zero_grad()
            loop(batch)["total"].backward()
            optimizer.step()


def accuracy(model: torch.nn.Module) -> float:
    """Return accuracy on the test nodes."""
    with torch.no_grad():
        right = model.eval()(data.x, data.edge_index).argmax(dim=1) == data.y
    return float(right[nodes.split.test].double().mean())


torch.manual_seed(0)
teacher, student = GCN(64, 128, 3, 10, dropout=0.3), GCN(64, 8, 2, 10)
train(Distiller(Role(teacher), Objective({"labels": (1.0, Supervised())})), epochs=30)

with tempfile.TemporaryDirectory() as folder:
    taps = ["act#0", "act#1"]
    mine = fingerprint(teacher, nodes.x, nodes.edge_index)
    TeacherStore.write(Path(folder), observe(Role(teacher, taps), data), mine, taps)
    objective = Objective(
        {
            "labels": (0.1, Supervised()),
            "logits": (0.9, LogitKD(temperature=2.0)),
            "features": (1.0, FitNet(128, 8)),
            "structure": (1.0, LSP()),
        }
    )
    store = TeacherStore(Path(folder), mine)  # another teacher's answers are refused
    train(Distiller(Role(student, ["act#0"]), objective, store), epochs=30)

print(f"teacher {accuracy(teacher):.3f}, student {accuracy(student):.3f}")
