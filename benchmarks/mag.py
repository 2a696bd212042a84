"""R-GCN on a graph of ogbn-mag's shape: 3 layers of 512 channels, and a student of 2 by 32.

    python benchmarks/mag.py [--part 20] [--epochs 3] [--threads 1] --out benchmarks/results/mag
    python benchmarks/mag.py --set ogbn-mag --data DATA --epochs 30 --out runs/mag

The first trains on a generated graph, a part of ogbn-mag's size: its four types of nodes, its
relations and their inverses (citations are made undirected: 7 relations), power-law popularity,
papers with 128 features that tell a little of the 349 venues. The second takes the real one, which
full batch needs about 20 times the memory. Other types than papers have no features; each of their
nodes has an embedding of 128, which is counted apart: the published 5,575,540 and 169,428
parameters are without them.

Each row is a process of its own. Seconds are of whole epochs, one validation each, by the clock and
by the processor; memory is the kernel's high-water mark (VmHWM) and what it was once the data was
there. The distilled student learns from labels, logits and ABKD's term over layers; its teacher
answers once, before the first epoch, within the same process.
"""

import argparse
import json
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from graphstill.distill import (  # noqa: E402
    Architecture,
    HeteroNodeData,
    LogitKD,
    Objective,
    Observed,
    Role,
    Split,
    Supervised,
    TrainSettings,
    build,
    fit,
    fitting,
    hidden_layers,
    load,
    observe,
    parameters_of,
)
from graphstill.distill.methods import abkd  # noqa: E402

ROWS = ("teacher", "student", "student, distilled")
TYPES = ("paper", "author", "institution", "field_of_study")
# numbered as in `graphs.mag_shaped`
RELATIONS = (
    ("author", "affiliated_with", "institution"),
    ("author", "writes", "paper"),
    ("paper", "cites", "paper"),
    ("paper", "has_topic", "field_of_study"),
)
VENUES, WIDTH = 349, 128


def mag_shaped(part: int) -> HeteroNodeData:
    """Return the generated graph, a part of ogbn-mag's size."""
    from graphs import MAG_SIZES, mag_shaped as generate

    drawn = generate(Path(), part=part)
    sizes = np.array(MAG_SIZES) // part
    offsets = np.r_[0, np.cumsum(sizes)[:-1]].tolist()
    start: dict[str, int] = dict(zip(TYPES, offsets, strict=True))
    edges = {}
    for number, kind in enumerate(RELATIONS):
        ends = drawn["edge_index"][:, drawn["edge_type"] == number]
        edges[kind] = torch.from_numpy(ends - np.array([[start[kind[0]]], [start[kind[2]]]]))
    x: dict[str, Tensor] = {
        kind: torch.arange(int(count)) for kind, count in zip(TYPES, sizes, strict=True)
    }
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(0, VENUES, (len(x["paper"]),), generator=generator)
    centres = torch.randn(VENUES, WIDTH, generator=generator)
    x["paper"] = centres[y] + 3 * torch.randn(len(y), WIDTH, generator=generator)
    split = Split.fractions(len(y), 0.85, 0.09, seed=0)
    name = f"mag-shaped, 1/{part}"
    return HeteroNodeData(name, x, edges, y, split, target="paper").with_reverses()


def teacher_of(data: HeteroNodeData) -> Architecture:
    """Return the published teacher."""
    return fitting(data, "HeteroRGCN", 512, 3, {"embedding": WIDTH, "dropout": 0.5})


def student_of(data: HeteroNodeData) -> Architecture:
    """Return the published student."""
    return fitting(data, "HeteroRGCN", 32, 2, {"embedding": WIDTH, "dropout": 0.5})


class Timed(Objective):
    """An objective that notes when its epochs begin."""

    def begin(self, epoch: int) -> None:
        """Note the time by the clock and by the processor."""
        self.__dict__.setdefault("begun", []).append((time.perf_counter(), time.process_time()))
        super().begin(epoch)


