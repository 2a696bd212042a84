"""What `whole_models.py` writes: a report of all samples, a table, a page."""

from pathlib import Path
from typing import Any

from whole_model_cases import FEATURES, Case
from whole_model_parts import parts_of
from whole_model_rows import CLASSES

OURS = ("prepared", "edge_index")
BAR_OF_EDGE_INDEX = {"plain ONNX": 45.0}
COLUMNS = ("prepared", "edge_index", "PyG CSR", "PyG edge_index", "AOTInductor", "plain ONNX")
BAR_OF_PARTS, BAR_OF_MEMORY = 1.2, 1.2


def write(report: Any, case: Case, models: list[str], sizes: tuple[int, int], path: Path) -> str:
    """Write <path>.json, <path>.md and <path>.html; return the Markdown.

    Args:
        report: What was measured.
        case: The case, with its bars.
        models: The models that were measured.
        sizes: Numbers of nodes and edges.
        path: Where to write, without a suffix.
    """
    from graphstill.export.bench import machine_line
    from graphstill.export.page import Section, write_page
    from graphstill.export.plots import latency, memory

    tables = [
        ("Milliseconds, and MB of extra memory", *latencies(report, models)),
        ("How many times faster", *ratios(report, case, models)),
        ("Teachers in PyG against students of ours", *students(report, case)),
        ("Against the sum of the parts, each timed alone", *sums_of_parts(report, models)),
        ("Extra memory against what the widest layer holds", *held(report, models, sizes)),
    ]
    tables = [table for table in tables if table[2]]
    report.save(path.with_suffix(".json"))
    footer = machine_line(report)
    text = "\n\n".join(f"### {title}\n\n{_markdown(head, cells)}" for title, head, cells in tables)
    text = f"{case.title[0].upper()}{case.title[1:]}.\n\n{text}\n\n{footer}\n"
    path.with_suffix(".md").write_text(text)
    sections = [Section(title, "", head, cells) for title, head, cells in tables]
    for model in models:
        part = [r for r in report.rows if r.row.label.startswith(f"{model} ")]
        sections.append(Section(f"{model}: latency", "", svg=latency(part)))
        sections.append(Section(f"{model}: memory", "", svg=memory(part)))
    title = f"Whole models on {case.title.partition(',')[0]}"
    subtitle = f"{case.title}; random weights, one interleaved run."
    write_page(path.with_suffix(".html"), title, subtitle, sections, footer=footer)
    return text


def _markdown(header: list[str], cells: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _labels(report: Any) -> set[str]:
    return {row.row.label for row in report.rows}


def _bar(bar: float | None, met: bool) -> str:
    return "–" if bar is None else f"{bar:g}{'' if met else ', missed'}"


def latencies(report: Any, models: list[str]) -> tuple[list[str], list[list[str]]]:
    """Return latency and extra memory of all rows."""
    labels = _labels(report)
    columns = [c for c in COLUMNS if any(f"{model} {c}" in labels for model in models)]

    def cell(label: str) -> str:
        if label not in labels:
            return "–"
        row = report.row(label)
        ms, mb = 1e3 * row.latency_seconds, row.memory["extra_bytes"] / 1e6
        return f"{ms:,.0f} ({mb:,.0f})" if ms >= 10 else f"{ms:.2f} ({mb:,.1f})"

    return ["model", *columns], [[m, *(cell(f"{m} {c}") for c in columns)] for m in models]


def ratios(report: Any, case: Case, models: list[str]) -> tuple[list[str], list[list[str]]]:
    """Return how many times faster each of ours is than each peer, and where a bar is missed."""
    header = ["model", "ours", "against", "times faster", "95 % interval", "at least", "extra MB"]
    cells = []
    for model in models:
        labels = [r.row.label for r in report.rows if r.row.label.startswith(f"{model} ")]
        peers = [p for label in labels if (p := label.removeprefix(f"{model} ")) not in OURS]
        for ours in (o for o in OURS if f"{model} {o}" in labels):
            bars = case.bars[model] if ours == "prepared" else BAR_OF_EDGE_INDEX
            for peer in peers:
                names = f"{model} {ours}", f"{model} {peer}"
                ratio, low, high = report.ratio(names[1], names[0])
                mb = [report.row(name).memory["extra_bytes"] / 1e6 for name in names]
                bar = bars.get(peer)
                cells.append(
                    [
                        *(model, ours, peer, f"{ratio:.1f}", f"{low:.1f} – {high:.1f}"),
                        _bar(bar, bar is None or ratio >= bar),
                        f"{mb[0]:,.0f} against {mb[1]:,.0f}",
                    ]
                )
    return header, cells


def students(report: Any, case: Case) -> tuple[list[str], list[list[str]]]:
    """Return how many times faster students' bundles are than teachers in PyG."""
    header = ["teacher", "student", "times faster", "95 % interval", "at least"]
    cells = []
    for (teacher, student), bar in case.students.items():
        if {teacher, student} <= _labels(report):
            ratio, low, high = report.ratio(teacher, student)
            interval = f"{low:.0f} – {high:.0f}"
            cells.append([teacher, student, f"{ratio:.0f}", interval, _bar(bar, ratio >= bar)])
    return header, cells


def sums_of_parts(report: Any, models: list[str]) -> tuple[list[str], list[list[str]]]:
    """Return each model's latency against the sum of its parts."""
    header = ["model", "prepared ms", "sum of its parts ms", "ratio", "at most"]
    labels, cells = _labels(report), []
    for model in models:
        parts = [f"part {part}" for part in parts_of(model)]
        if parts and set(parts) <= labels:
            whole = 1e3 * report.row(f"{model} prepared").latency_seconds
            total = 1e3 * sum(report.row(part).latency_seconds for part in parts)
            bar = _bar(BAR_OF_PARTS, whole / total <= BAR_OF_PARTS)
            cells.append([model, f"{whole:.1f}", f"{total:.1f}", f"{whole / total:.2f}", bar])
    return header, cells


def held(
    report: Any, models: list[str], sizes: tuple[int, int]
) -> tuple[list[str], list[list[str]]]:
    """Return each model's extra memory against inputs and outputs of its widest layer.

    Where a layer has a root weight (SAGE, R-GCN), one more buffer of its outputs counts; the graph
    as rowptr and col is added behind the factor.
    """
    header = ["model", "prepared extra MB", "widest layer MB", "CSR MB", "at most MB"]
    nodes, edges = sizes
    csr, cells = (8 * (nodes + 1) + 4 * edges) / 1e6, []
    for model in models:
        kind, _, hidden = model.partition("-")
        if kind == "gcnii" or f"{model} prepared" not in _labels(report):
            continue
        heads = 4 if kind.startswith("gat") else 1  # whose outputs the last layer averages
        layers = [(FEATURES, int(hidden)), (int(hidden),) * 2, (int(hidden), heads * CLASSES)]
        root = kind in ("sage", "rgcn")
        widest = max(i + o * (1 + root) for i, o in layers) * nodes * 4 / 1e6
        used = report.row(f"{model} prepared").memory["extra_bytes"] / 1e6
        most = BAR_OF_MEMORY * widest + csr
        bar = f"{most:.0f}{'' if used <= most else ', missed'}"
        cells.append([model, f"{used:.0f}", f"{widest:.0f}", f"{csr:.1f}", bar])
    return header, cells
