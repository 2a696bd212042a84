"""train and distill."""

from pathlib import Path
from typing import Annotated

import typer

from . import budget as budgets
from .console import AsJson, Data, Inductive, Root, SplitSeed, Threads, guarded, load_data
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
from .training_settings import (
    architecture_of,
    batch_settings,
    first_weights,
    method_terms,
    parsed_argument,
    print_run,
    probabilities,
    set_threads,
    train_settings,
)


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

        set_threads(threads)
        batches = batch_settings(
            batch_size, num_neighbors, num_layers, eval_batch_size, checkpoint_steps
        )
        settings = train_settings(
            epochs,
            patience,
            lr,
            weight_decay,
            input_dropout,
            select,
            seed,
            int8_weights=int8_weights,
            int8_features=int8_features,
            protect=probabilities(protect),
        )
        with joined() as workers:
            loaded = workers.in_turn(lambda: load_data(data, root, split_seed, inductive))
            architecture = architecture_of(model, hidden_channels, num_layers, argument, loaded)
            run = train_network(architecture, loaded, settings, batches=batches, directory=out_dir)
            if workers.first:
                print_run(run, out_dir, as_json)


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
        set_threads(threads)
        training = train_settings(
            epochs,
            patience,
            lr,
            weight_decay,
            input_dropout,
            select,
            seed,
            int8_weights=int8_weights,
            int8_features=int8_features,
            protect=probabilities(protect),
        )
        method = DistillSettings(
            alpha=alpha,
            temperature=temperature,
            control=control,  # type: ignore[arg-type]
            **method_terms(term),
            teacher_layers=tuple(teacher_layer) if teacher_layer else None,
            student_layers=tuple(student_layer) if student_layer else None,
            initialise=first_weights(initialise),  # type: ignore[arg-type]
        )
        batches = batch_settings(
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
                    "arguments": dict(parsed_argument(text) for text in argument or []),
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
                architecture_of(model, hidden_channels, num_layers, argument, loaded),
                loaded,
                training,
                method,
                batches=batches,
                store=teacher_store,
                directory=out_dir,
            )
            if workers.first:
                print_run(run, out_dir, as_json)
