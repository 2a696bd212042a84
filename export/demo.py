"""demo: the whole road on real data, in one call.

Trains a teacher on `digits`, distils a student with ABKD, exports both, proves both exports,
measures both and lets the student predict. Everything it says is measured while it runs.
"""

import json
import os
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..distill import (
    Architecture,
    DistillSettings,
    NodeData,
    Run,
    TrainSettings,
    agreement,
    digits,
    distill,
    predict,
    train,
)
from ..serve import Bundle, Session
from . import plots
from .bench import machine_line, measurement_sections
from .harness import measure
from .page import Section, write_page
from .parity import ParityReport, check_parity
from .rebuilding import rebuild
from .report import Report, Row, Settings
from .runs import export_run

SEEDS = (0, 1, 2)
TEACHER, STUDENT, PYG = "teacher", "student", "teacher in PyG"

_TEACHER_SETTINGS = {"lr": 0.001, "input_dropout": 0.2, "epochs": 400, "patience": 60}
_STUDENT_SETTINGS = {"lr": 0.01, "input_dropout": 0.1, "epochs": 500, "patience": 100}


@dataclass(frozen=True)
class Arms:
    """What was trained, one run for each seed."""

    teacher: list[Run]
    student: list[Run]
    alone: list[Run]


def run_demo(
    out: Path, *, say: Callable[[str], None] = print, progress: bool = True
) -> dict[str, Any]:
    """Do all of it and return what summary.json holds.

    Args:
        out: Where bundles, runs, summary.json and report.html go. A second call goes on where the
            first one stopped.
        say: Told about each step.
        progress: Whether to show progress bars on a terminal.
    """
    threads = min(2, len(os.sched_getaffinity(0)))
    torch.set_num_threads(threads)
    data = digits()
    say(f"digits: {data.num_nodes} images, {data.edge_index.shape[1]} edges, {data.split_name}")
    arms = _train(data, out / "runs", say, progress)
    bundles = {name: export_run(getattr(arms, name)[0], out / name) for name in (TEACHER, STUDENT)}
    say("exported both; proving the exports")
    parity = {name: check_parity(rebuild(bundle), bundle) for name, bundle in bundles.items()}
    say("measuring both, in turns and in fresh processes")
    report = _measure(bundles, data, threads)
    report.save(out / "report.json")
    summary = _summary(arms, data, bundles, parity, report)
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    _write_page(out, arms, data, summary, parity, report)
    say(_prediction(bundles[STUDENT], data))
    return summary


def _train(data: NodeData, folder: Path, say: Callable[[str], None], progress: bool) -> Arms:
    teacher = Architecture(
        name="GCN",
        in_channels=data.num_features,
        hidden_channels=256,
        num_layers=4,
        out_channels=data.num_classes,
        arguments={"dropout": 0.3},
    )
    student = Architecture(
        name="GraphSAGE",
        in_channels=data.num_features,
        hidden_channels=16,
        num_layers=3,
        out_channels=data.num_classes,
    )
    arms = Arms([], [], [])
    for seed in SEEDS:
        say(f"seed {seed}: teacher, student, and the same student without a teacher")
        slow = TrainSettings(**_TEACHER_SETTINGS, seed=seed)
        fast = TrainSettings(**_STUDENT_SETTINGS, seed=seed)
        where = {name: folder / f"{name}-{seed}" for name in (TEACHER, STUDENT, "alone")}
        taught = train(teacher, data, slow, directory=where[TEACHER], progress=progress)
        arms.teacher.append(taught)
        arms.student.append(
            distill(
                taught,
                student,
                data,
                fast,
                DistillSettings(),
                directory=where[STUDENT],
                progress=progress,
            )
        )
        arms.alone.append(train(student, data, fast, directory=where["alone"], progress=progress))
    return arms


def _measure(bundles: dict[str, Bundle], data: NodeData, threads: int) -> Report:
    rows = [
        Row(name, "graphstill.export.targets:bundle", {"path": str(bundle.path)})
        for name, bundle in bundles.items()
    ]
    arguments = {"path": str(bundles[TEACHER].path)}
    rows.append(Row(PYG, "graphstill.export.targets:pyg", arguments))
    native = Session(bundles[STUDENT]).native_operators
    return measure(
        rows,
        _inputs(data),
        Settings(threads=threads, rounds=5, min_samples=20, min_seconds=0.3),
        facts={"data": data.name, "native_operators": native},
    )


def _inputs(data: NodeData) -> dict[str, np.ndarray]:
    return {"x": data.x.numpy(), "edge_index": data.edge_index.numpy()}


def _summary(
    arms: Arms,
    data: NodeData,
    bundles: dict[str, Bundle],
    parity: dict[str, ParityReport],
    report: Report,
) -> dict[str, Any]:
    teacher, student = (bundles[name].manifest for name in (TEACHER, STUDENT))
    without = [m.parameters - m.embedding_parameters for m in (teacher, student)]
    logits = [predict(arm[0].module, data)[data.split.test] for arm in (arms.teacher, arms.student)]
    return {
        "compression": without[0] / without[1],
        "compression_with_embeddings": teacher.parameters / student.parameters,
        "speedup": report.ratio(TEACHER, STUDENT)[0],
        "speedup_interval": report.ratio(TEACHER, STUDENT)[1:],
        "speedup_vs_pyg": report.ratio(PYG, STUDENT)[0],
        "speedup_vs_pyg_interval": report.ratio(PYG, STUDENT)[1:],
        "agreement": agreement(*logits),
        "parity": {
            "ok": all(p.ok for p in parity.values()),
            "max_abs_error": max(p.max_abs_error for p in parity.values()),
            "cases": sum(len(p.differences) for p in parity.values()),
        },
        "native_operators": report.facts["native_operators"],
        "threads": report.settings.threads,
        "seeds": len(SEEDS),
        "student_without_teacher": {"accuracy": _mean_accuracy(arms.alone)},
        TEACHER: _figures(TEACHER, arms.teacher, bundles, report),
        STUDENT: _figures(STUDENT, arms.student, bundles, report),
    }


