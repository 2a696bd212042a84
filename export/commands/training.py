"""train and distill."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import budget as budgets
from .console import AsJson, Data, Inductive, Root, SplitSeed, Threads, guarded, load_data, out
from .training_options import (
    TERMS,
    Arguments,
    BatchSize,
    CheckpointSteps,
    Decay,
    Epochs,
    EvalBatchSize,
    Hidden,
    InputDropout,
    Int8,
    Int8Features,
    Layers,
    Model,
    NumNeighbors,
    Out,
    Patience,
    Protect,
    Rate,
    Seed,
    Select,
    large,
    learns,
)

if TYPE_CHECKING:
    from ...distill import Architecture, BatchSettings, NodeData, Run, TrainSettings


def train(
    out_dir: Out,
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
    int8_weights: Int8 = False,
    int8_features: Int8Features = False,
    protect: Protect = None,
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

    Epochs are chosen on the validation nodes; the test nodes are read once, at the end. `distill`
    and `export` take the directory from here.

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
        settings = _settings(
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
        )
        with joined() as workers:
            loaded = workers.in_turn(lambda: load_data(data, root, split_seed, inductive))
            architecture = _architecture(model, hidden_channels, num_layers, argument, loaded)
            run = train_network(architecture, loaded, settings, batches=batches, directory=out_dir)
            if workers.first:
                _print_run(run, out_dir, as_json)


def distill(
    context: typer.Context,
    teacher: Annotated[Path, typer.Option(help="Run directory of the teacher.")],
    out_dir: Out,
    data: Annotated[str | None, typer.Option(help="Data set; the teacher's if not given.")] = None,
    root: Root = None,
    split_seed: SplitSeed = 0,
    inductive: Inductive = 0.0,
    model: Model = "GCN",
    hidden_channels: Hidden = 16,
    num_layers: Layers = 2,
    argument: Arguments = None,
    alpha: Annotated[
        float, learns("Weight of the teacher's logits: 0 is labels alone, 1 the teacher alone.")
    ] = 0.9,
    temperature: Annotated[
        float, learns("Temperature of the logits; above 1 the unlikely classes count more.")
    ] = 1.0,
    term: Annotated[
        list[str] | None,
        learns(f"NAME=WEIGHT of a term over layers: {TERMS}, or none; may be repeated."),
    ] = None,
    control: Annotated[
        str | None,
        learns("Teach with layers that know nothing, for comparison: untrained or shuffled."),
    ] = None,
    initialise: Annotated[
        str | None,
        learns(
            "First weights of the student: pruned (cut out of the teacher; pruned=taylor "
            "compares channels by gradients) or attention (of the network that is asked for, the "
            "one layer that absorbs most of the teacher)."
        ),
    ] = None,
    teacher_layer: Annotated[
        list[str] | None,
        learns("Layer of the teacher; may be repeated; its hidden layers if not given."),
    ] = None,
    student_layer: Annotated[list[str] | None, learns("The same of the student.")] = None,
    epochs: Epochs = 500,
    patience: Patience = 100,
    lr: Rate = 0.01,
    weight_decay: Decay = 5e-4,
    input_dropout: InputDropout = 0.0,
    int8_weights: Int8 = False,
    int8_features: Int8Features = False,
    protect: Protect = None,
    select: Select = "loss",
    batch_size: BatchSize = None,
    num_neighbors: NumNeighbors = None,
    eval_batch_size: EvalBatchSize = None,
    checkpoint_steps: CheckpointSteps = None,
    live_teacher: Annotated[
        bool,
        large(
            "With --batch-size: ask the teacher in every step, on what the student sees, "
            "instead of looking its answers up.",
            "--live-teacher",
        ),
    ] = False,
    teacher_store: Annotated[
        Path | None,
        large(
            "With --batch-size: folder of the teacher's answers, for several students; "
            "written where there is none, the run's own folder if not given."
        ),
    ] = None,
    seed: Seed = 0,
    threads: Threads = None,
    as_json: AsJson = False,
    budget: budgets.Budget = False,
    max_parameters: budgets.MaxParameters = None,
    max_latency_ms: budgets.MaxLatency = None,
    max_bytes: budgets.MaxBytes = None,
    trials: budgets.Trials = 20,
    kinds: budgets.Kinds = "GCN,GraphSAGE,MLP",
    depths: budgets.Depths = "2,3,4",
    widths: budgets.Widths = "4,8,12,16,24,32,48,64,96,128",
    latency_threads: budgets.LatencyThreads = 1,
    rounds: budgets.Rounds = 5,
    prepared: budgets.Prepared = False,
) -> None:
    """Distil a student from a trained teacher.

    The loss is (1 - alpha) · labels + alpha · teacher's logits + the terms over layers, by default
    abkd=0.01. Layers are named by module path, `act#0` being the first call of `act`.

    graphstill distill --teacher runs/teacher --hidden-channels 16 --out runs/student

    With --budget the student is searched: Optuna proposes kind, depth and width, whatever is too
    large or too slow is put aside before training, and those that nothing beats are measured side
    by side. Writes OUT/report.html, the best as OUT/student and OUT/bundle; exits with 1 if none is
    within the limits. The same command goes on, and other limits use again what was trained.

    graphstill distill --teacher runs/teacher --budget --max-latency-ms 0.5 --out runs/budget

    With --batch-size the student is trained on sampled parts of the graph. The teacher still
    answers for the whole graph, once; its answers are kept in runs/student/teacher and looked up by
    node. torchrun --nproc-per-node 2 -m graphstill distill … shares the work among processes.
    """
    with guarded(f"the same command goes on from the last checkpoint in {out_dir}"):
        from ...distill import DistillSettings, distill as distill_student, load_run
        from ...distill.distributed import joined

        budgets.check_use(context, budget)
        _set_threads(threads)
        training = _settings(
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
        )
        method = DistillSettings(
            alpha=alpha,
            temperature=temperature,
            control=control,  # type: ignore[arg-type]
            **_terms(term),
            teacher_layers=tuple(teacher_layer) if teacher_layer else None,
            student_layers=tuple(student_layer) if student_layer else None,
            initialise=_initial(initialise),  # type: ignore[arg-type]
        )
        batches = _batches(
            batch_size, num_neighbors, num_layers, eval_batch_size, checkpoint_steps, live_teacher
        )
        if batches is None and teacher_store is not None:
            raise ValueError("--teacher-store goes with --batch-size")
        if budget:
            if batches is not None:
                raise ValueError("--budget searches on the whole graph; leave --batch-size out")
            taught = load_run(teacher)
            loaded = load_data(data or taught.provenance["data"], root, split_seed, inductive)
            budgets.search_student(
                taught,
                loaded,
                training,
                method,
                out_dir,
                as_json,
                limits={
                    "parameters": max_parameters,
                    "latency_ms": max_latency_ms,
                    "bytes": max_bytes,
                },
                space={
                    "kinds": kinds,
                    "depths": depths,
                    "widths": widths,
                    "arguments": dict(_argument(text) for text in argument or []),
                },
                measuring={"threads": latency_threads, "rounds": rounds, "prepared": prepared},
                trials=trials,
            )
            return
        with joined() as workers:
            taught = load_run(teacher)
            name = data or taught.provenance["data"]
            loaded = workers.in_turn(lambda: load_data(name, root, split_seed, inductive))
            run = distill_student(
                taught,
                _architecture(model, hidden_channels, num_layers, argument, loaded),
                loaded,
                training,
                method,
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
    metric = run.provenance["metric"]
    out.print(
        f"{run.architecture.name}, {parameters:,} parameters: {metric} {accuracy}; kept in "
        f"{directory}",
        highlight=False,
    )
