"""bench: bundles side by side, and reports against each other."""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import AsJson, Root, SplitSeed, err, guarded, load_inputs, out, print_table, steps

if TYPE_CHECKING:
    from .. import Report, Settings
    from ..requests import Requests


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
    pyg: Annotated[bool, typer.Option(help="The same as --peers pyg.")] = False,
    peers: Annotated[
        str,
        typer.Option(
            help="Measure each network in other ways as well: any of pyg, pyg-csr, compile, aoti, "
            "plain-onnx, with commas between them."
        ),
    ] = "",
    portable: Annotated[bool, typer.Option(help="Do not use the C++ operators.")] = False,
    prepared: Annotated[bool, typer.Option(help="Sort the graph before the calls.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of each process.")] = 1,
    rounds: Annotated[int, typer.Option(help="Interleaved rounds.")] = 5,
    min_samples: Annotated[int, typer.Option(help="Fewest samples a round.")] = 10,
    min_seconds: Annotated[float, typer.Option(help="Shortest sampling time a round.")] = 0.5,
    scenario: Annotated[
        str | None,
        typer.Option(
            help="Requests for single nodes: by MLPerf LoadGen single-stream, server or offline; "
            "or phases, which times every step of a request."
        ),
    ] = None,
    slo_ms: Annotated[
        float | None, typer.Option(help="server: latency that the percentile must meet, in ms.")
    ] = None,
    percentile: Annotated[
        int, typer.Option(help="The percentile of a scenario: 50, 90, 95 or 99.")
    ] = 99,
    requests: Annotated[int, typer.Option(help="Different requests of a scenario.")] = 128,
    nodes_per_request: Annotated[
        str, typer.Option(help="Nodes that a request asks for; phases: several, as 1,8,64.")
    ] = "1",
    popularity: Annotated[
        str,
        typer.Option(
            help="Which nodes are asked for: uniform, degree or zipf; phases: several of them."
        ),
    ] = "uniform",
    num_neighbors: Annotated[
        str | None, typer.Option(help="In-edges to draw in each hop, as 15,10; all if not given.")
    ] = None,
    batch: Annotated[int, typer.Option(help="offline: requests answered together.")] = 1,
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
    the 95 % interval does. With --scenario, requests for single nodes are sampled, fetched and
    answered under load, and every kept answer is checked afterwards.

    graphstill bench bundles/teacher bundles/student --data cora --pyg

    graphstill bench bundles/student --data cora --scenario server --slo-ms 5

    graphstill bench --compare yesterday/report.json bench/report.json
    """
    with guarded():
        if compared is not None:
            return _compare(*compared, tolerance, as_json)
        if not bundles:
            raise ValueError("name at least one bundle to measure, or two reports with --compare")
        from .. import Scenario, Settings
        from ..requests import Requests

        measured = Settings(threads, rounds, min_samples, min_seconds)
        inputs, labels, nodes = load_inputs(data, root, split_seed)
        facts = {"data": data or f"random graph, {num_nodes} nodes, {num_edges} edges"}
        work = _Work(bundles, inputs, labels, facts, out_dir, portable, as_json)
        if inputs is None:
            work.make_graph(num_nodes, num_edges)
        named = [name for name in ("pyg" if pyg else "", *peers.split(",")) if name]
        beside = list(dict.fromkeys(named))
        if scenario is None:
            return _calls(work, measured, nodes, beside, prepared)
        neighbours = _numbers("--num-neighbors", num_neighbors)
        asked = [
            Requests(requests, count, kind, neighbours)
            for kind in popularity.split(",")
            for count in _numbers("--nodes-per-request", nodes_per_request) or []
        ]
        slo = None if slo_ms is None else slo_ms / 1e3
        loaded = replace(
            measured,
            timeout_seconds=3600.0,  # a search is many tests
            scenario=Scenario(scenario, slo, percentile, batch),
        )
        work.count_only(nodes)
        _scenario(work, loaded, asked, beside)


@dataclass
class _Work:
    """What is measured, and where the report goes."""

    bundles: list[Path]
    inputs: dict[str, Any] | None
    labels: Any
    facts: dict[str, Any]
    out_dir: Path
    portable: bool
    as_json: bool

    def make_graph(self, num_nodes: int, num_edges: int) -> None:
        from ...serve import Bundle
        from .. import bench as benches

        first = Bundle.load(self.bundles[0])
        self.inputs = benches.random_inputs(first, num_nodes, num_edges)

    def count_only(self, nodes: Any) -> None:
        """Let labels of other nodes than these not count: models were trained on some."""
        import numpy as np

        if self.labels is not None and nodes is not None:
            counted = np.full_like(self.labels, -1)
            counted[nodes] = self.labels[nodes]
            self.labels = counted

    def flat_inputs(self) -> dict[str, Any]:
        """Return inputs by their names in the first bundle's file; say which operators run."""
        from .. import open_session

        session = open_session(self.bundles[0], native=not self.portable)
        self.facts["native_operators"] = session.native_operators
        return session.flat(self.inputs or {})


