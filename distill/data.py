"""Node classification data: features, a graph, labels, and a split that keeps test labels apart."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor
from torch_geometric.data import Data

from ..kernels import CSRGraph
from .errors import DataError
from .graphs import Features, Graph, edges_of
from .sparse import SparseFeatures, worth_it

HIDDEN = -1


@dataclass(frozen=True, eq=False)
class Split:
    """Disjoint sets of nodes, each a 1-D tensor of node ids: to fit on, to select by, to report."""

    train: Tensor
    val: Tensor
    test: Tensor

    def __post_init__(self) -> None:
        together = torch.cat([self.train, self.val, self.test])
        if together.unique().numel() != together.numel():
            raise DataError("train, val and test overlap: a node may be in one of them only")
        if self.train.numel() == 0 or self.val.numel() == 0:
            raise DataError("train and val must not be empty: fitting and selection need both")

    @classmethod
    def per_class(cls, y: Tensor, train: int, val: int, seed: int) -> "Split":
        """Draw a number of nodes of each class for train and val, the rest being test.

        The protocol of Shchur et al., "Pitfalls of Graph Neural Network Evaluation", 2018.
        """
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
        count = round(others.numel() * train / (train + val))
        fitted, selected = others[order[:count]], others[order[count:]]
        return cls(fitted.sort().values, selected.sort().values, test)


@dataclass(frozen=True, eq=False)
class Observed:
    """What training may see: the labels of all other nodes are gone, not merely unused.

    Attributes:
        x: Features, [N, F] float32, or what the data has in their place.
        graph: The graph.
        y: Labels, [N] int64; `HIDDEN` outside train and val.
        train: Nodes to fit on.
        val: Nodes to select by.
        num_classes: Number of classes C.
        n_id: Id of each node in the whole graph, [N], where this is a part of one.
        asked: Nodes that the task asks about, where the others are of another kind; None means all.
    """

    x: Features
    graph: Graph
    y: Tensor
    train: Tensor
    val: Tensor
    num_classes: int
    n_id: Tensor | None = None
    asked: Tensor | None = None

    @property
    def edges(self) -> CSRGraph:
        """The edges among the nodes that are classified, without their relations."""
        return edges_of(self.graph)

    @classmethod
    def of_batch(
        cls,
        x: Tensor,
        edge_index: Tensor | CSRGraph,
        y: Tensor,
        train: Tensor,
        num_classes: int,
        n_id: Tensor | None = None,
    ) -> "Observed":
        """Return what losses see of a part of a graph, with the labels of `train` alone.

        Raises:
            DataError: If a label is not a class.
        """
        labels = y[train]
        if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
            raise DataError(
                f"labels must be in [0, {num_classes}), got {int(labels.min())} to "
                f"{int(labels.max())}"
            )
        hidden = torch.full_like(y, HIDDEN)
        hidden[train] = labels
        if not isinstance(edge_index, CSRGraph):
            edge_index = CSRGraph.from_edge_index(edge_index, x.shape[0])
        return cls(x, edge_index, hidden, train, train[:0], num_classes, n_id)


@dataclass(frozen=True, eq=False)
class NodeData:
    """A graph whose nodes have features and classes.

    Attributes:
        name: What it is called.
        x: Features, [N, F] float32, finite.
        edge_index: Sources and destinations, [2, E] int64.
        y: Class of each node, [N] int64, in [0, C); `HIDDEN` where it has none.
        split: Which nodes to fit on, to select by and to report.
        split_name: How the split came about; runs that belong together must agree in it.
        class_names: Names of the classes, where they have any.
        feature_transform: What was done to raw features.
    """

    name: str
    x: Tensor
    edge_index: Tensor
    y: Tensor
    split: Split
    split_name: str = "own"
    class_names: Sequence[str] | None = None
    feature_transform: str | None = None

    def __post_init__(self) -> None:
        self._check_features()
        _check_labels(self.y, self.num_nodes)

    def _check_features(self) -> None:
        check_features(self.x)

    @classmethod
    def from_pyg(
        cls,
        data: Data,
        *,
        name: str = "data",
        class_names: Sequence[str] | None = None,
        feature_transform: str | None = None,
        seed: int = 0,
    ) -> "NodeData":
        """Take over a PyG `Data` object.

        Its train_mask, val_mask and test_mask make the split; without them 20 nodes of each class
        are drawn for training and 30 for validation.

        Raises:
            DataError: If x, edge_index or y is missing, or something does not fit.
        """
        missing = [key for key in ("x", "edge_index", "y") if getattr(data, key, None) is None]
        if missing:
            raise DataError(f"{name} has no {', '.join(missing)}")
        x, edge_index, y = data.x, data.edge_index, data.y
        assert x is not None
        assert edge_index is not None
        assert isinstance(y, Tensor)
        y = y.squeeze(-1) if y.dim() == 2 and y.shape[1] == 1 else y
        _check_labels(y, len(x))
        split, split_name = split_of(data, y, seed)
        return cls(
            name, x.float(), edge_index, y, split, split_name, class_names, feature_transform
        )

    @property
    def num_nodes(self) -> int:
        """Number of nodes N."""
        return self.x.shape[0]

    @property
    def num_features(self) -> int:
        """Width of the features F."""
        return self.x.shape[1]

    @cached_property
    def num_classes(self) -> int:
        """Number of classes C."""
        return int(self.y.max()) + 1

    @cached_property
    def graph(self) -> Graph:
        """The graph, sorted once."""
        return CSRGraph.from_edge_index(self.edge_index, self.num_nodes)

    @property
    def in_degree(self) -> Tensor:
        """Number of edges that end in each node, [N]."""
        return self.edge_index[1].bincount(minlength=self.num_nodes)

    @property
    def facts(self) -> dict[str, Any]:
        """What networks must know of this data beside widths, by the names of their arguments."""
        return {}

    @cached_property
    def sparse_x(self) -> SparseFeatures | None:
        """The features without their zeros, where that is faster."""
        return SparseFeatures.of(self.x) if worth_it(self.x) else None

    def observed(self, *, sparse: bool = False) -> Observed:
        """Return what training may see.

        Args:
            sparse: Whether features that are mostly zeros may come as `SparseFeatures`.
        """
        y = torch.full_like(self.y, HIDDEN)
        for nodes in (self.split.train, self.split.val):
            y[nodes] = self.y[nodes]
        x = (self.sparse_x if sparse else None) or self.x
        return Observed(x, self.graph, y, self.split.train, self.split.val, self.num_classes)

    def with_split(self, split: Split, name: str) -> Self:
        """Return the same data under another split."""
        return replace(self, split=split, split_name=name)


def check_features(x: Tensor, of: str = "node") -> None:
    """Refuse features that are not [N, F] float32 and finite.

    Args:
        x: The features.
        of: What has them, for the message.

    Raises:
        DataError: If they are not.
    """
    if x.dtype != torch.float32 or x.dim() != 2:
        raise DataError(f"x must be [N, F] float32, got {list(x.shape)} {x.dtype}")
    if not bool(x.isfinite().all()):
        node = int((~x.isfinite()).any(dim=1).nonzero()[0])
        raise DataError(f"the features of {of} {node} hold NaN or infinity")


def _check_labels(y: Tensor, num_nodes: int) -> None:
    if tuple(y.shape) != (num_nodes,) or y.dtype != torch.int64:
        raise DataError(
            f"y must be [{num_nodes}] int64, got {list(y.shape)} {y.dtype}; "
            "several labels per node are not covered yet"
        )


def split_of(data: Data, y: Tensor, seed: int) -> tuple[Split, str]:
    """Return the split that the masks of a PyG object make, or one drawn by class, and its name."""
    masks = [getattr(data, f"{part}_mask", None) for part in ("train", "val", "test")]
    if all(mask is None for mask in masks):
        return Split.per_class(y, train=20, val=30, seed=seed), per_class_name(20, 30, seed)
    given = [mask for mask in masks if isinstance(mask, Tensor) and mask.dim() == 1]
    if len(given) < len(masks):
        raise DataError("give all of train_mask, val_mask and test_mask, each [N], or none of them")
    return Split(*(mask.nonzero().squeeze(1) for mask in given)), "given masks"


def per_class_name(train: int, val: int, seed: int) -> str:
    """Return the name of a split drawn by `Split.per_class`."""
    return f"{train} + {val} per class, seed {seed}"
