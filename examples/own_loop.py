"""Distil a PyG model in a loop of your own, on sampled batches, from a teacher's stored answers.

    python examples/own_loop.py

The digits that come with scikit-learn, 1,797 nodes. The teacher answers once, for the whole graph;
the student trains on parts of it, each with some in-neighbours of some nodes. All nodes take their
turn, not the labelled ones alone: of the others it learns the teacher's answers.
"""

import tempfile
from pathlib import Path

import torch
from torch_geometric.data import Data
from torch_geometric.nn import GCN

from graphstill.distill import (
    Distiller,
    LogitKD,
    NeighborLoader,
    Objective,
    Role,
    Supervised,
    TeacherStore,
    digits,
    fingerprint,
    observe,
)
from graphstill.distill.methods import LSP, FitNet
from graphstill.kernels import accelerate

nodes = digits()
labelled = torch.zeros(nodes.num_nodes, dtype=torch.bool)
labelled[nodes.split.train] = True
data = Data(x=nodes.x, edge_index=nodes.edge_index, y=nodes.y, train_mask=labelled)


def on_graph(module: torch.nn.Module, batch: Data) -> torch.Tensor:
    """Run an accelerated network on a batch's CSRGraph, which knows the whole graph's degrees."""
    return module(batch.x, batch.graph)


def train(loop: torch.nn.Module, loader: NeighborLoader, epochs: int) -> None:
    """Train whatever a distiller trains."""
    optimizer = torch.optim.Adam(loop.parameters(), lr=0.01)
    for _ in range(epochs):
        loop.train()
        for batch in loader:
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
accelerate(teacher)
accelerate(student)

loader = NeighborLoader(data, [10, 10, 10], input_nodes=labelled, batch_size=100, shuffle=True)
labels = Objective({"labels": (1.0, Supervised())})
train(Distiller(Role(teacher, feed=on_graph), labels), loader, epochs=30)

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
    loader = NeighborLoader(data, [10, 10], batch_size=256, shuffle=True)
    role = Role(student, ["act#0"], feed=on_graph)
    train(Distiller(role, objective, store), loader, epochs=15)

print(f"teacher {accuracy(teacher):.3f}, student {accuracy(student):.3f}")