def run(row: str, data: HeteroNodeData, settings: TrainSettings, folder: Path) -> dict[str, Any]:
    """Train a row's network and return what it cost."""
    loaded = high_water_bytes()
    torch.manual_seed(settings.seed)
    observed = data.observed()
    module = build(teacher_of(data) if row == "teacher" else student_of(data))
    terms: dict[str, Any] = {"supervised": (1.0, Supervised())}
    taught, taps = None, list[str]()
    if row == "student, distilled":
        taught, taps = answers(data, observed, folder), hidden_layers(module)
        widths = [h.shape[1] for h in taught.layers]
        own = [h.shape[1] for h in observe(Role(module, taps), observed).layers]
        terms = {
            "supervised": (0.1, Supervised()),
            "kd": (0.9, LogitKD(4.0)),
            "abkd": (0.01, abkd(widths, own, WIDTH)),
        }
    objective = Timed(terms)
    result = fit(Role(module, taps), observed, objective, settings, teacher=taught)
    begun = [*objective.__dict__["begun"], (time.perf_counter(), time.process_time())]
    if row == "teacher":
        torch.save(module.state_dict(), folder / "teacher.pt")
    wall, cpu = ((end - start) / result.epochs for start, end in zip(begun[0], begun[-1]))  # noqa: B905
    parameters, tables = parameters_of(module)
    return {
        "row": row,
        "parameters": parameters - tables,
        "tables": tables,
        "epochs": result.epochs,
        "seconds_per_epoch": wall,
        "cpu_seconds_per_epoch": cpu,
        "loaded_bytes": loaded,
        "peak_bytes": high_water_bytes(),
        "val_loss": result.val_loss,
        "val_accuracy": result.val_accuracy,
    }


def answers(data: HeteroNodeData, observed: Observed, folder: Path) -> Any:
    """Return what the trained teacher answers."""
    teacher = build(teacher_of(data))
    teacher.load_state_dict(torch.load(folder / "teacher.pt", weights_only=True))
    return observe(Role(teacher, hidden_layers(teacher)), observed)


def high_water_bytes() -> int:
    """Return the most memory that this process has held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def table(report: dict[str, Any]) -> str:
    """Return a report as Markdown."""
    lines = [
        f"{report['set']}: {report['nodes']:,} nodes, {report['edges']:,} edges of "
        f"{report['relations']} relations; {report['threads']} thread(s), {report['processor']}, "
        f"torch {report['torch']}.",
        "",
        f"`{report['command']}`",
        "",
        "| row | parameters | in tables | s per epoch | processor s | peak MB | of it data | "
        "validation loss |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {r['row']} | {r['parameters']:,} | {r['tables']:,} | {r['seconds_per_epoch']:.2f} | "
        f"{r['cpu_seconds_per_epoch']:.2f} | {r['peak_bytes'] / 1e6:,.0f} | "
        f"{r['loaded_bytes'] / 1e6:,.0f} | {r['val_loss']:.3f} |"
        for r in report["rows"]
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run all rows, each in a process, or one of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--set", choices=["mag-shaped", "ogbn-mag"], default="mag-shaped")
    parser.add_argument("--data", type=Path, help="folder that holds ogbn_mag/")
    parser.add_argument("--part", type=int, default=20, help="1/part of ogbn-mag's size")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--row", choices=ROWS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.row is None:
        for row in ROWS:
            subprocess.run([sys.executable, *sys.argv, "--row", row], check=True)
        gather(given.out)
        return
    torch.set_num_threads(given.threads)
    data = mag_shaped(given.part) if given.set == "mag-shaped" else load("ogbn-mag", given.data)
    assert isinstance(data, HeteroNodeData)
    settings = TrainSettings(epochs=given.epochs, patience=given.epochs, lr=0.005, weight_decay=0.0)
    facts = {
        "set": data.name,
        "nodes": sum(len(x) for x in data.x.values()),
        "edges": sum(e.shape[1] for e in data.edge_index.values()),
        "relations": len(data.edge_index),
        "threads": given.threads,
        "processor": processor(),
        "torch": torch.__version__,
        "command": " ".join(["python benchmarks/mag.py", *sys.argv[1 : sys.argv.index("--row")]]),
    }
    measured = run(given.row, data, settings, given.out)
    (given.out / f"{given.row}.json").write_text(json.dumps({**facts, "rows": [measured]}))


def processor() -> str:
    """Return the name of the processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def gather(out: Path) -> None:
    """Put the rows into report.json and table.md."""
    parts = [json.loads((out / f"{row}.json").read_text()) for row in ROWS]
    report = {**parts[0], "rows": [part["rows"][0] for part in parts]}
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    (out / "table.md").write_text(table(report))
    for row in ROWS:
        (out / f"{row}.json").unlink()
    (out / "teacher.pt").unlink()
    print(table(report))


if __name__ == "__main__":
    main()