def _figures(
    name: str, runs: list[Run], bundles: dict[str, Bundle], report: Report
) -> dict[str, float]:
    row = report.row(name)
    return {
        "accuracy": _mean_accuracy(runs),
        "parameters": bundles[name].manifest.parameters,
        "bytes": bundles[name].size_bytes,
        "latency_ms": 1e3 * row.latency_seconds,
        "peak_mb": row.memory["peak_bytes"] / 1e6,
        "extra_mb": row.memory["extra_bytes"] / 1e6,
    }


def _mean_accuracy(runs: list[Run]) -> float:
    return statistics.fmean(run.accuracy["test"] for run in runs)


def _prediction(bundle: Bundle, data: NodeData) -> str:
    session = Session(bundle)
    logits = session(_inputs(data))["logits"]
    nodes = data.split.test[:8].numpy()
    names = bundle.manifest.class_names or []
    said = " ".join(names[i] for i in logits[nodes].argmax(axis=-1))
    truth = " ".join(names[i] for i in data.y[nodes].tolist())
    return f"the student reads eight test images as {said} (they are {truth})"


def table(summary: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the table the demo ends with."""
    header = ["", "accuracy", "parameters", "file KB", "latency ms", "peak MB"]
    rows = []
    for name in (TEACHER, STUDENT):
        found = summary[name]
        rows.append(
            [
                name,
                f"{100 * found['accuracy']:.2f} %",
                f"{found['parameters']:,}",
                f"{found['bytes'] / 1e3:,.0f}",
                f"{found['latency_ms']:.3g}",
                f"{found['peak_mb']:,.0f}",
            ]
        )
    alone = summary["student_without_teacher"]["accuracy"]
    rows.append(["student without a teacher", f"{100 * alone:.2f} %", "", "", "", ""])
    return header, rows


def headline(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the figures that matter most, as value and label."""
    points = 100 * (summary[STUDENT]["accuracy"] - summary[TEACHER]["accuracy"])
    return [
        (f"{summary['compression']:.1f} ×", "fewer parameters"),
        (f"{summary['speedup']:.1f} ×", "faster than the teacher's export"),
        (f"{summary['speedup_vs_pyg']:.1f} ×", "faster than the teacher in PyG"),
        (f"{points:+.2f}", "points of test accuracy"),
        (f"{100 * summary['agreement']:.1f} %", "same answer as the teacher"),
        (f"{summary['parity']['max_abs_error']:.0e}", "largest error of an export"),
    ]


def _write_page(
    out: Path,
    arms: Arms,
    data: NodeData,
    summary: dict[str, Any],
    parity: dict[str, ParityReport],
    report: Report,
) -> None:
    accuracy = {
        label: [100 * run.accuracy["test"] for run in runs]
        for label, runs in (
            (TEACHER, arms.teacher),
            (STUDENT, arms.student),
            ("student without a teacher", arms.alone),
        )
    }
    header, rows = table(summary)
    curves = {name: _val_accuracy(out, name) for name in (TEACHER, STUDENT)}
    sections = [
        Section("Teacher and student", "Accuracies are means over the seeds.", header, rows),
        Section(
            "Accuracy",
            f"Test nodes of {data.name}, one dot for each seed; epochs were chosen by validation.",
            svg=plots.dots(accuracy, "test accuracy in %"),
        ),
        Section("Training", "Seed 0.", svg=plots.curves(curves, "validation accuracy")),
        *measurement_sections(report),
        _parity_section(parity),
    ]
    lead = (
        "A four-layer GCN taught a student of another kind, a three-layer GraphSAGE, through its "
        "logits and, by ABKD, its layers. Both were exported to ONNX, checked against PyG, and "
        "measured in turns on the whole graph."
    )
    write_page(
        out / "report.html",
        "graphstill: from a trained teacher to a small student",
        lead,
        sections,
        figures=headline(summary),
        footer=machine_line(report),
    )


def _val_accuracy(out: Path, name: str) -> list[float]:
    lines = (out / "runs" / f"{name}-0" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["val_accuracy"] for line in lines]


def _parity_section(parity: dict[str, ParityReport]) -> Section:
    rows = []
    cases = dict.fromkeys(d.case for p in parity.values() for d in p.differences)
    for case in cases:
        cells = [case]
        for checked in parity.values():
            errors = [d.max_abs_error for d in checked.differences if d.case == case]
            cells.append(f"{max(errors):.1e}" if errors else "–")
        rows.append(cells)
    text = (
        "Largest absolute difference between PyG in float64 and the bundle, over the C++ and the "
        "portable operators, on one and two threads, with the graph given as edges and sorted."
    )
    return Section("Parity", text, ["graph", *parity], rows)
