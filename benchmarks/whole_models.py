"""Whole models: what is exported against every way PyG offers, and students against teachers.

    python benchmarks/whole_models.py --data DATA --case gcn [--models gcn-256 …] [--threads 2]

Random weights; one interleaved run, a fresh process for each row and round. Cases:

    gcn, sage, gat, gatv2  3 layers on the ogbn-arxiv graph, random features, 128 → hidden → hidden
                           → 40, hidden 256 and 32; with gcn also GCNII of 64 × 64 and 4 × 4
    rgcn                   R-GCN on the AM graph, 24 relations: 3 layers of 256 and 512, 2 of 32
    pubmed, cora           GCNII of 64 × 64 and 4 × 4 on their own features
    one-node               a node of ogbn-arxiv and its whole neighbourhood; one-node-sampled

Rows of a model:

    prepared        our bundle, the graph sorted once outside the call
    edge_index      our bundle, the edge list in the call
    PyG CSR         PyG with a prebuilt (for GCN normalised) sparse CSR adjacency; attention and
                    R-GCN have none
    PyG edge_index  PyG as everybody writes it
    AOTInductor     the PyG model compiled ahead of time; torch.export refuses R-GCN
    plain ONNX      torch.onnx.export of the PyG model in ONNX Runtime; hidden 32 only

All rows are checked against PyG before anything is timed. A case on the ogbn-arxiv graph takes 15
to 25 minutes on two cores, the others a few, but R-GCN: PyG multiplies all nodes for each relation,
5.6 TFLOP a call with 256 channels and 18 with 512. With 512 it is measured alone, as the teacher.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from whole_model_cases import CASES, Case, Inputs  # noqa: E402
from whole_model_parts import parts_of, rows_of  # noqa: E402
from whole_model_report import write  # noqa: E402

TOLERANCE = 1e-3


def prepare(model: str, inputs: Inputs, case: Case, threads: int, folder: Path) -> list[Any]:
    """Export and compile one network every way, and return its rows."""
    from whole_model_rows import network

    from graphstill.export import Row, export
    from graphstill.export.peer_files import compile_ahead, export_plainly

    eager = Row(f"{model} PyG edge_index", "whole_model_rows:pyg_edge_index", {"model": model})
    if model == "rgcn-512":  # to check its bundle takes more than 24 GB
        return [eager]
    module, example = network(model, inputs), _example(inputs)
    rows = []
    for label, form in (("prepared", "csr"), ("edge_index", "edge_index")):
        path = folder / f"{model}-{form}"
        export(module, example, path, graph=form)
        arguments = {"path": str(path), "prepared": label == "prepared"}
        rows.append(Row(f"{model} {label}", "graphstill.export.targets:bundle", arguments))
    kind = model.partition("-")[0]
    if kind in ("gcn", "gcnii", "sage"):
        rows.append(Row(f"{model} PyG CSR", "whole_model_rows:pyg_csr", {"model": model}))
    if kind == "gcnii":  # there to be compressed, not to be compared
        return rows
    rows.append(eager)
    bars = case.bars[model]
    if "AOTInductor" in bars:
        package = folder / f"{model}-{threads}.pt2"
        if not package.exists():
            compile_ahead(module, example, threads, package)
        rows.append(
            Row(f"{model} AOTInductor", "whole_model_rows:aot_inductor", {"path": str(package)})
        )
    if "plain ONNX" in bars:
        path = str(export_plainly(module, example, folder / f"{model}.onnx"))
        rows.append(Row(f"{model} plain ONNX", "whole_model_rows:plain_onnx", {"path": path}))
    return rows


def _example(inputs: Inputs) -> tuple[Any, ...]:
    """Return a small example of the same widths, with all relations."""
    import torch

    x = torch.randn(50, inputs["x"].shape[1])
    edges = torch.randint(0, 50, (2, 300))
    if "edge_type" not in inputs:
        return x, edges
    return x, edges, torch.arange(300) % (int(inputs["edge_type"].max()) + 1)


def check(rows: list[Any], inputs: Inputs, threads: int) -> dict[str, float]:
    """Return the largest difference of each row to PyG on the edge list; fail if one is large."""
    from graphstill.export.bench import differences

    errors: dict[str, float] = {}
    ordered = sorted(rows, key=lambda r: not r.label.endswith("PyG edge_index"))
    for label, error in differences(ordered, inputs, threads):
        print(f"{label}: differs by {error} of the largest value", flush=True)
        if isinstance(error, str) or not error <= TOLERANCE:
            raise SystemExit(f"{label} is wrong: no speed is reported")
        errors[label] = error
    return errors


def rows_for(case: Case, models: list[str], inputs: Inputs, threads: int, folder: Path) -> Any:
    """Return checked rows of all models and of their parts, and the differences found."""
    from aggregation import compiled

    rows, errors = [], {}
    for model in models:
        of_model = prepare(model, inputs, case, threads, folder)
        errors |= check(of_model, inputs, threads)
        rows += of_model
    if case.parts and any(parts_of(model) for model in models):
        rows += rows_of(models, compiled(folder))
    return rows, errors


def main() -> None:
    """Prepare, check, measure, and write the report, its table and its page."""
    parser = argparse.ArgumentParser(description="Whole models against PyG's ways")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--case", choices=CASES, required=True)
    parser.add_argument("--models", nargs="+", help="all of the case if not given")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("runs/whole_models"))
    parser.add_argument("--out", type=Path, default=HERE / "results" / "whole_models")
    chosen = parser.parse_args()
    case = CASES[chosen.case]
    models = chosen.models or list(case.bars)
    if unknown := set(models) - set(case.bars):
        parser.error(f"{chosen.case} has {', '.join(case.bars)}; got {', '.join(unknown)}")

    from graphstill.export import Settings, measure

    # the measuring processes find these files by their names
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    folder = chosen.work / chosen.case
    folder.mkdir(parents=True, exist_ok=True)
    chosen.out.mkdir(parents=True, exist_ok=True)
    inputs = case.read(chosen.data)
    print(f"{inputs['edge_index'].shape[1]:,} edges", flush=True)
    rows, errors = rows_for(case, models, inputs, chosen.threads, folder)
    report = measure(
        rows,
        inputs,
        Settings(
            threads=chosen.threads,
            rounds=chosen.rounds,
            min_samples=3,
            min_seconds=0.3,
            timeout_seconds=3600,
        ),
        facts={"graph": case.title, "errors": errors, "native_operators": True},
        on_step=lambda label: print(label, flush=True),
    )
    sizes = len(inputs["x"]), inputs["edge_index"].shape[1]
    print(write(report, case, models, sizes, chosen.out / f"{chosen.case}-{chosen.threads}"))


if __name__ == "__main__":
    main()
