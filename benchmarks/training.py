"""Whole trainings with PyG and with its layers accelerated: the same loss, sooner.

    python benchmarks/training.py --data DATA [--only GCN SAGE …] [--epochs 25] [--seeds 3]

Three-layer networks, of 64 channels on Amazon-Computers (60 % of the nodes train) and of 16 on
AIFB, full batch, Adam, float32. A learning rate of 0.01 would tell nothing: GATv2 then parts from
itself in float64 within 25 epochs. All rows of a seed start from the same parameters and take turns
epoch by epoch in one process. How far apart two loss curves may be is shown by PyG itself:
"reordered" is PyG with its edges in another order, which changes nothing but rounding. Plans are
built within the first epoch, which counts.
"""

import argparse
import copy
import itertools
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric import nn as pyg

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

REORDERED = "PyG reordered"
LEARNING_RATE = 0.003


class Net(torch.nn.Module):
    """Convolutions with ReLU in between; x may be None, which stands for node ids."""

    def __init__(self, *convs: torch.nn.Module) -> None:
        super().__init__()
        self.convs = torch.nn.ModuleList(convs)

    def forward(self, x: Tensor | None, *graph: Any) -> Tensor:
        """Return logits [N, classes]."""
        for index, conv in enumerate(self.convs):
            x = conv(x if index == 0 or x is None else x.relu(), *graph)
        assert x is not None
        return x


@dataclass(frozen=True)
class Problem:
    """What is learnt: features, edges, labels of the nodes that train, and how to plan ours."""

    x: Tensor | None
    edges: tuple[Tensor, ...]  # edge_index, and edge_type where edges have relations
    nodes: Tensor
    y: Tensor
    num_nodes: int
    plan: Callable[[], Any]


