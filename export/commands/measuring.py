"""demo and bench."""

import json
from pathlib import Path
from typing import Annotated

import typer

from .console import AsJson, Root, SplitSeed, err, guarded, load_inputs, out, print_table, steps


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


def bench(
    bundles: Annotated[list[Path], typer.Argument(help="Bundles to measure side by side.")],
    out_dir: Annotated[
        Path, typer.Option("--out", help="Where report.json and report.html go.")
    ] = Path("bench"),
    data: Annotated[
        str | None,
        typer.Option(help="Data set, or an .npz file with x and edge_index; random if not given."),
    ] = None,
    root: Root = None,
    split_seed: SplitSeed = 0,
    num_nodes: Annotated[int, typer.Option(help="Nodes of the random graph.")] = 10_000,
    num_edges: Annotated[int, typer.Option(help="Edges of the random graph.")] = 100_000,
    pyg: Annotated[bool, typer.Option(help="Measure each network in PyG as well.")] = False,
    portable: Annotated[bool, typer.Option(help="Do not use the C++ operators.")] = False,
    prepared: Annotated[bool, typer.Option(help="Sort the graph before the calls.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of each process.")] = 1,
    rounds: Annotated[int, typer.Option(help="Interleaved rounds.")] = 5,
    min_samples: Annotated[int, typer.Option(help="Fewest samples a round.")] = 10,
    min_seconds: Annotated[float, typer.Option(help="Shortest sampling time a round.")] = 0.5,
    as_json: AsJson = False,
) -> None:
    """Measure bundles side by side: latency, memory, and accuracy and agreement beside them.

    Each row runs in a fresh process in each round; rows take turns. Says which is faster only if
    the 95 % interval does.

    graphstill bench bundles/teacher bundles/student --data cora --pyg
    """
    with guarded():
        from ...serve import Bundle
        from .. import Settings, bench as benches, measure, open_session

        settings = Settings(threads, rounds, min_samples, min_seconds)
        first = Bundle.load(bundles[0])
        inputs, labels, nodes = load_inputs(data, root, split_seed)
        if inputs is None:
            inputs = benches.random_inputs(first, num_nodes, num_edges)
        session = open_session(first, native=not portable)
        inputs = session.flat(inputs)
        facts = {
            "data": data or f"random graph, {num_nodes} nodes, {num_edges} edges",
            "quality": benches.quality(bundles, inputs, labels, nodes),
            "native_operators": session.native_operators,
        }
        rows = benches.bundle_rows(bundles, pyg=pyg, native=not portable, prepared=prepared)
        with steps(len(rows) * (rounds + 1), "measuring") as step:
            report = measure(rows, inputs, settings, facts=facts, on_step=step)
        out_dir.mkdir(parents=True, exist_ok=True)
        report.save(out_dir / "report.json")
        benches.write_report_page(report, out_dir / "report.html", "Side by side")
        if as_json:
            print((out_dir / "report.json").read_text(), end="")
            return
        print_table(*benches.table(report), title=f"{threads} threads, {rounds} rounds")
        for row in report.rows[1:]:
            out.print(
                benches.verdict(report, report.rows[0].row.label, row.row.label), highlight=False
            )
        out.print(f"open {out_dir / 'report.html'}", highlight=False, soft_wrap=True)
