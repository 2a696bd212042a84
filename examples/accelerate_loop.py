"""Distil with Hugging Face Accelerate: one loop for a CPU, a GPU, or several.

    pip install accelerate
    python examples/accelerate_loop.py
    accelerate launch examples/accelerate_loop.py    # wherever `accelerate config` said

The digits that come with scikit-learn, 1,797 nodes; the student trains on parts of the graph, each
with the in-neighbours of some nodes, and the teacher answers on the same parts.
"""

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch.utils.data import DataLoader, TensorDataset
from torch_geometric.data import Data
from torch_geometric.nn import GCN
from torch_geometric.utils import k_hop_subgraph

from graphstill.distill import Distiller, LogitKD, Objective, Role, Supervised, digits
from graphstill.distill.methods import FitNet
from graphstill.kernels import accelerate

nodes = digits()
accelerator = Accelerator()


def part(seeds: list[tuple[torch.Tensor]]) -> Data:
    """Return the graph that some nodes see within three hops, these nodes first."""
    chosen = torch.stack([seed for (seed,) in seeds])
    n_id, edge_index, place, _ = k_hop_subgraph(chosen, 3, nodes.edge_index, relabel_nodes=True)
    others = torch.ones(len(n_id), dtype=torch.bool)
    others[place] = False
    order = torch.cat([place, others.nonzero().squeeze(1)])
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order))
    n_id = n_id[order]
    sizes = {"batch_size": len(chosen), "n_id": n_id}
    return Data(x=nodes.x[n_id], y=nodes.y[n_id], edge_index=rank[edge_index], **sizes)


def train(distiller: Distiller, epochs: int, lr: float = 0.01) -> None:
    """Train whatever a distiller trains; Accelerate moves, wraps and shards it."""
    loader = DataLoader(TensorDataset(nodes.split.train), 100, shuffle=True, collate_fn=part)
    optimizer = torch.optim.Adam(distiller.parameters(), lr=lr)
    loop, optimizer, loader = accelerator.prepare(distiller, optimizer, loader)
    for epoch in range(epochs):
        loop.train()
        distiller.objective.begin(epoch)  # for what changes with the epoch
        for batch in loader:
            optimizer.zero_grad()
            accelerator.backward(loop(batch)["total"])
            accelerator.clip_grad_norm_(loop.parameters(), 1.0)
            optimizer.step()
    distiller.eval()


def accuracy(model: torch.nn.Module) -> float:
    """Return accuracy on the test nodes."""
    x, edge_index = (tensor.to(accelerator.device) for tensor in (nodes.x, nodes.edge_index))
    with torch.no_grad():
        right = model.eval()(x, edge_index).argmax(dim=1).cpu() == nodes.y
    return float(right[nodes.split.test].double().mean())


if __name__ == "__main__":
    set_seed(0)
    teacher, student = GCN(64, 128, 3, 10, dropout=0.3), GCN(64, 8, 3, 10)
    for model in (teacher, student):
        accelerate(model)  # graphstill's fused layers, nothing to do with Hugging Face's
    train(Distiller(Role(teacher), Objective({"labels": (1.0, Supervised())})), epochs=25)

    objective = Objective(
        {
            "labels": (0.1, Supervised()),
            "logits": (0.9, LogitKD(temperature=2.0)),
            "features": (1.0, FitNet(128, 8)),
        }
    )
    taps = ["act#0", "act#1"]
    train(Distiller(Role(student, taps), objective, Role(teacher, taps)), epochs=100)
    accelerator.print(f"teacher {accuracy(teacher):.3f}, student {accuracy(student):.3f}")