def _calls(work: _Work, settings: "Settings", nodes: Any, peers: list[str], prepared: bool) -> None:
    """Measure calls for the whole graph."""
    from ...serve import Bundle
    from .. import bench as benches

    inputs = work.flat_inputs()
    work.facts["quality"] = benches.quality(work.bundles, inputs, work.labels, nodes)
    work.facts["blocks"] = any(Bundle.load(p).manifest.graph == "blocks" for p in work.bundles)
    native = not work.portable
    rows = benches.bundle_rows(work.bundles, native=native, prepared=prepared)
    if peers:
        from ..peer_files import with_peers

        with steps(len(rows), "preparing") as step:
            folder = work.out_dir / "peers"
            rows, facts = with_peers(rows, peers, inputs, settings.threads, folder, step)
        work.facts |= facts
    report = _measured(rows, inputs, settings, work.facts)
    benches.write_report(report, work.out_dir, "Side by side")
    _show(work, benches.table(report), benches.verdicts(report), settings)


def _scenario(work: _Work, settings: "Settings", asked: list["Requests"], peers: list[str]) -> None:
    """Measure requests for single nodes; exit with 1 if an answer was wrong."""
    from ..load_page import load_table, verdicts, write_load_report
    from ..loads import check_answers, grouped_inputs, request_facts, request_inputs, request_rows

    rows = request_rows(work.bundles, asked[0], native=not work.portable, peers=peers)
    in_phases = settings.scenario is not None and settings.scenario.kind == "phases"
    if len(asked) > 1 and not in_phases:
        raise ValueError("several sizes or popularities are for --scenario phases")
    draw = grouped_inputs if in_phases else lambda given, groups: request_inputs(given, groups[0])
    inputs = draw(work.flat_inputs(), asked)
    facts = work.facts | request_facts(inputs, asked)
    report = _measured(rows, inputs, settings, facts)
    report.facts["answers"] = check_answers(report, inputs, work.labels)
    work.out_dir.mkdir(parents=True, exist_ok=True)
    if in_phases:
        from ..phase_page import phase_table, write_phase_report

        write_phase_report(report, work.out_dir)
        _show(work, phase_table(report), verdicts(report), settings)
    else:
        write_load_report(report, work.out_dir)
        _show(work, load_table(report), verdicts(report), settings)
    wrong = [label for label, found in report.facts["answers"].items() if not found["ok"]]
    if wrong:
        err.print(f"timed answers were wrong: {', '.join(wrong)}", highlight=False)
        raise typer.Exit(1)


def _measured(rows: Any, inputs: Any, settings: "Settings", facts: dict[str, Any]) -> "Report":
    from .. import measure

    with steps(len(rows) * (settings.rounds + 1), "measuring") as step:
        return measure(rows, inputs, settings, facts=facts, on_step=step)


def _show(work: _Work, table: Any, said: list[str], settings: "Settings") -> None:
    if work.as_json:
        print((work.out_dir / "report.json").read_text(), end="")
        return
    kind = "" if settings.scenario is None else f"{settings.scenario.kind}, "
    threads = "1 thread" if settings.threads == 1 else f"{settings.threads} threads"
    print_table(*table, title=f"{kind}{threads}, {settings.rounds} rounds")
    for line in said:
        out.print(line, highlight=False)
    out.print(f"open {work.out_dir / 'report.html'}", highlight=False, soft_wrap=True)


def _numbers(option: str, text: str | None) -> list[int] | None:
    try:
        return None if text is None else [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"{option} takes numbers such as 15,10, got {text!r}") from None


def _compare(old: Path, new: Path, tolerance: float, as_json: bool) -> None:
    """Print what changed; exit with 1 if a row is for certain slower by more than allowed."""
    from dataclasses import asdict

    from ..comparing import compare, only_in_one, read_report

    reports = read_report(old), read_report(new)
    changes, left_out = compare(*reports), only_in_one(*reports)
    worse = [change.label for change in changes if change.is_regression(tolerance)]
    if as_json:
        rows = [{**_finite(asdict(change)), "verdict": change.verdict} for change in changes]
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


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """Return values with None for the infinite, which JSON does not know."""
    return {k: None if v in (math.inf, -math.inf) else v for k, v in values.items()}
