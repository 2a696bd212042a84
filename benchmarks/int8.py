"""Quantised bundles on real data: latency, bytes, agreement and accuracy of every mode, together.

    python benchmarks/int8.py --data DATA [--models cora-gcn-256 arxiv-sage-256 …] [--rounds 3]

Models are trained here, for few epochs (agreement needs decisions, not records; EPOCHS says how
many), GCN with 2 layers of 256 channels and, distilled from it with its weights rounded while it
trains, a narrow student of 16; on ogbn-arxiv 3 layers of GCN and GraphSAGE. Each is exported and
quantised in each mode; all bundles of a model take turns, a fresh process for each and each round,
on two threads (one for narrow models, whose milliseconds two threads cannot share on a busy
machine), the graph (and int8 features) prepared outside the calls. Agreement is the share of all
nodes whose class stays. Models that are not asked for keep their lines of an earlier run.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SETS = {"cora": "cora", "citeseer": "citeseer", "pubmed": "pubmed", "photo": "amazon-photo"}
WIDE, NARROW = 256, 16
EPOCHS = {"gcn-256": 40, "gcn-16": 200, "arxiv": 6}
MODELS = [f"{name}-gcn-{WIDE}" for name in SETS] + [f"{name}-gcn-{NARROW}" for name in SETS]
ARXIV = ["arxiv-gcn-256", "arxiv-sage-256"]
MODES: dict[str, dict[str, Any]] = {
    "dynamic": {"mode": "dynamic"},
    "dynamic, int8 features": {"mode": "dynamic", "features": "int8"},
    "static": {"mode": "static"},
    "weights": {"mode": "weights"},
    "fp16": {"mode": "fp16"},
}


def train_model(model: str, root: Path, work: Path) -> tuple[Any, Path]:
    """Train a model, or take it from an earlier call; return its data and its run directory."""
    from graphstill.distill import (
        Architecture,
        DistillSettings,
        TrainSettings,
        distill,
        load,
        load_run,
        train,
    )

    name, kind, hidden = model.split("-")
    data: Any = load("ogbn-arxiv" if name == "arxiv" else SETS[name], root)
    folder = work / "runs" / model
    if (folder / "summary.json").is_file():
        return data, folder
    architecture = Architecture(
        name={"gcn": "GCN", "sage": "GraphSAGE"}[kind],
        in_channels=data.num_features,
        hidden_channels=int(hidden),
        num_layers=3 if name == "arxiv" else 2,
        out_channels=data.num_classes,
        arguments={"dropout": 0.5} if name != "arxiv" else {},
    )
    epochs = EPOCHS["arxiv" if name == "arxiv" else f"{kind}-{hidden}"]
    if int(hidden) == NARROW:
        teacher = load_run(train_model(f"{name}-{kind}-{WIDE}", root, work)[1])
        settings = TrainSettings(epochs=epochs, int8_weights=True)
        how = DistillSettings()
        distill(teacher, architecture, data, settings, how, directory=folder, progress=False)
    else:
        train(architecture, data, TrainSettings(epochs=epochs), directory=folder, progress=False)
    return data, folder


def measure_model(model: str, root: Path, work: Path, rounds: int) -> dict[str, Any]:
    """Quantise one model in every mode and measure all of it side by side."""
    from graphstill.export import Row, Settings, export_run, measure
    from graphstill.export.quantisation import Evidence, QuantiseSettings
    from graphstill.export.quantisation.evidence import compare
    from graphstill.export.quantisation.quantise import shrink
    from graphstill.serve import Bundle, Session

    data, folder = train_model(model, root, work)
    evidence = Evidence.of(data)
    large = export_run(folder, work / "bundles" / model / "fp32")
    before = evidence.decisions(Session(large))
    bundles, lines = {"fp32": large}, {"fp32": compare(evidence, before, before)}
    counts: dict[str, dict[str, int]] = {}
    # a call there takes most of a second: what is known from the others is left out
    modes = {"dynamic": MODES["dynamic"]} if model in ARXIV else MODES
    for label, settings in modes.items():
        manifest, files, counts[label] = shrink(large, evidence, QuantiseSettings(**settings))
        path = work / "bundles" / model / label.replace(", ", "-").replace(" ", "-")
        bundles[label] = Bundle.write(path, manifest, files)
        lines[label] = compare(evidence, before, evidence.decisions(Session(bundles[label])))
    target = "graphstill.export.targets:bundle"
    rows = [
        Row(label, target, {"path": str(bundle.path.resolve()), "prepared": True})
        for label, bundle in bundles.items()
    ]
    threads = 1 if model.endswith(f"-{NARROW}") else 2
    found = measure(rows, evidence.inputs, Settings(threads, rounds, 5, 0.2))
    return {
        "threads": threads,
        "machine": found.machine,
        "native_operators": Session(large).native_operators,
        "parameters": large.manifest.parameters,
        "rows": {
            label: {
                "latency_seconds": found.row(label).latency_seconds,
                "times_as_fast": found.ratio("fp32", label),
                "round_medians_seconds": found.row(label).medians,
                "memory": found.row(label).memory,
                "model_bytes": bundle.size_bytes,
                "weights_bytes": bundle.manifest.files["weights.safetensors"].bytes,
                "trained_scales": counts.get(label, {}).get("trained", 0),
                **asdict(lines[label]),
            }
            for label, bundle in bundles.items()
        },
    }


def markdown(found: dict[str, Any]) -> str:
    """Return all models' rows as tables."""
    parts = []
    for model in [m for m in (*MODELS, *ARXIV) if m in found]:
        lines = [
            f"## {model}, {found[model]['parameters']:,} parameters, "
            f"threads: {found[model]['threads']}\n",
            "| | ms | times as fast | model kB | weights kB | agreement | least, by in-degree | "
            "least, by class | val | test |",
            "|---" * 10 + "|",
        ]
        for label, row in found[model]["rows"].items():
            ratio, low, high = row["times_as_fast"]
            accuracy = row["accuracy"]["after"]
            cells = [
                label,
                f"{1e3 * row['latency_seconds']:.3g}",
                "" if label == "fp32" else f"{ratio:.2f} [{low:.2f}, {high:.2f}]",
                f"{row['model_bytes'] / 1e3:,.0f}",
                f"{row['weights_bytes'] / 1e3:,.0f}",
                f"{100 * row['agreement']:.2f} %",
                _least(row["by_in_degree"]),
                _least(row["by_class"]),
                f"{100 * accuracy['val']:.2f} %",
                f"{100 * accuracy['test']:.2f} %",
            ]
            lines.append(f"| {' | '.join(cells)} |")
        parts.append("\n".join(lines))
    machine = next(iter(found.values()))["machine"]
    versions = ", ".join(f"{name} {v}" for name, v in machine["versions"].items())
    head = (
        f"# Quantised bundles\n\n`python benchmarks/int8.py --data DATA`, "
        f"{machine['processor']}, interleaved, 95 % intervals over rounds; {versions}. Models are "
        f"trained for {EPOCHS['gcn-256']} epochs ({EPOCHS['gcn-16']} the narrow ones"
        + (f", {EPOCHS['arxiv']} on ogbn-arxiv" if found.keys() & set(ARXIV) else "")
        + "), so accuracies are no records. The machine was shared: "
        + ", ".join(
            f"load {m['machine']['load_before']:.0f}–{m['machine']['load_after']:.0f} for {name}"
            for name, m in found.items()
        )
        + "."
    )
    return "\n\n".join([head, *parts]) + "\n"


