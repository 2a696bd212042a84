"""The one table of cases: graphs and options that every home of the operators is tested on."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

DATA = Path(
    os.environ.get("GRAPHSTILL_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
)
needs_data = pytest.mark.skipif(
    not DATA.is_dir(),
    reason="needs real data: set GRAPHSTILL_DATA to a folder with planetoid/ and amazon/",
)


def _random(num_nodes: int, num_edges: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, num_nodes, (2, num_edges), generator=generator)


def _hub() -> Tensor:
    edges = _random(40, 500)
    edges[1, :400] = 7
    return edges


def _loops() -> Tensor:
    edges = _random(9, 60)
    edges[:, ::5] = edges[0, ::5]
    return torch.cat([edges, torch.tensor([[3, 3, 3], [3, 3, 3]])], dim=1)


# edge_index and number of nodes, by name
GRAPHS: dict[str, tuple[Tensor, int]] = {
    "usual": (_random(23, 140), 23),
    "no nodes": (torch.zeros(2, 0, dtype=torch.long), 0),
    "no edges": (torch.zeros(2, 0, dtype=torch.long), 5),
    "one node": (torch.zeros(2, 0, dtype=torch.long), 1),
    "one node, one loop": (torch.zeros(2, 1, dtype=torch.long), 1),
    "isolated nodes": (_random(6, 20), 30),
    "all edges into the last node": (torch.stack([torch.arange(9), torch.full((9,), 11)]), 12),
    "a hub": (_hub(), 40),
    "duplicates and self loops": (_loops(), 9),
    "sorted": (_random(17, 80)[:, _random(17, 80)[1].argsort(stable=True)], 17),
}

WIDTHS = (1, 3, 12, 16, 20, 31, 33, 45, 64, 130)


@dataclass(frozen=True)
class Options:
    """Which optional inputs of spmm are given."""

    weight: bool = False
    src_scale: bool = False
    dst_scale: bool = False
    self_weight: bool = False
    bias: bool = False
    residual: bool = False
    reduce: str = "sum"
    activation: str = "none"

    def __str__(self) -> str:
        given = [name for name, value in vars(self).items() if value is True]
        return "+".join([self.reduce, *given, self.activation]).removesuffix("+none")

    @property
    def choices(self) -> dict[str, str]:
        """What is not a tensor."""
        return {"reduce": self.reduce, "activation": self.activation}


OPTIONS = (
    Options(),
    Options(reduce="mean"),
    Options(weight=True),
    Options(weight=True, reduce="mean", bias=True),
    Options(src_scale=True, dst_scale=True, self_weight=True),
    Options(weight=True, src_scale=True, dst_scale=True, self_weight=True, bias=True),
    Options(dst_scale=True, bias=True),
    Options(self_weight=True),
)

# what torch's operator has beyond the node of ONNX
TORCH_OPTIONS = (
    *OPTIONS,
    Options(residual=True, activation="relu"),
    Options(reduce="mean", bias=True, residual=True, activation="elu"),
    Options(src_scale=True, dst_scale=True, self_weight=True, bias=True, activation="relu"),
)

graphs = pytest.mark.parametrize("graph", GRAPHS)
widths = pytest.mark.parametrize("width", WIDTHS)
options = pytest.mark.parametrize("options", OPTIONS, ids=str)
torch_options = pytest.mark.parametrize("options", TORCH_OPTIONS, ids=str)


def spmm_inputs(options: Options, num_nodes: int, num_edges: int, width: int) -> dict[str, Tensor]:
    """Random float64 inputs of spmm; weights are in CSR order."""
    made = {"x": torch.randn(num_nodes, width, dtype=torch.float64)}
    sizes = {
        "weight": num_edges,
        "src_scale": num_nodes,
        "dst_scale": num_nodes,
        "self_weight": num_nodes,
        "bias": width,
    }
    for name, size in sizes.items():
        if getattr(options, name):
            made[name] = torch.randn(size, dtype=torch.float64)
    if options.residual:
        made["residual"] = torch.randn(num_nodes, width, dtype=torch.float64)
    return made


def compiled_environment() -> dict[str, str]:
    """Return the environment of a process that has this tree and not Triton's interpreter."""
    given = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    return given | {"PYTHONPATH": str(Path(__file__).resolve().parents[1] / "src")}


def weighted_sum(out: Tensor) -> Tensor:
    """A scalar whose gradient differs for every element."""
    return (out * torch.linspace(-1, 1, out.numel()).to(out).view_as(out)).sum()


def assert_close(got: Tensor, wanted: Tensor, dtype: torch.dtype = torch.float32) -> None:
    """Compare with float64 values, the tolerance being that of a dtype and of the largest value."""
    assert got.shape == wanted.shape
    scale = max(1.0, float(wanted.abs().max())) if wanted.numel() else 1.0
    tolerance = {torch.float64: 1e-11, torch.float32: 2e-6, torch.float16: 2e-3}.get(dtype, 2e-2)
    torch.testing.assert_close(
        got.double(), wanted.double(), rtol=0.0, atol=20 * tolerance * scale, equal_nan=True
    )
