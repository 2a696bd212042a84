"""The command line: parse, call one library function, print, return a code.

Exit codes: 0 done, 1 a check failed, 2 used wrongly. Heavy libraries are imported by the command
that needs them, so that what serves works where torch is not installed.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from . import __version__

if TYPE_CHECKING:
    import numpy as np

    from .distill import Architecture, NodeData, Run, TrainSettings

app = typer.Typer(
    name="graphstill",
    help="Make graph networks deployable: train, distil, export, check, bench, predict.\n\n"
    "Start with `graphstill demo --out demo`: the whole road on real data in two minutes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
out = Console()
err = Console(stderr=True)

_EXTRAS = {
    "torch": "train",
    "torch_geometric": "train",
    "sklearn": "train",
    "safetensors": "train",
    "onnx": "export",
    "onnxscript": "export",
    "matplotlib": "export",
    "jinja2": "export",
}

Data = Annotated[
    str,
    typer.Option(
        help="digits, cora, citeseer, pubmed, amazon-computers, amazon-photo, coauthor-cs, "
        "coauthor-physics, or package.module:function for a function of yours that returns a PyG "
        "Data object."
    ),
]
Root = Annotated[
    Path | None,
    typer.Option(help="Folder with PyG's raw files, for machines without a network; only read."),
]
SplitSeed = Annotated[int, typer.Option(help="Seed of the split, where the data brings none.")]
Model = Annotated[str, typer.Option(help="GCN, GraphSAGE, GAT, GCNII or MLP.")]
Hidden = Annotated[int, typer.Option(help="Width of the hidden layers.")]
Layers = Annotated[int, typer.Option(help="Number of layers.")]
Arguments = Annotated[
    list[str] | None,
    typer.Option(
        "--argument",
        help="Further argument of the network as name=value, such as dropout=0.5 or heads=4; "
        "may be repeated.",
    ),
]
Out = Annotated[Path, typer.Option(help="Directory for the run; an interrupted one goes on there.")]
Epochs = Annotated[int, typer.Option(help="Most epochs.")]
Patience = Annotated[int, typer.Option(help="Epochs without a better one before stopping.")]
Rate = Annotated[float, typer.Option(help="Learning rate of Adam.")]
Decay = Annotated[float, typer.Option(help="Weight decay.")]
InputDropout = Annotated[float, typer.Option(help="Dropout on the features in training.")]
Select = Annotated[str, typer.Option(help="Best epoch by validation loss or accuracy.")]
Seed = Annotated[int, typer.Option(help="Seed of initialisation and dropout.")]
Threads = Annotated[int | None, typer.Option(help="Threads; all processors if not given.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print versions and exit.")] = False,
) -> None:
    """Say what is installed, or go on to a command."""
    if version:
        import onnxruntime

        print(f"graphstill {__version__}, onnxruntime {onnxruntime.__version__}")
        print(f"C++ operators: {_native_state()}")
        raise typer.Exit


@app.command()
def demo(
    out_dir: Annotated[Path, typer.Option("--out", help="Where everything goes.")] = Path("demo"),
    as_json: AsJson = False,
) -> None:
    """Walk the whole road on scikit-learn's digits.

    Trains a teacher, distils a student with ABKD, exports both, proves the exports, measures both,
    predicts with the student, and writes OUT/report.html, OUT/summary.json and the bundles
    OUT/teacher and OUT/student.
    """
    with _guarded():
        from .export.demo import headline, run_demo, table

        summary = run_demo(out_dir, say=lambda text: err.print(text, highlight=False))
        if as_json:
            print(json.dumps(summary, indent=2))
            return
        _print_table(*table(summary), title="teacher and student on digits")
        for value, label in headline(summary):
            out.print(f"[bold]{value:>9}[/bold]  {label}", highlight=False)
        out.print(f"\nopen {out_dir / 'report.html'}", highlight=False)
        if not summary["parity"]["ok"]:
            raise typer.Exit(1)


@app.command()
def train(
    out_dir: Annotated[Path, typer.Option("--out", help="Directory for the run.")],
    data: Data = "digits",
    root: Root = None,
    split_seed: SplitSeed = 0,
    model: Model = "GCN",
    hidden_channels: Hidden = 256,
    num_layers: Layers = 2,
    argument: Arguments = None,
    epochs: Epochs = 500,
    patience: Patience = 100,
    lr: Rate = 0.01,
    weight_decay: Decay = 5e-4,
    input_dropout: InputDropout = 0.0,
    select: Select = "loss",
    seed: Seed = 0,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Train a network on labels, a teacher for example.

    graphstill train --data cora --root data --model GCN --hidden-channels 256 --argument
    dropout=0.5 --out runs/teacher
    """
    with _guarded(f"the same command goes on from the last checkpoint in {out_dir}"):
        from .distill import train as train_network

        _set_threads(threads)
        loaded = _load(data, root, split_seed)
        run = train_network(
            _architecture(model, hidden_channels, num_layers, argument, loaded),
            loaded,
            _settings(epochs, patience, lr, weight_decay, input_dropout, select, seed),
            directory=out_dir,
        )
        _print_run(run, out_dir, as_json)


