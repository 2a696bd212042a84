"""Models that answer for graphs: pooling by `batch`, exported as spmm and extremum."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor
from torch_geometric import nn as pyg
from torch_geometric.utils import scatter

from graphstill.export import check_parity, export
from graphstill.serve import InputError, Session

X, EDGES = torch.randn(9, 6), torch.randint(0, 9, (2, 17))
BATCH = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2])

Pool = Callable[[Tensor, Tensor], Tensor]


class Pooled(torch.nn.Module):
    """A convolution, poolings side by side, a linear layer."""

    def __init__(self, *pools: Pool, width: int | None = None) -> None:
        super().__init__()
        self.conv = pyg.SAGEConv(6, 8)
        self.modules_ = torch.nn.ModuleList(p for p in pools if isinstance(p, torch.nn.Module))
        self.pools = pools
        self.lin = torch.nn.Linear(width or 8 * len(pools), 3)

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor) -> Tensor:
        h = self.conv(x, edge_index)
        return self.lin(torch.cat([pool(h, batch) for pool in self.pools], dim=1))


def by_hand(x: Tensor, batch: Tensor) -> Tensor:
    """Pool as users do it themselves."""
    size = int(batch.max()) + 1
    smallest = scatter(x, batch, dim=0, dim_size=size, reduce="min")
    return smallest + x.new_zeros(size, 8).scatter_add(0, batch.view(-1, 1).expand(-1, 8), x)


class Normed(torch.nn.Module):
    """Norms that are taken over each graph; the answer is one for each node."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.other = pyg.GCNConv(6, 8), pyg.GraphNorm(8), pyg.LayerNorm(8)

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor) -> Tensor:
        return self.other(self.norm(self.conv(x, edge_index), batch).relu(), batch)


# module, and how many operators of which kind it needs beside those of its convolution
MODULES: dict[str, tuple[Callable[[], torch.nn.Module], dict[str, int]]] = {
    "pools": (
        lambda: Pooled(
            pyg.global_mean_pool,
            pyg.global_max_pool,
            pyg.SumAggregation(),
            pyg.MultiAggregation(["min", "std"]),
            pyg.AttentionalAggregation(torch.nn.Linear(8, 1), torch.nn.Linear(8, 8)),
            width=48,
        ),
        # means share their sum; attention needs a maximum and two sums
        {"csr": 1, "spmm": 4, "extremum": 3},
    ),
    "by hand": (lambda: Pooled(by_hand), {"csr": 1, "spmm": 1, "extremum": 1}),
    "norms": (Normed, {"csr": 1, "spmm": 4}),
}


@pytest.mark.parametrize("name", MODULES)
def test_pooling_is_pygs(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make, wanted = MODULES[name]
    module = make()
    bundle = export(module, (X, EDGES, BATCH), tmp_path / "b")
    assert capfd.readouterr() == ("", "")  # torch's first try, which fails, is not shown
    report = check_parity(module, bundle)
    assert report.native_operators
    assert report.ok, report.failures
    cases = {difference.case for difference in report.differences}
    assert {"one graph", "an empty graph in the middle", "nodes of graphs mixed"} <= cases
    size = "num_nodes" if name == "norms" else "num_graphs"
    assert bundle.manifest.outputs[0].shape[0] == size
    assert bundle.manifest.hops is None
    nodes = onnx.load(tmp_path / "b" / "model.onnx").graph.node
    ours = [node.op_type for node in nodes if node.domain == "graphstill"]
    kinds = [kind.removesuffix("_update") for kind in ours]
    assert {kind: kinds.count(kind) - (kind in ("csr", "spmm")) for kind in wanted} == wanted
    # what is left of them counts the nodes of each graph
    counts = [node for node in nodes if node.op_type == "ScatterElements"]
    assert all("batch" in node.input for node in counts)


def test_pooling_without_a_graph(tmp_path: Path) -> None:
    class Sets(torch.nn.Module):
        def forward(self, x: Tensor, batch: Tensor) -> dict[str, Tensor]:
            return {"sum": pyg.global_add_pool(x, batch), "max": pyg.global_max_pool(x, batch)}

    bundle = export(Sets(), (X, BATCH), tmp_path / "b")
    report = check_parity(Sets(), bundle)
    assert report.ok, report.failures
    assert bundle.manifest.graph == "none"
    for native in (True, False):
        session = Session(bundle, native=native)
        got = session(x=X.numpy(), batch=np.array([4, 4, 0, 0, 0, 0, 0, 0, 4]))
        assert got["sum"].shape == (5, 6)
        assert not got["sum"][1:4].any()
        assert not got["max"][1:4].any()
        _check_refusals(session)


def _check_refusals(session: Session) -> None:
    batch: Any = BATCH.numpy().copy()
    with pytest.raises(InputError, match="batch must be int64"):
        session(x=X.numpy(), batch=batch.astype(np.float32))
    with pytest.raises(InputError, match=r"batch must have shape \[9\]"):
        session(x=X.numpy(), batch=batch[:5])
    batch[4] = -1
    with pytest.raises(InputError, match=r"batch\[4\] is -1, graphs must lie in \[0, "):
        session(x=X.numpy(), batch=batch)


def test_a_scatter_into_something_else_stays_what_it_is(tmp_path: Path) -> None:
    class Into(torch.nn.Module):
        def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
            at = edge_index[1].unsqueeze(-1).expand(-1, 6)
            return x.scatter_add(0, at, x[edge_index[0]])

    bundle = export(Into(), (X, EDGES), tmp_path / "b")
    report = check_parity(Into(), bundle)
    assert report.ok, report.failures
    nodes = onnx.load(tmp_path / "b" / "model.onnx").graph.node
    assert "ScatterElements" in {node.op_type for node in nodes}
