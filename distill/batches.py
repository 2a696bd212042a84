"""Batches: which nodes are answered for in which step, and what training sees around them.

What a batch holds depends on the seed, the epoch, the step and the process, and on nothing that
happened before: training goes on anywhere without a state of the sampler to restore.
"""

from collections.abc import Iterator
from typing import Literal, Protocol

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor
from torch_geometric.data import Data

from ..kernels import CSRGraph
from .data import Observed
from .errors import DataError
from .sampler import NeighborSampler, Sample
from .sparse import take_rows


class BatchSettings(BaseModel):
    """How a large graph is trained on in parts.

    Attributes:
        batch_size: Seeds in a step, over all processes together. An epoch's steps are made as even
            as possible, so that most have some fewer.
        num_neighbors: In-edges to sample in each hop, first hop first; -1 takes all. One number for
            each layer of the network.
        replace: Whether edges are drawn with replacement.
        teacher: "stored": the teacher answers once, on the whole graph; "live": in every step, on
            what the student sees.
        eval_batch_size: Nodes at a time in evaluation, each with all in-neighbours; None evaluates
            on the whole graph at once. Both give the same answers.
        checkpoint_steps: Steps between checkpoints inside an epoch; None writes none there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_size: int = Field(default=1024, gt=0)
    num_neighbors: tuple[int, ...] = (15, 10)
    replace: bool = False
    teacher: Literal["stored", "live"] = "stored"
    eval_batch_size: int | None = Field(default=None, gt=0)
    checkpoint_steps: int | None = Field(default=None, gt=0)

    @field_validator("num_neighbors")
    @classmethod
    def _positive_or_all(cls, counts: tuple[int, ...]) -> tuple[int, ...]:
        if any(count < -1 or count == 0 for count in counts):
            raise ValueError(f"each must be positive, or -1 for all, got {list(counts)}")
        return counts

    @property
    def hops(self) -> int:
        """How far from its seeds a batch reaches."""
        return len(self.num_neighbors)


class Seeds:
    """An order of nodes for each epoch, cut into steps, and those into the processes' shares.

    Args:
        nodes: The nodes, [n].
        batch_size: How many in a step, at most.
        seed: Seed of the orders.
        shuffle: Whether each epoch has an order of its own; without, all have that of `nodes`.
        world: Number of processes.

    Raises:
        DataError: If there are fewer nodes, or fewer in a step, than processes.
    """

    def __init__(
        self, nodes: Tensor, batch_size: int, seed: int, *, shuffle: bool = True, world: int = 1
    ) -> None:
        if min(batch_size, nodes.numel()) < world:
            raise DataError(
                f"{world} processes need at least as many seeds in a step, got a batch size of "
                f"{batch_size} over {nodes.numel()} nodes"
            )
        self.nodes, self.world, self._seed, self._shuffle = nodes, world, seed, shuffle
        self.steps = min(-(-nodes.numel() // batch_size), nodes.numel() // world)
        self._epoch, self._order = -1, torch.arange(nodes.numel())

    def at(self, epoch: int, step: int, rank: int = 0) -> Tensor:
        """Return the positions in `nodes` of a process's seeds in a step, [s]."""
        if self._shuffle and epoch != self._epoch:
            generator = torch.Generator().manual_seed(mixed(self._seed, epoch))
            self._order = torch.randperm(self.nodes.numel(), generator=generator)
            self._epoch = epoch
        return self._order.tensor_split(self.steps)[step].tensor_split(self.world)[rank]

    def share(self, epoch: int, step: int, rank: int) -> float:
        """Return a process's part of a step's seeds, in (0, 1]."""
        whole = self._order.tensor_split(self.steps)[step].numel()
        return self.at(epoch, step, rank).numel() / whole


def mixed(*numbers: int) -> int:
    """Return a seed that depends on all of some numbers; near ones give unrelated seeds."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


class Feed(Protocol):
    """What an epoch of training consists of."""

    steps: int

    def batch(self, epoch: int, step: int) -> Observed:
        """Return what training sees in a step."""
        ...

    def scale(self, epoch: int, step: int) -> float:
        """Return what this process's loss is multiplied by, for a mean over processes."""
        ...


class WholeGraph:
    """One step in each epoch: everything."""

    steps = 1

    def __init__(self, data: Observed) -> None:
        self._data = data

    def batch(self, epoch: int, step: int) -> Observed:
        """Return the data."""
        return self._data

    def scale(self, epoch: int, step: int) -> float:
        """Return 1."""
        return 1.0


