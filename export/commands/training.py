"""train and distill."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import AsJson, Data, Root, SplitSeed, Threads, guarded, load_data, out

if TYPE_CHECKING:
    from ...distill import Architecture, BatchSettings, NodeData, Run, TrainSettings

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
TERMS = "abkd, stride, r2, cka, fitnet, attention-transfer, lsp, gsp, g-crd"
BatchSize = Annotated[
    int | None,
    typer.Option(
        help="Train on sampled parts of the graph: nodes answered for in a step, over all "
        "processes together. Without it every step is the whole graph.",
        rich_help_panel="Large graphs",
    ),
]
NumNeighbors = Annotated[
    str | None,
    typer.Option(
        help="With --batch-size: in-neighbours to sample of each node, a number for each layer, "
        "nearest first: 15,10. -1 takes all. 10 for each layer if not given.",
        rich_help_panel="Large graphs",
    ),
]
EvalBatchSize = Annotated[
    int | None,
    typer.Option(
        help="With --batch-size: nodes at a time in evaluation, each with all its in-neighbours, "
        "where the whole graph does not fit into memory. The answers are the same.",
        rich_help_panel="Large graphs",
    ),
]
CheckpointSteps = Annotated[
    int | None,
    typer.Option(
        help="With --batch-size: steps between checkpoints, where epochs are long.",
        rich_help_panel="Large graphs",
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of initialisation and dropout.")]


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
    batch_size: BatchSize = None,
    num_neighbors: NumNeighbors = None,
    eval_batch_size: EvalBatchSize = None,
    checkpoint_steps: CheckpointSteps = None,
    seed: Seed = 0,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Train a network on labels, a teacher for example.

    graphstill train --data cora --root data --model GCN --hidden-channels 256 --argument
    dropout=0.5 --out runs/teacher

    A graph that is too large to be trained on whole is trained on in sampled parts, by several
    processes if you like:

    torchrun --nproc-per-node 2 -m graphstill train --data cora --root data --batch-size 1024
    --num-neighbors 15,10 --out runs/teacher
    """
    with guarded(f"the same command goes on from the last checkpoint in {out_dir}"):
        from ...distill import train as train_network
        from ...distill.distributed import joined

        _set_threads(threads)
        batches = _batches(batch_size, num_neighbors, num_layers, eval_batch_size, checkpoint_steps)
        with joined() as workers:
            loaded = workers.in_turn(lambda: load_data(data, root, split_seed))
            run = train_network(
                _architecture(model, hidden_channels, num_layers, argument, loaded),
                loaded,
                _settings(epochs, patience, lr, weight_decay, input_dropout, select, seed),
                batches=batches,
                directory=out_dir,
            )
            if workers.first:
                _print_run(run, out_dir, as_json)


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
    term: Annotated[
        list[str] | None,
        typer.Option(help=f"NAME=WEIGHT of a term over layers: {TERMS}, or none; may be repeated."),
    ] = None,
    control: Annotated[
        str | None,
        typer.Option(help="untrained, shuffled: layers that know nothing, for comparison."),
    ] = None,
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
    batch_size: BatchSize = None,
    num_neighbors: NumNeighbors = None,
    eval_batch_size: EvalBatchSize = None,
    checkpoint_steps: CheckpointSteps = None,
    live_teacher: Annotated[
        bool,
        typer.Option(
            "--live-teacher",
            help="With --batch-size: ask the teacher in every step, on what the student sees, "
            "instead of looking its answers up.",
            rich_help_panel="Large graphs",
        ),
    ] = False,
    teacher_store: Annotated[
        Path | None,
        typer.Option(
            help="With --batch-size: folder of the teacher's answers, for several students; "
            "written where there is none, the run's own folder if not given.",
            rich_help_panel="Large graphs",
        ),
    ] = None,
    seed: Seed = 0,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Distil a student from a trained teacher.

    The loss is (1 - alpha) · labels + alpha · teacher's logits + the terms over layers, by default
    abkd=0.01. Layers are named by module path, `act#0` being the first call of `act`.

    graphstill distill --teacher runs/teacher --hidden-channels 16 --out runs/student

    With --batch-size the student is trained on sampled parts of the graph. The teacher still
    answers for the whole graph, once; its answers are kept in runs/student/teacher and looked up by
    node. torchrun --nproc-per-node 2 -m graphstill distill … shares the work among processes.
    """
    with guarded(f"the same command goes on from the last checkpoint in {out_dir}"):
        from ...distill import DistillSettings, distill as distill_student, load_run
        from ...distill.distributed import joined

        _set_threads(threads)
        batches = _batches(
            batch_size, num_neighbors, num_layers, eval_batch_size, checkpoint_steps, live_teacher
        )
        if batches is None and teacher_store is not None:
            raise ValueError("--teacher-store goes with --batch-size")
        with joined() as workers:
            taught = load_run(teacher)
            name = data or taught.provenance["data"]
            loaded = workers.in_turn(lambda: load_data(name, root, split_seed))
            run = distill_student(
                taught,
                _architecture(model, hidden_channels, num_layers, argument, loaded),
                loaded,
                _settings(epochs, patience, lr, weight_decay, input_dropout, select, seed),
                DistillSettings(
                    alpha=alpha,
                    temperature=temperature,
                    control=control,  # type: ignore[arg-type]
                    **_terms(term),
                    teacher_layers=tuple(teacher_layer) if teacher_layer else None,
                    student_layers=tuple(student_layer) if student_layer else None,
                ),
                batches=batches,
                store=teacher_store,
                directory=out_dir,
            )
            if workers.first:
                _print_run(run, out_dir, as_json)


def _terms(given: list[str] | None) -> dict[str, Any]:
    """Return the terms that --term names, nothing where it is not given."""
    if given is None:
        return {}
    terms = []
    for text in given if given != ["none"] else ():
        name, _, weight = text.partition("=")
        try:
            terms.append({"term": name, "weight": float(weight or 1)})
        except ValueError:
            raise ValueError(f"--term takes NAME=WEIGHT, got {text!r}") from None
    return {"terms": tuple(terms)}


def _batches(
    batch_size: int | None,
    num_neighbors: str | None,
    num_layers: int,
    eval_batch_size: int | None,
    checkpoint_steps: int | None,
    live_teacher: bool = False,
) -> "BatchSettings | None":
    """Return how to train on parts of the graph, None where --batch-size is not given."""
    from ...distill import BatchSettings

    if batch_size is None:
        if num_neighbors or eval_batch_size or checkpoint_steps or live_teacher:
            raise ValueError("sampling needs --batch-size: how many nodes a step answers for")
        return None
    try:
        counts = [int(count) for count in num_neighbors.split(",")] if num_neighbors else None
    except ValueError:
        raise ValueError(f"--num-neighbors takes 15,10, got {num_neighbors!r}") from None
    return BatchSettings(
        batch_size=batch_size,
        num_neighbors=tuple(counts or [10] * num_layers),
        eval_batch_size=eval_batch_size,
        checkpoint_steps=checkpoint_steps,
        teacher="live" if live_teacher else "stored",
    )


def _set_threads(threads: int | None) -> None:
    import torch

    if threads is not None:
        if threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        torch.set_num_threads(threads)


def _architecture(
    model: str, hidden: int, layers: int, arguments: list[str] | None, data: "NodeData"
) -> "Architecture":
    from ...distill import Architecture

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
    from ...distill import TrainSettings

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
