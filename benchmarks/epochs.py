"""Epochs of training with what makes them short, and without.

    python benchmarks/epochs.py --data DATA [--rounds 5] [--threads 1]

An epoch of the whole graph of Cora, one step and one validation: of a GCNII with 4 layers of 4
channels, distilled by logits with half of its input features dropped, and of its teacher with 64
layers of 64. Rows take turns in fresh processes:

    ours                sparse features, dropout by 16 random bits a number
    torch's dropout     sparse features, dropout as torch draws it
    dense features      features with their zeros, our dropout
    dense, torch's      neither
"""

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

ROWS = ("ours", "torch's dropout", "dense features", "dense, torch's")
NETWORKS = ("student", "teacher")


def target(
    inputs: Mapping[str, Any], threads: int, *, data: str, network: str, row: str
) -> Callable[[], Any]:
    """Return one epoch of a row."""
    import torch
    import torch.nn.functional as F

    from graphstill.distill import TrainSettings, build, fitting, gcnii, load, training
    from graphstill.distill.distiller import Distiller, Role, observe
    from graphstill.distill.losses import LogitKD, Objective, Supervised
    from graphstill.distill.selection import validate

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    if "torch's" in row:
        gcnii.dropout = training.dropout = lambda x, p, training=True: F.dropout(x, p, training)
    cora = load("cora", Path(data))
    seen = cora.observed(sparse="dense" not in row)
    teacher = build(fitting(cora, "GCNII", 64, 64, {"dropout": 0.6}))
    module, terms = teacher, {"labels": (1.0, Supervised())}
    settings, taught = TrainSettings(), None
    if network == "student":
        module = build(fitting(cora, "GCNII", 4, 4))
        taught = observe(Role(teacher), cora.observed())
        terms = {"labels": (0.5, Supervised()), "soft": (0.5, LogitKD())}
        settings = TrainSettings(input_dropout=0.5)
    objective = Objective(terms)
    distiller = Distiller(Role(module), objective, taught)
    optimizer = training.adam(module, objective, settings)

    def epoch() -> tuple[float, float]:
        distiller.train()
        distiller(training.dropped(seen, settings))["total"].backward()
        optimizer.step()
        optimizer.zero_grad()
        return validate(module, seen)

    return epoch


def main() -> None:
    """Measure all rows, and write report.json, report.html and table.md."""
    parser = argparse.ArgumentParser(description="Epochs of a narrow student and of its teacher")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "epochs")
    chosen = parser.parse_args()

    from graphstill.export import Row, Settings, measure

    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    facts = {"data": str(chosen.data.resolve())}
    rows = [
        Row(f"{network}: {row}", "epochs:target", {**facts, "network": network, "row": row})
        for network in NETWORKS
        for row in ROWS
    ]
    settings = Settings(threads=chosen.threads, rounds=chosen.rounds, min_samples=10)
    report = measure(rows, {}, settings, on_step=lambda label: print(label, flush=True))
    _write(report, chosen.out)


def _write(report: Any, out: Path) -> None:
    from dataclasses import replace

    from graphstill.export.bench import machine_line
    from graphstill.export.page import Section, write_page
    from graphstill.export.plots import latency

    # where the data was is nobody's business
    report = replace(
        report,
        rows=[
            replace(r, row=replace(r.row, arguments={**r.row.arguments, "data": "DATA"}))
            for r in report.rows
        ],
    )
    header = ["epoch of", "row", "ms", "times ours", "95 % interval"]
    cells = []
    for network in NETWORKS:
        for row in ROWS:
            label = f"{network}: {row}"
            ratio, low, high = report.ratio(label, f"{network}: ours")
            ms = f"{1e3 * report.row(label).latency_seconds:.1f}"
            cells.append([network, row, ms, f"{ratio:.2f}", f"{low:.2f} – {high:.2f}"])
    out.mkdir(parents=True, exist_ok=True)
    report.save(out / "report.json")
    lines = [header, ["---"] * len(header), *cells]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
    (out / "table.md").write_text(text)
    sections = [Section("Epochs", "", header, cells)]
    for network in NETWORKS:
        part = [r for r in report.rows if r.row.label.startswith(network)]
        sections.append(Section(network, "", svg=latency(part)))
    write_page(out / "report.html", "epochs", "", sections, footer=machine_line(report))
    print(text)


if __name__ == "__main__":
    main()
