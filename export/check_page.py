"""check.md: the report of a check for people, a page of Markdown."""

from collections.abc import Iterable, Sequence

from ..serve import Manifest
from .checking import CheckReport

_PAGE = """\
# Check of {title}: {verdict}

{model}, SHA-256 `{sha256}`.

## Parity with PyG in float64: {parity}

The largest error may be {tolerance:g} of the largest expected value, and a second call on the same
graph, sorted beforehand, must give the same bits.

{cases}
{refused}
## Lint: {lint}

{findings}

## Real labels: {labels}

{accuracies}
"""


def markdown(manifest: Manifest, report: CheckReport) -> str:
    """Return the report of a check in Markdown."""
    parity = report.parity
    failed = len(parity.failures)
    rows = [
        [
            d.case,
            "C++" if d.native else "portable",
            d.threads,
            f"{d.max_abs_error:.1e}",
            f"{d.scale:.3g}",
            d.verdict(parity.tolerance),
        ]
        for d in parity.differences
    ]
    header = ["case", "operators", "threads", "max abs error", "expected up to", ""]
    return _PAGE.format(
        title=(manifest.architecture or {}).get("name", "a graph network"),
        verdict="passed" if report.ok else "FAILED",
        model=manifest.model,
        sha256=report.model_sha256,
        parity=f"{failed} of {len(rows)} cases FAILED" if failed else f"all {len(rows)} cases pass",
        tolerance=parity.tolerance,
        cases=_table(header, rows),
        refused="".join(
            f"\n* not compared: {case}, PyG itself says {' '.join(why.split())}\n"
            for case, why in parity.refused.items()
        ),
        lint=report.lint.summary,
        findings="\n".join(f"* {finding}" for finding in report.lint.findings),
        labels=_labels_verdict(report),
        accuracies=_accuracies(report),
    )


def _labels_verdict(report: CheckReport) -> str:
    if report.labels is None:
        return f"not measured, {report.labels_note or 'no data was given'}"
    return "ok" if report.labels.ok else "FAILED"


def _accuracies(report: CheckReport) -> str:
    labels = report.labels
    if labels is None:
        return ""
    rows = [
        [part, f"{value:.4f}", f"{labels.pyg[part]:.4f}", _recorded(labels.recorded, part)]
        for part, value in labels.bundle.items()
    ]
    said = f"On {labels.data} both give {labels.agreement:.4%} of the nodes the same answer."
    if labels.truncated:
        said += f" {labels.truncated:.1%} of them have more neighbours than fit into the blocks."
    return f"{said}\n\n" + _table([labels.metric, "bundle", "PyG", "when trained"], rows)


def _recorded(recorded: dict[str, float], part: str) -> str:
    return f"{recorded[part]:.4f}" if part in recorded else ""


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    cells = [[str(cell).replace("|", "\\|") for cell in row] for row in (header, *rows)]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    lines.insert(1, "|---" * len(header) + "|")
    return "\n".join(lines)
