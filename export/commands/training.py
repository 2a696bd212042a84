"""train and distill."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import AsJson, Data, Root, SplitSeed, Threads, guarded, load_data, out

if TYPE_CHECKING:
    from ...distill import Architecture, NodeData, Run, TrainSettings

Model = Annotated[
    str, typer.Option(help="GCN, GraphSAGE, GAT, GCNII, MLP, SharedGCN or SharedGCNII.")
]
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
Int8 = Annotated[bool, typer.Option(help="Train with int8 weights simulated; it ends with such.")]
Int8Features = Annotated[bool, typer.Option(help="Simulate int8 features too.")]
Protect = Annotated[
    str | None,
    typer.Option(
        help="LOW,HIGH: probabilities with which features of nodes with the fewest and the most "
        "in-edges are left out of --int8-features."
    ),
]
Select = Annotated[str, typer.Option(help="Best epoch by validation loss or accuracy.")]
TERMS = "abkd, stride, r2, cka, fitnet, attention-transfer, lsp, gsp, g-crd, mustad"
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
    int8_weights: Int8 = False,
    int8_features: Int8Features = False,
    protect: Protect = None,
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
        loaded = load_data(data, root, split_seed)
        run = train_network(
            _architecture(model, hidden_channels, num_layers, argument, loaded),
            loaded,
            _settings(
                epochs,
                patience,
                lr,
                weight_decay,
                input_dropout,
                select,
                seed,
                int8_weights=int8_weights,
                int8_features=int8_features,
                protect=_pair(protect),
            ),
            directory=out_dir,
        )
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
    initialise: Annotated[
        str | None,
        typer.Option(
            help="First weights of the student: pruned (cut out of the teacher; pruned=taylor "
            "compares channels by gradients) or attention (of the network that is asked for, the "
            "one layer that absorbs most of the teacher)."
        ),
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
    int8_weights: Int8 = False,
    int8_features: Int8Features = False,
    protect: Protect = None,
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
        loaded = load_data(data or taught.provenance["data"], root, split_seed)
        run = distill_student(
            taught,
            _architecture(model, hidden_channels, num_layers, argument, loaded),
            loaded,
            _settings(
                epochs,
                patience,
                lr,
                weight_decay,
                input_dropout,
                select,
                seed,
                int8_weights=int8_weights,
                int8_features=int8_features,
                protect=_pair(protect),
            ),
            DistillSettings(
                alpha=alpha,
                temperature=temperature,
                control=control,  # type: ignore[arg-type]
                **_terms(term),
                teacher_layers=tuple(teacher_layer) if teacher_layer else None,
                student_layers=tuple(student_layer) if student_layer else None,
                initialise=_initial(initialise),  # type: ignore[arg-type]
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


def _initial(given: str | None) -> dict[str, str] | None:
    """Return what --initialise says as settings."""
    if given is None:
        return None
    kind, equals, importance = given.partition("=")
    if kind not in ("pruned", "attention") or (equals and kind == "attention"):
        raise ValueError(
            f"--initialise takes pruned, pruned=activation, pruned=taylor or attention, "
            f"got {given!r}"
        )
    return {"kind": kind, **({"importance": importance} if equals else {})}


def _set_threads(threads: int | None) -> None:
    import torch

    if threads is not None:
        if threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        torch.set_num_threads(threads)


def _architecture(
    model: str, hidden: int, layers: int, arguments: list[str] | None, data: "NodeData"
) -> "Architecture":
    from ...distill import fitting

    named = dict(_argument(text) for text in arguments or [])
    return fitting(data, model, hidden, layers, named)


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
    **int8: Any,
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
            **int8,
        }
    )


def _pair(given: str | None) -> tuple[float, float] | None:
    if given is None:
        return None
    try:
        low, high = (float(text) for text in given.split(","))
    except ValueError:
        raise ValueError(f"--protect takes LOW,HIGH, such as 0,0.2; got {given!r}") from None
    return low, high


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