def computers(data: Path) -> Problem:
    """Return Amazon-Computers, 60 % of its nodes for training."""
    from graphstill.distill import load
    from graphstill.kernels import CSRGraph

    loaded = load("amazon-computers", data)
    num_nodes = loaded.num_nodes
    nodes = torch.randperm(num_nodes, generator=torch.Generator().manual_seed(0))
    nodes = nodes[: 6 * num_nodes // 10]
    edge_index = loaded.edge_index
    plan = lambda: CSRGraph.from_edge_index(edge_index, num_nodes)  # noqa: E731
    return Problem(loaded.x, (edge_index,), nodes, loaded.y[nodes], num_nodes, plan)


def aifb(data: Path) -> Problem:
    """Return AIFB: its 140 training persons by research group, without features."""
    from graphs import aifb as graph_of, aifb_labels

    from graphstill.kernels import RelationalGraph

    graph, (nodes, y) = graph_of(data), aifb_labels(data)
    edge_index, kinds = (torch.from_numpy(graph[key]) for key in ("edge_index", "edge_type"))
    relations, num_nodes = int(kinds.max()) + 1, int(graph["num_nodes"])
    plan = lambda: RelationalGraph.from_edge_index(  # noqa: E731
        edge_index, kinds, relations, num_nodes
    )
    ends = (torch.from_numpy(nodes), torch.from_numpy(y))
    return Problem(None, (edge_index, kinds), *ends, num_nodes, plan)


def gcn(widths: tuple[int, ...], problem: Problem) -> Net:
    """Normalisation is cached, as it is in our plan."""
    return Net(*(pyg.GCNConv(a, b, cached=True) for a, b in _steps(widths)))


def sage(widths: tuple[int, ...], problem: Problem) -> Net:
    """Mean aggregation."""
    return Net(*(pyg.SAGEConv(a, b) for a, b in _steps(widths)))


def gatv2(widths: tuple[int, ...], problem: Problem) -> Net:
    """Four heads that are concatenated, but for those of the last layer."""
    *inner, last = _steps(widths)
    convs = [pyg.GATv2Conv(a, b // 4, heads=4) for a, b in inner]
    return Net(*convs, pyg.GATv2Conv(*last, heads=4, concat=False))


def rgcn(widths: tuple[int, ...], problem: Problem) -> Net:
    """One matrix for each relation."""
    relations = int(problem.edges[1].max()) + 1
    return Net(*(pyg.RGCNConv(a, b, relations) for a, b in _steps(widths)))


def _steps(widths: tuple[int, ...]) -> list[tuple[int, int]]:
    return list(itertools.pairwise(widths))


MODELS: dict[str, tuple[Callable[[tuple[int, ...], Problem], Net], Callable[[Path], Problem]]] = {
    "GCN": (gcn, computers),
    "SAGE": (sage, computers),
    "GATv2": (gatv2, computers),
    "R-GCN": (rgcn, aifb),
}


HIDDEN = {"GCN": 64, "SAGE": 64, "GATv2": 64, "R-GCN": 16}


def rows_of(name: str, net: Net, problem: Problem) -> dict[str, Callable[[], float]]:
    """Return one epoch of each row, to be called again and again; it answers with the loss."""
    from graphstill.kernels import accelerate

    order = torch.randperm(problem.edges[0].shape[1], generator=torch.Generator().manual_seed(1))
    reordered = tuple(edges.index_select(-1, order) for edges in problem.edges)
    ours, plans = copy.deepcopy(net), []
    assert not accelerate(ours).kept

    def planned() -> tuple[Any]:
        if not plans:
            plans.append(problem.plan())
        return (plans[0],)

    rows = {
        "ours": epoch_of(ours, problem, planned),
        "PyG": epoch_of(copy.deepcopy(net), problem, lambda: problem.edges),
        REORDERED: epoch_of(copy.deepcopy(net), problem, lambda: reordered),
    }
    if name in ("GCN", "SAGE"):  # the others do not take a sparse adjacency
        adjacency = _adjacency(problem)
        rows["PyG CSR"] = epoch_of(copy.deepcopy(net), problem, lambda: (adjacency,))
    return rows


def _adjacency(problem: Problem) -> Tensor:
    source, target = problem.edges[0]
    ones, size = torch.ones(source.numel()), (problem.num_nodes,) * 2
    matrix = torch.sparse_coo_tensor(torch.stack([target, source]), ones, size).coalesce()
    return matrix.to_sparse_csr()


def epoch_of(net: Net, problem: Problem, graph: Callable[[], Any]) -> Callable[[], float]:
    """Return one step of training, full batch."""
    optimizer = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE)

    def epoch() -> float:
        optimizer.zero_grad()
        loss = F.cross_entropy(net(problem.x, *graph())[problem.nodes], problem.y)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return epoch


def train(name: str, data: Path, seeds: int, epochs: int) -> dict[str, Any]:
    """Return losses and seconds of every epoch, by row and seed."""
    make, problem_of = MODELS[name]
    problem = problem_of(data)
    width_in = problem.num_nodes if problem.x is None else problem.x.shape[1]
    hidden = HIDDEN[name]
    widths = (width_in, hidden, hidden, int(problem.y.max()) + 1)
    found: dict[str, Any] = {"losses": {}, "seconds": {}}
    for seed in range(seeds):
        torch.manual_seed(seed)
        rows = rows_of(name, make(widths, problem), problem)
        curves: dict[str, list[float]] = {row: [] for row in rows}
        seconds: dict[str, list[float]] = {row: [] for row in rows}
        for _ in range(epochs):
            for row, epoch in rows.items():
                start = time.perf_counter()
                curves[row].append(epoch())
                seconds[row].append(time.perf_counter() - start)
        for row in rows:
            found["losses"].setdefault(row, []).append(curves[row])
            found["seconds"].setdefault(row, []).append(seconds[row])
        print(f"{name} seed {seed}: loss {curves['ours'][-1]:.4f}, PyG {curves['PyG'][-1]:.4f}")
    return found


def compare(name: str, found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return how ours compares with each of PyG's rows."""
    from graphstill.export.intervals import ratio_interval

    losses = {row: np.array(values) for row, values in found["losses"].items()}
    totals = {row: np.array(values).sum(axis=1) for row, values in found["seconds"].items()}

    def apart(row: str) -> float:
        return float(np.abs(losses[row] / losses["PyG"] - 1).max())

    return [
        {
            "model": name,
            "peer": peer,
            "seconds": [float(totals[row].mean()) for row in ("ours", peer)],
            "ratio": ratio_interval(totals[peer].tolist(), totals["ours"].tolist()),
            "final_loss": [float(losses[row][:, -1].mean()) for row in ("ours", "PyG")],
            "apart": apart("ours"),
            "noise": apart(REORDERED),
        }
        for peer in totals
        if peer not in ("ours", REORDERED)
    ]


def table_of(found: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return header and cells."""
    header = ["model", "peer", "ours s", "peer s", "times faster", "95 % interval"]
    header += ["final loss, ours", "PyG", "curves apart by", "PyG reordered by"]
    cells = [
        [
            c["model"],
            c["peer"],
            *(f"{seconds:.2f}" for seconds in c["seconds"]),
            f"{c['ratio'][0]:.1f}",
            f"{c['ratio'][1]:.1f} – {c['ratio'][2]:.1f}",
            *(f"{loss:.4f}" for loss in c["final_loss"]),
            f"{c['apart']:.1e}",
            f"{c['noise']:.1e}",
        ]
        for c in found
    ]
    return header, cells


def save(out: Path, runs: dict[str, Any], threads: int) -> str:
    """Write report.json, report.html and table.md of the runs there are; return the table."""
    from graphstill.export.machine import describe_machine
    from graphstill.export.page import Section, write_page
    from graphstill.export.plots import curves

    found = [row for name, run in runs.items() for row in compare(name, run)]
    header, cells = table_of(found)
    out.mkdir(parents=True, exist_ok=True)
    facts = {"threads": threads, "lr": LEARNING_RATE, "comparisons": found, "runs": runs}
    (out / "report.json").write_text(json.dumps({"machine": describe_machine(), **facts}) + "\n")
    lines = [header, ["---"] * len(header), *cells]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
    (out / "table.md").write_text(text)
    sections = [Section("End to end", "", header, cells)]
    for name, run in runs.items():
        first = {row: values[0] for row, values in run["losses"].items()}
        sections.append(Section(f"{name}: training loss", "First seed.", svg=curves(first, "loss")))
    lead = "The same parameters trained by PyG and accelerated, epoch by epoch in turn."
    write_page(out / "report.html", "Training", lead, sections)
    return text


def main() -> None:
    """Train model by model."""
    parser = argparse.ArgumentParser(description="Trainings with PyG and accelerated")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "training")
    chosen = parser.parse_args()

    torch.set_num_threads(chosen.threads)
    runs: dict[str, Any] = {}
    for name in chosen.only:
        runs[name] = train(name, chosen.data, chosen.seeds, chosen.epochs)
        print(save(chosen.out, runs, chosen.threads))


if __name__ == "__main__":
    main()
