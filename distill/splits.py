"""Split: which nodes to fit on, to select by and to report, and how they are drawn."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import DataError
from .labels import HIDDEN


@dataclass(frozen=True, eq=False)
class Split:
    """Disjoint sets of nodes, each a 1-D tensor of node ids: to fit on, to select by, to report."""

    train: Tensor
    val: Tensor
    test: Tensor

    def __post_init__(self) -> None:
        parts = {"train": self.train, "val": self.val, "test": self.test}
        for name, nodes in parts.items():
            if nodes.dim() != 1 or nodes.dtype != torch.int64:
                raise DataError(
                    f"{name} must be node ids [n] int64, got {list(nodes.shape)} {nodes.dtype}; "
                    "of a mask take mask.nonzero().squeeze(1)"
                )
            if nodes.numel() == 0:
                raise DataError(
                    f"{name} must not be empty: one needs nodes to fit on, to select by, to report"
                )
            if nodes.unique().numel() != nodes.numel():
                raise DataError(f"a node is in {name} twice")
        together = torch.cat(list(parts.values()))
        if together.unique().numel() != together.numel():
            raise DataError("train, val and test overlap: a node may be in one of them only")

    @classmethod
    def per_class(cls, y: Tensor, train: int, val: int, seed: int) -> "Split":
        """Draw a number of nodes of each class for train and val, the rest being test.

        The protocol of Shchur et al., "Pitfalls of Graph Neural Network Evaluation", 2018.
        """
        if y.dim() == 2:
            raise DataError(
                "nodes with several labels cannot be drawn by class; give masks, or draw fractions"
            )
        generator = torch.Generator().manual_seed(seed)
        parts: tuple[list[Tensor], ...] = ([], [], [])
        for label in y[y != HIDDEN].unique().tolist():
            nodes = (y == label).nonzero().squeeze(1)
            nodes = nodes[torch.randperm(nodes.numel(), generator=generator)]
            if nodes.numel() < train + val + 1:
                raise DataError(
                    f"class {label} has {nodes.numel()} nodes, {train} + {val} for training and "
                    "validation leave none to test on"
                )
            for part, piece in zip(parts, nodes.tensor_split([train, train + val]), strict=True):
                part.append(piece)
        return cls(*(torch.cat(part).sort().values for part in parts))

    @classmethod
    def fractions(cls, num_nodes: int, train: float, val: float, seed: int) -> "Split":
        """Draw fractions of all nodes for train and val, the rest being test."""
        if not 0 < train + val < 1:
            raise DataError(f"train and val must leave nodes to test on, got {train} + {val}")
        order = torch.randperm(num_nodes, generator=torch.Generator().manual_seed(seed))
        ends = [round(train * num_nodes), round((train + val) * num_nodes)]
        return cls(*(part.sort().values for part in order.tensor_split(ends)))

    def among(self, nodes: Tensor) -> "Split":
        """Return the split whose numbers count the given nodes, as ids of those nodes."""
        return Split(nodes[self.train], nodes[self.val], nodes[self.test])

    @classmethod
    def with_test(
        cls, test: Tensor, others: Tensor, train: float, val: float, seed: int
    ) -> "Split":
        """Divide nodes into train and val in this ratio, beside test nodes that are given."""
        order = torch.randperm(others.numel(), generator=torch.Generator().manual_seed(seed))
        parts = others[order].tensor_split([round(others.numel() * train / (train + val))])
        fitted, selected = (part.sort().values for part in parts)
        return cls(fitted, selected, test)


def per_class_name(train: int, val: int, seed: int) -> str:
    """Return the name of a split drawn by `Split.per_class`."""
    return f"{train} + {val} per class, seed {seed}"
