"""Options that train and distill share."""

from pathlib import Path
from typing import Annotated, Any

import typer

_NETWORK, _LEARNS, _TRAINING = "The network", "What it learns from the teacher", "Training"


def _network(help: str, *names: str) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=_NETWORK)


def learns(help: str) -> Any:
    """Return an option of what a student learns."""
    return typer.Option(help=help, rich_help_panel=_LEARNS)


def _training(help: str) -> Any:
    return typer.Option(help=help, rich_help_panel=_TRAINING)


def large(help: str, *names: str) -> Any:
    """Return an option for graphs that are trained on in parts."""
    return typer.Option(*names, help=help, rich_help_panel="Large graphs")


Model = Annotated[
    str,
    _network("GCN, GraphSAGE, GAT, GCNII, SharedGCN, SharedGCNII, or MLP, which sees no graph."),
]
Hidden = Annotated[int, _network("Width of the hidden layers.")]
Layers = Annotated[int, _network("Number of layers; GCNII adds one before and one behind.")]
Arguments = Annotated[
    list[str] | None,
    _network(
        "Further argument of the network as name=value, such as dropout=0.5 or heads=4; "
        "may be repeated.",
        "--argument",
    ),
]
Epochs = Annotated[int, _training("Most epochs, each one pass over the whole graph.")]
Patience = Annotated[int, _training("Epochs without a better one before stopping.")]
Rate = Annotated[float, _training("Learning rate of Adam.")]
Decay = Annotated[float, _training("Weight decay.")]
InputDropout = Annotated[float, _training("Share of features set to zero; 0.5 helps on Cora.")]
Int8 = Annotated[bool, _training("Train with int8 weights simulated; it ends with such.")]
Int8Features = Annotated[bool, _training("Simulate int8 features too.")]
Protect = Annotated[
    str | None,
    _training(
        "LOW,HIGH: probabilities with which features of nodes with the fewest and the most "
        "in-edges are left out of --int8-features."
    ),
]
Select = Annotated[
    str, _training("What makes an epoch the best on the validation nodes: loss, or metric.")
]
TERMS = "abkd, stride, r2, cka, fitnet, attention-transfer, lsp, gsp, g-crd, mustad"
Seed = Annotated[int, _training("Seed of initialisation and dropout.")]
Out = Annotated[
    Path, typer.Option("--out", help="Directory for the run; an interrupted one goes on there.")
]
BatchSize = Annotated[
    int | None,
    large(
        "Train on sampled parts of the graph: nodes answered for in a step, over all "
        "processes together. Without it every step is the whole graph.",
    ),
]
NumNeighbors = Annotated[
    str | None,
    large(
        "With --batch-size: in-neighbours to sample of each node, a number for each layer, "
        "nearest first: 15,10. -1 takes all. 10 for each layer if not given.",
    ),
]
EvalBatchSize = Annotated[
    int | None,
    large(
        "With --batch-size: nodes at a time in evaluation, each with all its in-neighbours, "
        "where the whole graph does not fit into memory. The answers are the same.",
    ),
]
CheckpointSteps = Annotated[
    int | None,
    large(
        "With --batch-size: steps between checkpoints, where epochs are long.",
    ),
]
