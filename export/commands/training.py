"""train and distill."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import AsJson, Data, Inductive, Root, SplitSeed, Threads, guarded, load_data, out

if TYPE_CHECKING:
    from ...distill import Architecture, NodeData, Run, TrainSettings

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
Select = Annotated[str, typer.Option(help="Best epoch by validation: loss or metric.")]
TERMS = "abkd, stride, r2, cka, fitnet, attention-transfer, lsp, gsp, g-crd"
Seed = Annotated[int, typer.Option(help="Seed of initialisation and dropout.")]


def train(
    out_dir: Annotated[Path, typer.Option("--out", help="Directory for the run.")],
    data: Data = "digits",
    root: Root = None,
    split_seed: SplitSeed = 0,
    inductive: Inductive = 0.0,
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
    with guarded(f"the same command goes on from the last checkpoint in {out_dir}"):
        from ...distill import train as train_network

        _set_threads(threads)
        loaded = load_data(data, root, split_seed, inductive)
        run = train_network(
            _architecture(model, hidden_channels, num_layers, argument, loaded),
            loaded,
            _settings(epochs, patience, lr, weight_decay, input_dropout, select, seed),
            directory=out_dir,
        )
        _print_run(run, out_dir, as_json)


def distill(
    teacher: Annotated[Path, typer.Option(help="Run directory of the teacher.")],
    out_dir: Annotated[Path, typer.Option("--out", help="Directory for the run.")],
    data: Annotated[str | None, typer.Option(help="Data set; the teacher's if not given.")] = None,
    root: Root = None,
    split_seed: SplitSeed = 0,
    inductive: Inductive = 0.0,
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
    seed: Seed = 0,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Distil a student from a trained teacher.

    The loss is (1 - alpha) · labels + alpha · teacher's logits + the terms over layers, by default
    abkd=0.01. Layers are named by module path, `act#0` being the first call of `act`.

    graphstill distill --teacher runs/teacher --hidden-channels 16 --out runs/student
    """
    with guarded(f"the same command goes on from the last checkpoint in {out_dir}"):
        from ...distill import DistillSettings, distill as distill_student, load_run

        _set_threads(threads)
        taught = load_run(teacher)
        loaded = load_data(data or taught.provenance["data"], root, split_seed, inductive)
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
            directory=out_dir,
        )
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
    metric = run.provenance["metric"]
    out.print(
        f"{run.architecture.name}, {parameters:,} parameters: {metric} {accuracy}; kept in "
        f"{directory}",
        highlight=False,
    )
