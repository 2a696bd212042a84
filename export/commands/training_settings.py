"""What the options of train and distill say, as settings."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .console import out

if TYPE_CHECKING:
    from ...distill import Architecture, BatchSettings, NodeData, Run, TrainSettings


def method_terms(given: list[str] | None) -> dict[str, Any]:
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


def first_weights(given: str | None) -> dict[str, str] | None:
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


def batch_settings(
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


def set_threads(threads: int | None) -> None:
    """Give torch that many threads, if a number is given."""
    import torch

    if threads is not None:
        if threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        torch.set_num_threads(threads)


def architecture_of(
    model: str, hidden: int, layers: int, arguments: list[str] | None, data: "NodeData"
) -> "Architecture":
    """Return the network that is asked for, with the widths of the data."""
    from ...distill import fitting

    named = dict(parsed_argument(text) for text in arguments or [])
    return fitting(data, model, hidden, layers, named)


def parsed_argument(text: str) -> tuple[str, Any]:
    """Return what one --argument says; a value that is no JSON is a string."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--argument takes name=value, got {text!r}")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def train_settings(
    epochs: int,
    patience: int,
    lr: float,
    weight_decay: float,
    input_dropout: float,
    select: str,
    seed: int,
    **int8: Any,
) -> "TrainSettings":
    """Return how to train, checked as settings in a file are."""
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


def probabilities(given: str | None) -> tuple[float, float] | None:
    """Return what --protect says."""
    if given is None:
        return None
    try:
        low, high = (float(text) for text in given.split(","))
    except ValueError:
        raise ValueError(f"--protect takes LOW,HIGH, such as 0,0.2; got {given!r}") from None
    return low, high


def print_run(run: "Run", directory: Path, as_json: bool) -> None:
    """Print what a run came to."""
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
