"""Selection by validation: which epoch is the best, and when to stop."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from .data import Observed
from .errors import DivergedError
from .labels import fitting_metric, label_loss, score
from .models import call

Probability = Annotated[float, Field(ge=0, le=1)]


class TrainSettings(BaseModel):
    """How a network is trained.

    Attributes:
        epochs: Most epochs, each one pass over the whole graph.
        patience: Epochs without a better one after which training stops.
        lr: Learning rate of Adam.
        weight_decay: L2 penalty on the parameters of the network.
        conv_weight_decay: The same on those of its convolutions (below `convs`), where it differs.
        input_dropout: Probability with which a feature is set to zero in training.
        select: What makes an epoch better, on the validation nodes: "loss", or "metric", what the
            data is measured by, with ties broken by loss. "accuracy" is another word for "metric".
        precision: What training computes in where it may choose: "float32", or "bfloat16" by
            torch's autocast. Validation is float32.
        int8_weights: Whether training sees its weights rounded to int8 (`int8`); it ends with
            weights that are.
        int8_features: Whether it sees features rounded as they enter layers, too.
        protect: Probabilities (low, high) with which the features of a node are left out of that,
            by its in-degree; None leaves out none.
        checkpoint_every: Epochs between checkpoints.
        seed: Seed of initialisation and dropout.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(default=500, gt=0)
    patience: int = Field(default=100, gt=0)
    lr: float = Field(default=0.01, gt=0)
    weight_decay: float = Field(default=5e-4, ge=0)
    conv_weight_decay: float | None = Field(default=None, ge=0)
    input_dropout: float = Field(default=0.0, ge=0, lt=1)
    select: Literal["loss", "metric", "accuracy"] = "loss"
    precision: Literal["float32", "bfloat16"] = "float32"
    int8_weights: bool = False
    int8_features: bool = False
    protect: tuple[Probability, Probability] | None = None
    checkpoint_every: int = Field(default=20, gt=0)
    seed: int = 0

    @model_validator(mode="after")
    def _check(self) -> "TrainSettings":
        if self.protect is not None and not self.int8_features:
            raise ValueError("protect leaves nodes out of int8_features; set that too")
        return self


@dataclass(frozen=True)
class Result:
    """What training found, by validation alone.

    Attributes:
        epoch: The best epoch.
        val_loss: Its cross-entropy on the validation nodes.
        val_accuracy: Its accuracy on them, or what else the data is measured by, 0-1.
        epochs: Epochs trained in all.
    """

    epoch: int
    val_loss: float
    val_accuracy: float
    epochs: int


@dataclass(eq=False)
class State:
    """What changes from step to step and goes into a checkpoint.

    Attributes:
        epoch: Epochs that are done.
        best: The best of them.
        best_weights: Its weights.
        step: Steps of the next epoch that are done.
        sums: The sum of each of their losses, [terms + 1] float64; None before the first.
    """

    epoch: int = 0
    best: Result | None = None
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    step: int = 0
    sums: Tensor | None = None

    def end_step(self, losses: Tensor) -> None:
        """Count a step."""
        self.step += 1
        self.sums = losses if self.sums is None else self.sums + losses

    def end_epoch(self) -> None:
        """Count an epoch."""
        self.epoch, self.step, self.sums = self.epoch + 1, 0, None


def validate(module: torch.nn.Module, data: Observed) -> tuple[float, float]:
    """Return the loss and the metric on the validation nodes."""
    module.eval()
    seen = data.validation or data
    with torch.no_grad():
        logits = call(module, seen.x, seen.graph)[seen.val]
    return scores(logits, seen)


def scores(logits: Tensor, data: Observed) -> tuple[float, float]:
    """Return the loss and the metric of answers [v, C] for the validation nodes."""
    labels = data.y[data.val].to(logits.device)
    metric = fitting_metric(data.metric, data.y, data.num_classes)
    return float(label_loss(logits, labels)), score(logits, labels, metric)


def remember(
    state: State,
    module: torch.nn.Module,
    loss: float,
    accuracy: float,
    settings: TrainSettings,
) -> None:
    """Keep the epoch if it is the best so far.

    Raises:
        DivergedError: If its validation loss is not finite.
    """
    if not torch.isfinite(torch.tensor(loss)):
        raise DivergedError(
            f"the validation loss is {loss} after epoch {state.epoch}; try a lower learning rate "
            f"than {settings.lr}"
        )
    if state.best is not None:
        old = (-state.best.val_loss, state.best.val_accuracy)
        new = (-loss, accuracy)
        if settings.select != "loss":
            old, new = old[::-1], new[::-1]
        if new <= old:
            return
    state.best = Result(state.epoch, loss, accuracy, state.epoch)
    state.best_weights = {name: t.detach().clone() for name, t in module.state_dict().items()}


def out_of_patience(state: State, settings: TrainSettings) -> bool:
    """Return whether the best epoch lies too far back."""
    return state.best is not None and state.epoch - state.best.epoch > settings.patience
