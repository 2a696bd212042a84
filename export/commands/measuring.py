"""demo."""

import json
from pathlib import Path
from typing import Annotated

import typer

from .console import AsJson, err, guarded, out, print_table


def demo(
    out_dir: Annotated[Path, typer.Option("--out", help="Where everything goes.")] = Path("demo"),
    as_json: AsJson = False,
) -> None:
    """Walk the whole road on scikit-learn's digits.

    Trains a teacher, distils a student with ABKD, exports both, proves the exports, measures both,
    predicts with the student, and writes OUT/report.html, OUT/summary.json and the bundles
    OUT/teacher and OUT/student.
    """
    with guarded():
        from ..demo import headline, run_demo, table

        summary = run_demo(
            out_dir, say=lambda text: err.print(text, highlight=False, soft_wrap=True)
        )
        if as_json:
            print(json.dumps(summary, indent=2))
            return
        print_table(*table(summary), title="teacher and student on digits")
        for value, label in headline(summary):
            out.print(f"[bold]{value:>9}[/bold]  {label}", highlight=False, soft_wrap=True)
        out.print(f"\nopen {out_dir / 'report.html'}", highlight=False, soft_wrap=True)
        if not summary["parity"]["ok"]:
            raise typer.Exit(1)