@app.command()
def distill(
    teacher: Annotated[Path, typer.Option(help="Run directory of the teacher.")],
    out_dir: Annotated[Path, typer.Option("--out", help="Directory for the run.")],
    data: Annotated[str | None, typer.Option(help="Data set; the teacher's if not given.")] = None,
    root: Root = None,
    split_seed: SplitSeed = 0,
    model: Model = "GCN",
    hidden_channels: Hidden = 16,
    num_layers: Layers = 2,
    argument: Arguments = None,
    alpha: Annotated[float, typer.Option(help="Weight of the teacher against the labels.")] = 0.9,
    temperature: Annotated[float, typer.Option(help="Temperature of the logits.")] = 1.0,
    beta: Annotated[float, typer.Option(help="Weight of ABKD's layer term; 0: none.")] = 0.1,
    dim: Annotated[int, typer.Option(help="Width of ABKD's common space.")] = 64,
    teacher_layer: Annotated[
        list[str] | None, typer.Option(help="Layer of the teacher; may be repeated.")
    ] = None,
    student_layer: Annotated[
        list[str] | None, typer.Option(help="Layer of the student; may be repeated.")
    ] = None,
    epochs: Epochs = 500,
    patience: Patience = 100,
    lr: Rate = 0.01,
    weight_decay: Decay = 5e-4,
    input_dropout: InputDropout = 0.0,
    select: Select = "loss",
    seed: Seed = 0,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Distil a student from a trained teacher.

    The loss is (1 - alpha) · labels + alpha · teacher's logits + beta · ABKD over all layer pairs.
    Layers are named by module path, `act#0` being the first call of `act`.

    graphstill distill --teacher runs/teacher --hidden-channels 16 --out runs/student
    """
    with _guarded(f"the same command goes on from the last checkpoint in {out_dir}"):
        from .distill import DistillSettings, distill as distill_student, load_run

        _set_threads(threads)
        taught = load_run(teacher)
        loaded = _load(data or taught.provenance["data"], root, split_seed)
        run = distill_student(
            taught,
            _architecture(model, hidden_channels, num_layers, argument, loaded),
            loaded,
            _settings(epochs, patience, lr, weight_decay, input_dropout, select, seed),
            DistillSettings(
                alpha=alpha,
                temperature=temperature,
                beta=beta,
                dim=dim,
                teacher_layers=tuple(teacher_layer) if teacher_layer else None,
                student_layers=tuple(student_layer) if student_layer else None,
            ),
            directory=out_dir,
        )
        _print_run(run, out_dir, as_json)


@app.command()
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
    with _guarded():
        from .export.runs import export_run

        bundle = export_run(run, out_dir, graph=graph, lowering=lowering)
        manifest = bundle.manifest
        if as_json:
            print(manifest.to_json(), end="")
            return
        shapes = ", ".join(f"{s.name} {list(s.shape)}" for s in manifest.inputs)
        out.print(f"{bundle.path}: {bundle.size_bytes:,} bytes, inputs {shapes}", highlight=False)


@app.command()
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
    with _guarded():
        from .export import check_parity, rebuild
        from .serve import Bundle

        opened = Bundle.load(bundle)
        original = rebuild(opened) if module is None else _imported(module)
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
            _print_table(header, rows, title=f"{bundle} against PyG in float64")
            out.print(f"C++ operators: {_native_state()}", highlight=False)
            verdict = "all cases pass" if report.ok else f"{len(report.failures)} cases FAILED"
            out.print(f"{verdict}, largest error {report.max_abs_error:.1e}", highlight=False)
        if not report.ok:
            raise typer.Exit(1)


@app.command()
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
    with _guarded():
        from .export import Settings, bench as benches, measure
        from .serve import Bundle, Session

        settings = Settings(threads, rounds, min_samples, min_seconds)
        first = Bundle.load(bundles[0])
        inputs, labels, nodes = _inputs(data, root, split_seed)
        if inputs is None:
            inputs = benches.random_inputs(first, num_nodes, num_edges)
        facts = {
            "data": data or f"random graph, {num_nodes} nodes, {num_edges} edges",
            "quality": benches.quality(bundles, inputs, labels, nodes),
            "native_operators": not portable and Session(first).native_operators,
        }
        rows = benches.bundle_rows(bundles, pyg=pyg, native=not portable, prepared=prepared)
        with _steps(len(rows) * (rounds + 1), "measuring") as step:
            report = measure(rows, inputs, settings, facts=facts, on_step=step)
        out_dir.mkdir(parents=True, exist_ok=True)
        report.save(out_dir / "report.json")
        benches.write_report_page(report, out_dir / "report.html", "Side by side")
        if as_json:
            print((out_dir / "report.json").read_text(), end="")
            return
        _print_table(*benches.table(report), title=f"{threads} threads, {rounds} rounds")
        for row in report.rows[1:]:
            out.print(
                benches.verdict(report, report.rows[0].row.label, row.row.label), highlight=False
            )
        out.print(f"open {out_dir / 'report.html'}", highlight=False)


@app.command()
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
    with _guarded():
        import numpy as np

        from .serve import Session

        session = Session(bundle, threads=threads, validate=True)
        inputs, _, _ = _inputs(data, root, 0)
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


@contextmanager
def _guarded(after_interrupt: str = "") -> Iterator[None]:
    """Turn what a user can mend into one line on stderr and exit code 2."""
    try:
        yield
    except ModuleNotFoundError as missing:
        extra = _EXTRAS.get((missing.name or "").partition(".")[0])
        if extra is None:
            raise
        err.print(f"this needs {missing.name}: pip install 'graphstill[{extra}]'", markup=False)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        err.print(f"interrupted; {after_interrupt}" if after_interrupt else "interrupted")
        raise typer.Exit(130) from None
    except (ValueError, OSError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not type(error).__module__.startswith("graphstill."):
            raise  # not one of ours: a defect, show where
        err.print(f"error: {error}", style="red", markup=False, highlight=False)
        raise typer.Exit(2) from None


@contextmanager
def _steps(total: int, title: str) -> Iterator[Callable[[str], None]]:
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description} {task.completed}/{task.total}"),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )
    with bar:
        task = bar.add_task(title, total=total)

        def step(label: str) -> None:
            bar.update(task, advance=1, description=f"{title} {label}")

        yield step


def _native_state() -> str:
    from .serve import native

    try:
        return native.library()
    except FileNotFoundError as reason:
        return f"not in use, {reason}"


def _set_threads(threads: int | None) -> None:
    import torch

    if threads is not None:
        if threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        torch.set_num_threads(threads)


def _load(name: str, root: Path | None, seed: int) -> "NodeData":
    from .distill import load

    return load(name, root, seed=seed)


def _architecture(
    model: str, hidden: int, layers: int, arguments: list[str] | None, data: "NodeData"
) -> "Architecture":
    from .distill import Architecture

    return Architecture(
        name=model,
        in_channels=data.num_features,
        hidden_channels=hidden,
        num_layers=layers,
        out_channels=data.num_classes,
        arguments=dict(_argument(text) for text in arguments or []),
    )


def _argument(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--argument takes name=value, got {text!r}")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _settings(
    epochs: int,
    patience: int,
    lr: float,
    weight_decay: float,
    input_dropout: float,
    select: str,
    seed: int,
) -> "TrainSettings":
    from .distill import TrainSettings

    return TrainSettings.model_validate(
        {
            "epochs": epochs,
            "patience": patience,
            "lr": lr,
            "weight_decay": weight_decay,
            "input_dropout": input_dropout,
            "select": select,
            "seed": seed,
        }
    )


def _inputs(
    data: str | None, root: Path | None, seed: int
) -> tuple["dict[str, np.ndarray] | None", "np.ndarray | None", "np.ndarray | None"]:
    """Return a call's inputs, and labels and test nodes where the data has them."""
    if data is None:
        return None, None, None
    if data.endswith(".npz"):
        import numpy as np

        with np.load(data, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}, None, None
    loaded = _load(data, root, seed)
    inputs = {"x": loaded.x.numpy(), "edge_index": loaded.edge_index.numpy()}
    return inputs, loaded.y.numpy(), loaded.split.test.numpy()


def _imported(path: str) -> Any:
    import importlib

    sys.path.insert(0, str(Path.cwd()))
    module, _, function = path.partition(":")
    try:
        return getattr(importlib.import_module(module), function)()
    except (ImportError, AttributeError) as error:
        raise ValueError(f"cannot load {path}: {error}") from error
    finally:
        sys.path.remove(str(Path.cwd()))


def _node_ids(text: str | None, num_nodes: int) -> list[int]:
    if text is None:
        return list(range(num_nodes))
    nodes = [int(part) for part in text.split(",")]
    wrong = [node for node in nodes if not 0 <= node < num_nodes]
    if wrong:
        raise ValueError(f"nodes must lie in [0, {num_nodes}), got {wrong[0]}")
    return nodes


def _print_run(run: "Run", directory: Path, as_json: bool) -> None:
    parameters = sum(p.numel() for p in run.module.parameters())
    if as_json:
        facts = {"parameters": parameters, "accuracy": run.accuracy, "provenance": run.provenance}
        print(json.dumps({"run": str(directory), **facts}, indent=2))
        return
    accuracy = ", ".join(f"{name} {100 * value:.2f} %" for name, value in run.accuracy.items())
    out.print(
        f"{run.architecture.name}, {parameters:,} parameters: {accuracy}; kept in {directory}",
        highlight=False,
    )


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
        _print_table(["node", "class", "probability"], rows)
        if len(answers) > len(rows):
            out.print(f"… and {len(answers) - len(rows)} more; --out file.csv holds all")


def _print_table(header: list[str], rows: list[list[str]], title: str = "") -> None:
    table = Table(title=title or None)
    for i, name in enumerate(header):
        table.add_column(name, justify="left" if i == 0 else "right")
    for row in rows:
        table.add_row(*row)
    out.print(table)