def _least(shares: list[dict[str, Any]]) -> str:
    least = min(shares, key=lambda share: share["agreement"])
    return f"{100 * least['agreement']:.1f} % of {least['nodes']:,} ({least['of']})"


def misses(found: dict[str, Any]) -> list[str]:
    """Return where int8 at hidden 256 falls short of 1.5 times the speed or 99 % agreement."""
    return [
        f"{model}: {row['times_as_fast'][0]:.2f} times as fast, agreement {row['agreement']:.4f}"
        for model, measured in found.items()
        for row in [measured["rows"]["dynamic"]]
        if model.endswith(f"-{WIDE}") and (row["times_as_fast"][0] < 1.5 or row["agreement"] < 0.99)
    ]


def main() -> None:
    """Train, quantise, measure, and write int8.json and int8.md."""
    parser = argparse.ArgumentParser(description="Quantised bundles on real data")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", nargs="+", default=MODELS, choices=[*MODELS, *ARXIV])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("runs/int8"))
    parser.add_argument("--out", type=Path, default=HERE / "results")
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    path = chosen.out / "int8.json"
    found = json.loads(path.read_text()) if path.is_file() else {}
    for model in chosen.models:
        print(model, flush=True)
        found[model] = measure_model(model, chosen.data, chosen.work, chosen.rounds)
        path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
        (chosen.out / "int8.md").write_text(markdown(found))
    print(markdown(found))
    for missed in misses(found):
        print(f"below the bar: {missed}")


if __name__ == "__main__":
    main()
