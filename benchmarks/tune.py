"""Measure which tile suits each operator on the GPU at hand, and write the table that ships.

    python benchmarks/tune.py [--limit 540] [--operators spmm gatv2 …] [--out PATH]

For each operator, type, width and average degree, every candidate (`gpu.tiles.candidates`) is first
checked against the definition in float64 on a small graph; one that spills registers is left out.
Then all take turns in rounds on a graph of millions of edges. A tile enters the table only where it
is faster than the closed form's by 2 %, by the lower end of the 95 % interval over paired rounds.
What was measured before on the same kind of GPU stays unless it is measured again; so where the
time is up, another run with `--operators` or `--dtypes` goes on. `TRITON_INTERPRET=1` and
`--device cpu --edges 60 --out PATH` try the script out; times of a CPU never enter the package.
"""

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import triton
from ceilings import Clock
from torch import Tensor

from graphstill.export.intervals import ratio_interval
from graphstill.kernels import CSRGraph, gpu, reference
from graphstill.kernels.gpu import table
from graphstill.kernels.gpu.tiles import OPERATORS, Tile, candidates

HEADS = 2
MEAN_DEGREE = {0: 2, 4: 8, 16: 32, 64: 128}
TOLERANCE = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1}
GAIN = 1.02


def graph_of(degree: int, edges: int, device: str) -> CSRGraph:
    """Return a graph of random edges, whose in-degrees fall like a power law."""
    torch.manual_seed(0)
    nodes = max(edges // degree, 2)
    popular = (nodes * torch.rand(edges) ** 2).long().clamp(max=nodes - 1)
    graph = CSRGraph.from_edge_index(
        torch.stack([torch.randint(0, nodes, (edges,)), popular]).to(device), nodes
    )
    _ = graph.transposed
    return graph


def call_of(
    operator: str, graph: CSRGraph, width: int, dtype: torch.dtype
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Return a call of an operator's kernels, and of what defines it in float64."""
    rowptr, col, walked = graph.rowptr, graph.col, graph.transposed
    torch.manual_seed(0)
    device, nodes = col.device, graph.num_nodes
    heads = HEADS if operator.startswith(("gat", "dot_attention")) else 1
    x, y, grad = (torch.randn(nodes, heads * width).to(device, dtype) for _ in range(3))
    scores = [torch.randn(nodes, heads).to(device, dtype) for _ in range(2)]
    att = (torch.randn(heads, width) / width**0.5).to(device, dtype)
    loops = (0.2, False)
    if operator == "spmm":
        options: Any = (*[None] * 6, "sum", "none")
        return (
            lambda: gpu.spmm(rowptr, col, x, *options),
            lambda: reference.spmm(rowptr, col, x.double()),
        )
    if operator == "spmm_int8":
        whole = (10 * x.float()).to(torch.int8)
        scale = torch.rand(width).to(device, dtype)
        return (
            lambda: gpu.spmm_int8(rowptr, col, whole, scale, "sum"),
            lambda: reference.spmm_int8(rowptr, col, whole, scale.double(), "sum"),
        )
    if operator == "sddmm":
        return (
            lambda: gpu.sddmm(rowptr, col, x, y, heads),
            lambda: reference.sddmm(rowptr, col, x.double(), y.double(), heads),
        )
    inputs: dict[str, tuple[list[Tensor], tuple[Any, ...]]] = {
        "extremum": ([x], (None, "max")),
        "gat": ([x, *scores], (None, *loops)),
        "gatv2": ([x, y, att], (None, *loops)),
        "dot_attention": ([x, y, grad], (heads,)),
    }
    name = operator.removesuffix("_backward")
    tensors, settings = inputs[name]
    if name == operator:
        run, define = getattr(gpu, name), getattr(reference, name)
        return (
            lambda: run(rowptr, col, *tensors, *settings),
            lambda: define(rowptr, col, *(t.double() for t in tensors), *settings),
        )
    return _backward_of(name, (rowptr, col, walked), tensors, settings, grad)


def _backward_of(
    name: str, graph: Any, tensors: list[Tensor], settings: tuple[Any, ...], grad: Tensor
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Return a call of a backward pass's kernels, and of the definition's gradients."""
    rowptr, col, _ = graph
    define = getattr(reference, name)

    def gradients() -> Any:
        leaves = [t.double().requires_grad_() for t in tensors]
        out = define(rowptr, col, *leaves, *settings)
        out = out[0] if isinstance(out, tuple) else out
        return torch.autograd.grad(out, leaves, grad.double())

    run = getattr(gpu, f"{name}_backward")
    made = getattr(gpu, name)(rowptr, col, *tensors, *settings)
    if name == "extremum":
        return lambda: run(grad, *graph, *tensors, None, made)[:1], gradients
    out, lse = made
    per_head = (grad * out).float().unflatten(1, (lse.shape[1], -1))
    mean, options = per_head.sum(-1), () if name == "dot_attention" else settings[1:]
    return lambda: run(grad, *graph, *tensors, lse, mean, *options), gradients


def apart(got: Any, wanted: Any) -> float:
    """Return the largest error of any tensor, as a part of its largest value."""
    pairs = zip(got, wanted, strict=True) if isinstance(got, tuple) else [(got, wanted)]
    return max(
        float((mine.double() - exact).abs().max() / exact.abs().max().clamp(min=1e-30))
        for mine, exact in pairs
    )


def compiled_kernels() -> Iterator[Any]:
    """Yield every kernel that this process has compiled for a GPU."""
    for name, module in list(sys.modules.items()):
        if name.startswith("graphstill.kernels.gpu."):
            for value in vars(module).values():
                for cache in getattr(value, "device_caches", {}).values():
                    yield from cache[0].values()


def fitting(
    operator: str, dtype: torch.dtype, width: int, small: CSRGraph
) -> tuple[list[Tile], dict[str, str]]:
    """Return the candidates that are right and spill nothing, and why the others are left out."""
    name = str(dtype).removeprefix("torch.")
    good, refused = [], {}
    run, define = call_of(operator, small, width, dtype)
    wanted = define()
    for tile in candidates(operator, table.bits_of(operator, name), width):
        before = {id(kernel) for kernel in compiled_kernels()}
        with table.using(everywhere(operator, name, width, tile, small.col.device)):
            error = apart(run(), wanted)
        if not error <= TOLERANCE[name]:
            raise SystemExit(f"{operator}/{name}/{width} with {tile} is wrong by {error:.1e}")
        made = [kernel for kernel in compiled_kernels() if id(kernel) not in before]
        if any(kernel.n_spills for kernel in made):
            refused[str(tile)] = "spills"
        else:
            good.append(tile)
    return good, refused


def everywhere(
    operator: str, dtype: str, width: int, tile: Tile, device: torch.device
) -> dict[table.Key, Tile]:
    """Return tiles that give an operator this one at every degree."""
    where = table.capability(device)
    return {(where, operator, dtype, width, degree): tile for degree in table.DEGREES}


def fastest(
    tiles: list[Tile], timed: Callable[[Tile], float], rounds: int
) -> tuple[Tile, float, float]:
    """Return the tile to take, its seconds and those of the first one, by paired rounds."""
    seconds: dict[Tile, list[float]] = {tile: [] for tile in tiles}
    for _ in range(rounds):
        for tile in tiles:
            seconds[tile].append(timed(tile))
    usual = tiles[0]
    best = min(tiles, key=lambda tile: statistics.median(seconds[tile]))
    if best != usual and ratio_interval(seconds[usual], seconds[best])[1] < GAIN:
        best = usual
    return best, statistics.median(seconds[best]), statistics.median(seconds[usual])


def cells(chosen: Any) -> Iterator[tuple[str, str, int]]:
    """Yield operator, type and width, what is used most first."""
    for dtype, width in itertools.product(chosen.dtypes, (64, 128, 32, 256)):
        for operator in chosen.operators:
            yield operator, dtype, width


def main() -> None:
    """Measure as far as time allows, and write the table."""
    parser = argparse.ArgumentParser(description="Tiles of the Triton kernels, measured")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--limit", type=float, default=540, help="seconds")
    parser.add_argument("--operators", nargs="+", default=list(OPERATORS), choices=OPERATORS)
    parser.add_argument("--dtypes", nargs="+", default=list(table.DTYPES), choices=table.DTYPES)
    parser.add_argument("--edges", type=int, default=1 << 23)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, help="the table; by default the one that ships")
    chosen = parser.parse_args()

    start, clock, device = time.monotonic(), Clock(chosen.device), torch.device(chosen.device)
    if chosen.out is None and not clock.cuda:
        parser.error("times of a CPU do not belong into the package: give --out")
    out = chosen.out or table.SHIPPED
    old = table.Table.load(out) if out.exists() else table.Table()
    entries = {entry.key: entry for entry in old.entries}
    where = table.capability(device)
    graphs = {d: graph_of(m, chosen.edges, chosen.device) for d, m in MEAN_DEGREE.items()}
    small = graph_of(8, min(chosen.edges, 20_000), chosen.device)
    run_of = {"gpu": torch.cuda.get_device_name(device) if clock.cuda else "none"}
    run_of |= {"torch": torch.__version__, "triton": triton.__version__}
    run_of |= {"command": " ".join(["python benchmarks/tune.py", *sys.argv[1:]])}
    for operator, dtype, width in cells(chosen):
        passed = time.monotonic() - start
        if passed > chosen.limit:
            print(f"{operator}/{dtype}/{width} and what follows: {passed:.0f} s are over")
            break
        good, refused = fitting(operator, getattr(torch, dtype), width, small)
        for degree, graph in graphs.items():
            run, _ = call_of(operator, graph, width, getattr(torch, dtype))

            def timed(tile: Tile, run: Any = run, cell: Any = (operator, dtype, width)) -> float:
                with table.using(everywhere(*cell, tile=tile, device=device)):
                    return clock.median(run, 5)

            tile, seconds, usual = fastest(good, timed, chosen.rounds)
            key = (where, operator, dtype, width, degree)
            entries.pop(key, None)
            if tile != good[0]:
                entry = table.Entry(where, operator, dtype, width, degree, tile, seconds, usual)
                entries[key] = entry
            times = f"{1e6 * seconds:.0f} of {1e6 * usual:.0f} µs"
            print(f"{passed:.0f} s, {key}: {tile}, {times} {refused or ''}", flush=True)
        runs = [*old.runs, run_of] if entries else []
        table.Table(list(entries.values()), runs).save(out)
    print(f"{len(entries)} entries in {out}")


if __name__ == "__main__":
    main()