class SampledFeed:
    """Some seeds in each step, with sampled surroundings; torch's generator is set anew for each.

    Args:
        data: What training may see.
        seeds: The nodes to go through in an epoch.
        settings: How.
        seed: Seed of orders, samples and dropout.
        rank: Number of this process.
        world: Number of processes.
    """

    def __init__(
        self,
        data: Observed,
        seeds: Tensor,
        settings: BatchSettings,
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self._data, self._seed, self._rank = data, seed, rank
        self._seeds = Seeds(seeds, settings.batch_size, seed, world=world)
        self._sampler = NeighborSampler(
            data.plain[1], settings.num_neighbors, replace=settings.replace
        )
        self._trains = torch.zeros(data.y.numel(), dtype=torch.bool)
        self._trains[data.train] = True
        self._labelled = data.train.numel() / seeds.numel()
        self.steps = self._seeds.steps

    def batch(self, epoch: int, step: int) -> Observed:
        """Return a part of the graph, its seeds first."""
        nodes = self._seeds.nodes[self._seeds.at(epoch, step, self._rank)]
        drawn = mixed(self._seed, epoch, step, self._rank)
        torch.manual_seed(drawn)  # dropout, and what terms draw
        part = sampled_part(self._data, self._sampler.sample(nodes, drawn))
        train = self._trains[nodes].nonzero().squeeze(1)
        return part.training_on(train, self._labelled * nodes.numel())

    def scale(self, epoch: int, step: int) -> float:
        """Return how many seeds this process has, relative to the mean over processes."""
        return self._seeds.share(epoch, step, self._rank) * self._seeds.world


def sampled_part(data: Observed, sample: Sample) -> Observed:
    """Return what there is to see of a sample; no node trains.

    Its `n_id` are ids in `data`, which may be a part itself: there a teacher's answers are kept.
    """
    nodes = sample.n_id
    return Observed(
        take_rows(data.plain[0], nodes),
        sample.graph,
        data.y[nodes],
        nodes[:0],
        nodes[:0],
        data.num_classes,
        nodes,
        sample.num_seeds,
    )


class NeighborLoader:
    """Sampled batches of a PyG graph, for loops of one's own; a pass over it is an epoch.

        for batch in NeighborLoader(data, [15, 10], input_nodes=data.train_mask, batch_size=1024):
            losses = distiller(batch)

    What PyG's class of that name does for one type of nodes, with its names, and without the
    libraries that it needs. A batch has the attributes of the graph for its nodes and edges, and

        n_id        id of each node in the whole graph; the seeds are the first
        batch_size  number of seeds
        input_id    place of each seed in `input_nodes`
        e_id        number of each edge in the whole graph
        graph       the edges as a CSRGraph, for accelerated modules: with it, GCN normalises by the
                    degrees of the whole graph

    Args:
        data: The graph, with `edge_index`.
        num_neighbors: As in `NeighborSampler`.
        input_nodes: The seeds, as ids or as a mask; None takes all nodes.
        batch_size: Seeds in a batch, at most.
        replace: As in `NeighborSampler`.
        shuffle: Whether each epoch has an order of its own.
        seed: Seed; an epoch's batches depend on it and on `epoch`.

    Attributes:
        epoch: The epoch that the next pass is; set it to go on somewhere.
    """

    def __init__(
        self,
        data: Data,
        num_neighbors: list[int],
        *,
        input_nodes: Tensor | None = None,
        batch_size: int = 1,
        replace: bool = False,
        shuffle: bool = False,
        seed: int = 0,
    ) -> None:
        if data.edge_index is None or data.num_nodes is None:
            raise DataError("a graph to sample from needs edge_index, and x or num_nodes")
        self._data, self._seed, self.epoch = data, seed, 0
        self._graph = CSRGraph.from_edge_index(data.edge_index, data.num_nodes)
        self._sampler = NeighborSampler(self._graph, num_neighbors, replace=replace)
        nodes = torch.arange(data.num_nodes) if input_nodes is None else input_nodes
        nodes = nodes.nonzero().squeeze(1) if nodes.dtype == torch.bool else nodes
        self._seeds = Seeds(nodes, batch_size, seed, shuffle=shuffle)

    def __len__(self) -> int:
        return self._seeds.steps

    def __iter__(self) -> Iterator[Data]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        for step in range(len(self)):
            at = self._seeds.at(epoch, step)
            drawn = mixed(self._seed, epoch, step, 0)
            yield self._batch(self._sampler.sample(self._seeds.nodes[at], drawn), at)

    def _batch(self, sample: Sample, at: Tensor) -> Data:
        edges = self._graph.perm[sample.e_id]
        batch = Data()
        for name, value in self._data.items():
            if name == "edge_index":
                batch.edge_index = sample.edge_index
            elif self._data.is_node_attr(name):
                batch[name] = value[sample.n_id]
            else:
                batch[name] = value[edges] if self._data.is_edge_attr(name) else value
        batch.num_nodes, batch.batch_size = sample.n_id.numel(), sample.num_seeds
        batch.n_id, batch.e_id, batch.input_id = sample.n_id, edges, at
        batch.graph = sample.graph
        return batch
