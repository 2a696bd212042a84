"""Exact answers of a network for some nodes at a time, each with all in-neighbours in reach."""

from collections.abc import Iterator

import torch
from torch import Tensor

from .batches import BatchSettings, sampled_part
from .data import Observed
from .distiller import Role
from .losses import Pass
from .models import Architecture
from .sampler import NeighborSampler
from .taps import Taps


def answers(
    role: Role, data: Observed, nodes: Tensor, hops: int, batch_size: int
) -> Iterator[tuple[Tensor, Pass]]:
    """Yield nodes and what the network answers for them; memory is that of one batch.

    The answers are those of the whole graph, if the network sees no further than `hops` and its
    layers look at in-neighbours alone.

    Args:
        role: The network and its taps; it is put into evaluation mode.
        data: The whole graph.
        nodes: Whom to answer for, [n], all different.
        hops: How far the network sees: its number of graph layers.
        batch_size: Nodes at a time.
    """
    sampler = NeighborSampler(data.plain[1], [-1] * hops)
    watched = Taps(role.module, role.taps)
    role.module.eval()
    device = next((p.device for p in role.module.parameters()), torch.device("cpu"))
    for some in nodes.split(batch_size):
        part = sampled_part(data, sampler.sample(some, 0)).to(device)
        with torch.no_grad(), watched:
            logits = role.feed(role.module, part)
            layers = watched.outputs()
        yield some, Pass(logits, layers).first(some.numel())


def reach(architecture: Architecture) -> int:
    """Return how many hops a network sees."""
    return 0 if architecture.name == "MLP" else architecture.num_layers


def for_network(batches: BatchSettings | None, architecture: Architecture) -> BatchSettings | None:
    """Return settings of batches as a network needs them; one without a graph needs no neighbours.

    Raises:
        ValueError: If they do not have a number of neighbours for each layer.
    """
    hops = reach(architecture)
    if batches is None or batches.hops == hops:
        return batches
    if hops == 0:
        return batches.model_copy(update={"num_neighbors": ()})
    raise ValueError(
        f"num_neighbors has {batches.hops} numbers, {architecture.name} has {hops} layers: give "
        "one for each, the first for the seeds' own neighbours"
    )
