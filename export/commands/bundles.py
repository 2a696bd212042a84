"""export, check and predict."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from .console import (
    AsJson,
    Root,
    Threads,
    guarded,
    imported,
    load_inputs,
    native_state,
    out,
    print_table,
)


def export(
    run: Annotated[Path, typer.Argument(help="Run directory of `train` or `distill`.")],
    out_dir: Annotated[Path, typer.Option("--out", help="Directory of the bundle.")],
    graph: Annotated[
        str, typer.Option(help="edge_index, or csr for rowptr and col.")
    ] = "edge_index",
    lowering: Annotated[str, typer.Option(help="How aggregation is written: fused.")] = "fused",
    as_json: AsJson = False,
) -> None:
    """Export a trained network to ONNX as a bundle.

    graphstill export runs/student --out bundles/student
    """
    with guarded():
        from ..runs import export_run

        bundle = export_run(run, out_dir, graph=graph, lowering=lowering)
        manifest = bundle.manifest
        if as_json:
            print(manifest.to_json(), end="")
            return
        shapes = ", ".join(f"{s.name} {list(s.shape)}" for s in manifest.inputs)
        out.print(
            f"{bundle.path}: {bundle.size_bytes:,} bytes, inputs {shapes}",
            highlight=False,
            soft_wrap=True,
        )


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
    as_json: AsJson = False,
) -> None:
    """Prove that a bundle computes what PyG computes, on every awkward kind of graph.

    Exits with 1 if it does not.
    """
    with guarded():
        from ...serve import Bundle
        from .. import check_parity, rebuild

        opened = Bundle.load(bundle)
        original = rebuild(opened) if module is None else imported(module)
        report = check_parity(original, opened, tolerance=tolerance)
        if as_json:
            print(json.dumps(report.to_dict(), indent=2))
        else:
            header = ["case", "operators", "threads", "max abs error", "expected up to", ""]
            rows = [
                [
                    d.case,
                    "C++" if d.native else "portable",
                    str(d.threads),
                    f"{d.max_abs_error:.1e}",
                    f"{d.scale:.3g}",
                    "ok" if d.passes(tolerance) else f"FAILED {d.note}",
                ]
                for d in report.differences
            ]
            print_table(header, rows, title=f"{bundle} against PyG in float64")
            out.print(f"C++ operators: {native_state()}", highlight=False, soft_wrap=True)
            verdict = "all cases pass" if report.ok else f"{len(report.failures)} cases FAILED"
            out.print(
                f"{verdict}, largest error {report.max_abs_error:.1e}",
                highlight=False,
                soft_wrap=True,
            )
            if opened.manifest.quantisation is not None:
                out.print(
                    f"this bundle is quantised ({opened.manifest.quantisation['mode']}) and "
                    "answers within that rounding: quantisation.md in it says how often decisions "
                    "stay; --tolerance sets what passes here",
                    highlight=False,
                    soft_wrap=True,
                )
        if not report.ok:
            raise typer.Exit(1)


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

        from ...serve import Session

        session = Session(bundle, threads=threads, validate=True)
        inputs, _, _ = load_inputs(data, root, 0)
        assert inputs is not None
        if session.bundle.manifest.graph == "none":
            inputs.pop("edge_index", None)
        logits = next(iter(session(inputs).values())).astype(np.float64)
        chosen = _node_ids(nodes, len(logits))
        shifted = np.exp(logits[chosen] - logits[chosen].max(axis=-1, keepdims=True))
        probability = shifted / shifted.sum(axis=-1, keepdims=True)
        names = session.bundle.manifest.class_names
        answers = [
            {"node": int(node), "class": names[top] if names else int(top), "probability": float(p)}
            for node, top, p in zip(
                chosen, probability.argmax(axis=-1), probability.max(axis=-1), strict=True
            )
        ]
        _print_answers(answers, out_file, as_json)


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
