"""check and predict."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import (
    AsJson,
    Root,
    Threads,
    err,
    guarded,
    imported,
    load_inputs,
    native_state,
    out,
    print_table,
)

if TYPE_CHECKING:
    import numpy as np

    from ...serve import Bundle, Session
    from ..checking import CheckReport


def check(
    bundle: Annotated[Path, typer.Argument(help="The bundle.")],
    module: Annotated[
        str | None,
        typer.Option(
            help="package.module:function that returns the torch module, for bundles of your own "
            "modules."
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(help="Largest error, relative to the largest expected value.")
    ] = 1e-4,
    data: Annotated[
        str | None,
        typer.Option(
            help="Data set to measure accuracy on; the one it was trained on if not given."
        ),
    ] = None,
    root: Root = None,
    report: Annotated[
        bool, typer.Option(help="Write check.json and check.md into the bundle.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Prove that a bundle computes what PyG computes, on every awkward kind of graph.

    Lints the file as well, and measures accuracy where the bundle knows its data set: digits, or
    one whose files are under --root. Exits with 1 if anything fails.
    """
    with guarded():
        from ...serve import Bundle
        from .. import rebuild
        from ..checking import check as check_bundle, data_of

        opened = Bundle.load(bundle)
        original = rebuild(opened) if module is None else imported(module)
        labelled, note = data_of(opened, data, root)
        found = check_bundle(original, opened, tolerance=tolerance, data=labelled, labels_note=note)
        if as_json:
            print(json.dumps(found.to_dict(), indent=2))
        else:
            _print_check(bundle, found)
            if (small := opened.manifest.quantisation) is not None:
                out.print(
                    f"this bundle is quantised ({small['mode']}) and answers within that rounding: "
                    "quantisation.md in it says how often decisions stay; --tolerance sets what "
                    "passes here",
                    highlight=False,
                    soft_wrap=True,
                )
        if report:
            _keep_report(opened, found)
        if not found.ok:
            raise typer.Exit(1)


def _print_check(bundle: Path, found: "CheckReport") -> None:
    parity, labels = found.parity, found.labels
    header = ["case", "operators", "threads", "max abs error", "expected up to", ""]
    rows = [
        [
            d.case,
            "C++" if d.native else "portable",
            str(d.threads),
            f"{d.max_abs_error:.1e}",
            f"{d.scale:.3g}",
            d.verdict(parity.tolerance),
        ]
        for d in parity.differences
    ]
    print_table(header, rows, title=f"{bundle} against PyG in float64")
    lines = [f"C++ operators: {native_state()}"]
    verdict = "all cases pass" if parity.ok else f"{len(parity.failures)} cases FAILED"
    lines.append(f"{verdict}, largest error {parity.max_abs_error:.1e}")
    lines += [
        f"not compared: {case}, PyG itself says {why}" for case, why in parity.refused.items()
    ]
    lines += [f"lint: {finding}" for finding in found.lint.findings] or ["lint: nothing found"]
    if labels is None:
        lines.append(f"real labels: not measured, {found.labels_note}")
    else:
        state = "ok" if labels.ok else "FAILED"
        lines.append(
            f"real labels: {state}, {labels.agreement:.3%} of {labels.data}'s nodes the same, test "
            f"{labels.metric} {labels.bundle['test']:.4f}, in PyG {labels.pyg['test']:.4f}"
        )
        if labels.truncated:
            lines[-1] += f"; {labels.truncated:.1%} have more neighbours than fit into the blocks"
    for line in lines:
        out.print(line, markup=False, highlight=False, soft_wrap=True)


def _keep_report(opened: "Bundle", found: "CheckReport") -> None:
    """Write the report into the bundle, or say that the bundle cannot be written to."""
    from ..checking import write_report

    try:
        write_report(opened, found)
    except OSError as error:
        err.print(
            f"the report was not written into the bundle: {error}", markup=False, soft_wrap=True
        )


def predict(
    bundle: Annotated[Path, typer.Argument(help="The bundle.")],
    data: Annotated[str, typer.Option(help="An .npz file with x and edge_index, or a data set.")],
    root: Root = None,
    nodes: Annotated[
        str | None, typer.Option(help="Node ids, separated by commas; all if not given.")
    ] = None,
    out_file: Annotated[
        Path | None, typer.Option("--out", help="Write a .csv file instead of a table.")
    ] = None,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Name the classes of nodes with a bundle. Needs numpy and onnxruntime alone for .npz files.

    graphstill predict bundles/student --data graph.npz --nodes 0,7,42
    """
    with guarded():
        import numpy as np

        from ..opening import open_session

        session = open_session(bundle, threads=threads, validate=True)
        inputs, _, _ = load_inputs(data, root, 0)
        assert inputs is not None
        logits, chosen = _logits(session, inputs, nodes)
        logits = logits.astype(np.float64)
        shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
        probability = shifted / shifted.sum(axis=-1, keepdims=True)
        names = session.bundle.manifest.class_names
        answers = [
            {"node": int(node), "class": names[top] if names else int(top), "probability": float(p)}
            for node, top, p in zip(
                chosen, probability.argmax(axis=-1), probability.max(axis=-1), strict=True
            )
        ]
        _print_answers(answers, out_file, as_json)


def _logits(
    session: "Session", inputs: dict[str, Any], nodes: str | None
) -> "tuple[np.ndarray, list[int]]":
    """Return the answers for some nodes of a graph, and which those are."""
    form = session.bundle.manifest.graph
    if form == "blocks":  # which compute for them alone
        chosen, edges = _node_ids(nodes, len(inputs["x"])), inputs.pop("edge_index")
        return next(iter(session.answer(edges, chosen, **inputs).values())), chosen
    if form == "none":
        inputs.pop("edge_index", None)
    logits = next(iter(session(inputs).values()))
    chosen = _node_ids(nodes, len(logits))
    return logits[chosen], chosen


def _node_ids(text: str | None, num_nodes: int) -> list[int]:
    if text is None:
        return list(range(num_nodes))
    nodes = [int(part) for part in text.split(",")]
    wrong = [node for node in nodes if not 0 <= node < num_nodes]
    if wrong:
        raise ValueError(f"nodes must lie in [0, {num_nodes}), got {wrong[0]}")
    return nodes


def _print_answers(answers: list[dict[str, Any]], file: Path | None, as_json: bool) -> None:
    if file is not None:
        lines = ["node,class,probability"]
        lines += [f"{a['node']},{a['class']},{a['probability']:.6f}" for a in answers]
        partial = file.with_name(file.name + ".partial")
        partial.write_text("\n".join(lines) + "\n")
        partial.replace(file)
    elif as_json:
        print(json.dumps(answers, indent=2))
    else:
        rows = [[str(a["node"]), str(a["class"]), f"{a['probability']:.3f}"] for a in answers[:20]]
        print_table(["node", "class", "probability"], rows)
        if len(answers) > len(rows):
            out.print(f"… and {len(answers) - len(rows)} more; --out file.csv holds all")
