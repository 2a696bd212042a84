"""Workers: the processes that train together, as `torchrun` starts them.

    torchrun --nproc-per-node 2 -m graphstill distill … --batch-size 1024

Every process holds the whole graph and the whole network and takes its share of each step's seeds;
gradients are averaged by torch's `DistributedDataParallel`, so that parameters stay the same in
all. The first process alone decides (validation, when to stop, what is on disk) and writes; the
others get what it found.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from .errors import TrainingError

Found = TypeVar("Found")


@dataclass(frozen=True)
class Workers:
    """The processes that train together; one, where nobody started others.

    Attributes:
        rank: Number of this one.
        world: How many there are.
    """

    rank: int = 0
    world: int = 1

    @classmethod
    def here(cls) -> "Workers":
        """Return who takes part, as `torch.distributed` was set up."""
        if not (dist.is_available() and dist.is_initialized()):
            return cls()
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def first(self) -> bool:
        """Whether this process decides and writes."""
        return self.rank == 0

    def from_first(self, find: Callable[[], Found]) -> Found:
        """Return what a function finds in the first process; its errors are raised in all."""
        if self.world == 1:
            return find()
        found: list[Any] = [None, None]
        if self.first:
            try:
                found[0] = find()
            except Exception as error:
                found[1] = error
        dist.broadcast_object_list(found, src=0)
        if found[1] is not None:
            raise found[1]
        return found[0]

    def in_turn(self, make: Callable[[], Found]) -> Found:
        """Return what a function makes here, the first process having made it before the others.

        For what fills a cache that all of them read.
        """
        if self.world == 1:
            return make()
        made = [make()] if self.first else []
        dist.barrier()
        return made[0] if made else make()

    def together(self, distiller: torch.nn.Module, batch: object) -> torch.nn.Module:
        """Wrap what is trained, so that gradients are averaged; parameters are the first's.

        Args:
            distiller: What is trained.
            batch: One of its batches; shows whether a parameter takes no part, which torch wants to
                know beforehand.
        """
        if self.world == 1:
            return distiller
        distiller.eval()(batch)["total"].backward()
        idle = any(p.grad is None for p in distiller.parameters())
        distiller.zero_grad()
        return DistributedDataParallel(distiller, find_unused_parameters=idle)

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean over all processes."""
        if self.world == 1:
            return values
        total = values.clone()
        dist.all_reduce(total)
        return total / self.world

    def agree(self, module: torch.nn.Module) -> None:
        """Give all processes the first's parameters and buffers."""
        if self.world > 1:
            for tensor in module.state_dict().values():
                dist.broadcast(tensor, src=0)


@contextmanager
def joined() -> Iterator[Workers]:
    """Join the processes that `torchrun` started, for as long as the block runs; or stay alone.

    Raises:
        TrainingError: If they do not find each other.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ or dist.is_initialized():
        yield Workers.here()
        return
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    except (ValueError, RuntimeError) as error:
        raise TrainingError(f"the processes do not find each other: {error}") from error
    try:
        yield Workers.here()
    finally:
        dist.destroy_process_group()
