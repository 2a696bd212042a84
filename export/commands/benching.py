"""bench: bundles side by side, and reports against each other."""

import json
from pathlib import Path
from typing import Annotated

import typer

from .console import AsJson, Root, SplitSeed, guarded, load_inputs, out, print_table, steps


def bench(
    bundles: Annotated[
        list[Path] | None, typer.Argument(help="Bundles to measure side by side.")
    ] = None,
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
    compared: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            "--compare",
            metavar="OLD NEW",
            help="Measure nothing: hold a new report.json against an old one of the same machine.",
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, help="With --compare: share by which a row may become slower.")
    ] = 0.05,
    as_json: AsJson = False,
) -> None:
    """Measure bundles side by side: latency, memory, and accuracy and agreement beside them.

    Each row runs in a fresh process in each round; rows take turns. Says which is faster only if
    the 95 % interval does.

    graphstill bench bundles/teacher bundles/student --data cora --pyg

    graphstill bench --compare yesterday/report.json bench/report.json
    """
    with guarded():
        if compared is not None:
            return _compare(*compared, tolerance, as_json)
        if not bundles:
            raise ValueError("name at least one bundle to measure, or two reports with --compare")
        from ...serve import Bundle, Session
        from .. import Settings, bench as benches, measure

        settings = Settings(threads, rounds, min_samples, min_seconds)
        first = Bundle.load(bundles[0])
        inputs, labels, nodes = load_inputs(data, root, split_seed)
        if inputs is None:
            inputs = benches.random_inputs(first, num_nodes, num_edges)
        inputs = Session(first).flat(inputs)
        facts = {
            "data": data or f"random graph, {num_nodes} nodes, {num_edges} edges",
            "quality": benches.quality(bundles, inputs, labels, nodes),
            "native_operators": not portable and Session(first).native_operators,
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


def _compare(old: Path, new: Path, tolerance: float, as_json: bool) -> None:
    """Print what changed; exit with 1 if a row is for certain slower by more than allowed."""
    from dataclasses import asdict

    from ..comparing import compare, only_in_one, read_report

    reports = read_report(old), read_report(new)
    changes, left_out = compare(*reports), only_in_one(*reports)
    worse = [change.label for change in changes if change.is_regression(tolerance)]
    if as_json:
        rows = [{**asdict(change), "verdict": change.verdict} for change in changes]
        print(json.dumps({"rows": rows, "not_compared": left_out, "regressions": worse}, indent=2))
    else:
        header = ["", "old ms", "new ms", "new / old", "95 % interval", "verdict"]
        cells = [
            [
                change.label,
                f"{1e3 * change.old_seconds:.3g}",
                f"{1e3 * change.new_seconds:.3g}",
                f"{change.ratio:.3f}",
                f"{change.low:.3f} – {change.high:.3f}",
                change.verdict,
            ]
            for change in changes
        ]
        print_table(header, cells)
        if left_out:
            out.print(f"only in one of them: {', '.join(left_out)}", highlight=False)
        if worse:
            said = f"slower by more than {100 * tolerance:g} %: {', '.join(worse)}"
            out.print(said, highlight=False, soft_wrap=True)
    if worse:
        raise typer.Exit(1)
