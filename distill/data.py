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
from .graphs import Graph
from .labels import HIDDEN, Metric, as_labels, check_labels, fitting_metric
from .observed import Observed
from .parts import positions, subgraph
from .sparse import SparseFeatures, worth_it
from .splits import Split, per_class_name


@dataclass(frozen=True, eq=False)
class NodeData:
    """A graph, or several, whose nodes have features and classes.

    Several graphs are one here, without edges between them (`join`). Training sees those that hold
    training nodes; it is validated on those that hold validation nodes.

    Attributes:
        name: What it is called.
        x: Features, [N, F] float32, finite.
        edge_index: Sources and destinations, [2, E] int64.
        y: Class of each node, [N] int64, in [0, C); or which of C labels it has, [N, C], 0 and 1.
            Nodes in none of the split's sets may have any.
        split: Which nodes to fit on, to select by and to report.
        split_name: How the split came about; runs that belong together must agree in it.
        class_names: Names of the classes, where they have any.
        feature_transform: What was done to raw features.
        metric: What answers are measured by; None means accuracy, or micro-F1 of several labels.
        unseen: Test nodes that training does not see, nor their edges; see `with_unseen`.
        batch: Number of each node's graph, [N], where there are several.
        graph_names: Names of the graphs; those to test on are then reported one by one too.
    """

    name: str
    x: Tensor
    edge_index: Tensor
    y: Tensor
    split: Split
    split_name: str = "own"
    class_names: Sequence[str] | None = None
    feature_transform: str | None = None
    metric: Metric | None = None
    unseen: Tensor | None = None
    batch: Tensor | None = None
    graph_names: Sequence[str] | None = None

    def __post_init__(self) -> None:
        self._check_features()
        object.__setattr__(self, "y", as_labels(self.y))
        _check_shape(self.y, self.num_nodes)
        _check_split(self.split, self.num_nodes)
        for nodes in (self.split.train, self.split.val, self.split.test):
            check_labels(self.y[nodes], self.num_classes)
        fitting_metric(self.metric, self.y, self.num_classes)
        if self.y.dim() == 2 and self.y.shape[1] != self.num_classes:
            raise DataError(
                f"{self.y.shape[1]} labels need as many class_names, got {self.num_classes}"
            )
        if self.batch is not None and self.batch.shape != (self.num_nodes,):
            raise DataError(f"batch must be [{self.num_nodes}], got {list(self.batch.shape)}")

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
        metric: Metric | None = None,
        seed: int = 0,
    ) -> "NodeData":
        """Take over a PyG `Data` object.

        Its train_mask, val_mask and test_mask make the split; without them 20 nodes of each class
        are drawn for training and 30 for validation. A y of [N, C] says which labels a node has.

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
        y = as_labels(y)
        _check_shape(y, len(x))
        split, split_name = split_of(data, y, seed)
        return cls(
            name,
            x.float(),
            edge_index,
            y,
            split,
            split_name,
            class_names,
            feature_transform,
            metric,
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
        """Number of classes, or of labels, C."""
        if self.class_names is not None:
            return len(self.class_names)
        return self.y.shape[1] if self.y.dim() == 2 else int(self.y.max()) + 1

    @property
    def metric_name(self) -> Metric:
        """What answers are measured by."""
        return fitting_metric(self.metric, self.y, self.num_classes)

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
        """Return what training may see: graphs that hold training nodes, without unseen nodes.

        Args:
            sparse: Whether features that are mostly zeros may come as `SparseFeatures`.
        """
        split = self.split
        fitted, selected = (self._around(nodes) for nodes in (split.train, split.val))
        if torch.equal(fitted, selected):
            return self._part(fitted, split.train, split.val, sparse)
        validation = self._part(selected, split.train[:0], split.val, sparse)
        within = split.val[torch.isin(split.val, fitted)]
        return replace(self._part(fitted, split.train, within, sparse), validation=validation)

    def with_split(self, split: Split, name: str) -> Self:
        """Return the same data under another split, with nothing unseen."""
        return replace(self, split=split, split_name=name, unseen=None)

    def with_unseen(self, share: float, seed: int) -> Self:
        """Return the same data with a share of the test nodes, and their edges, kept from training.

        The inductive setting of Zhang et al., "Graph-less Neural Networks", ICLR 2022, section 5.3,
        https://arxiv.org/abs/2110.08727: nodes that training saw are answered in the graph that it
        saw, the others in the whole graph.

        Args:
            share: Share of the test nodes, 0.2 in the paper.
            seed: Seed of which.

        Raises:
            DataError: If one of the two parts of the test nodes would be empty, or whole graphs
                are unseen already.
        """
        if self.batch is not None:
            raise DataError(f"{self.name} has graphs to test on; training sees none of them")
        if type(self) is not NodeData:
            raise DataError("nodes can be kept from training where edges are of one type alone")
        test = self.split.test
        count = round(share * test.numel())
        if not 0 < count < test.numel():
            raise DataError(f"{share} of {test.numel()} test nodes leaves none on one side")
        order = torch.randperm(test.numel(), generator=torch.Generator().manual_seed(seed))
        name = f"{self.split_name}, {share:g} of test unseen, seed {seed}"
        return replace(self, unseen=test[order[:count]].sort().values, split_name=name)

    def _around(self, nodes: Tensor) -> Tensor:
        """Return the nodes of the graphs that some nodes are in, without those that are unseen."""
        visible = torch.ones(self.num_nodes, dtype=torch.bool)
        if self.batch is not None:
            visible = torch.isin(self.batch, self.batch[nodes].unique())
        if self.unseen is not None:
            visible[self.unseen] = False
        return visible.nonzero().squeeze(1)

    def _part(self, nodes: Tensor, train: Tensor, val: Tensor, sparse: bool) -> Observed:
        """Return the subgraph of some nodes with the labels of train and val alone."""
        y = torch.full_like(self.y, HIDDEN)
        for labelled in (train, val):
            y[labelled] = self.y[labelled]
        if nodes.numel() == self.num_nodes:
            x = (self.sparse_x if sparse else None) or self.x
            return Observed(x, self.graph, y, train, val, self.num_classes, metric=self.metric)
        place, x = positions(nodes, self.num_nodes), self.x[nodes]
        return Observed(
            SparseFeatures.of(x) if sparse and worth_it(x) else x,
            CSRGraph.from_edge_index(subgraph(self.edge_index, place), nodes.numel()),
            y[nodes],
            place[train],
            place[val],
            self.num_classes,
            nodes,
            metric=self.metric,
        )


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


def _check_shape(y: Tensor, num_nodes: int) -> None:
    several = y.dim() == 2 and y.is_floating_point()
    if y.shape[:1] != (num_nodes,) or not (several or (y.dim() == 1 and y.dtype == torch.int64)):
        raise DataError(
            f"y must be classes [{num_nodes}] int64, or several labels per node [{num_nodes}, C] "
            f"of 0 and 1, got {list(y.shape)} {y.dtype}"
        )


def _check_split(split: Split, num_nodes: int) -> None:
    for name, nodes in (("train", split.train), ("val", split.val), ("test", split.test)):
        low, high = int(nodes.min()), int(nodes.max())
        if not 0 <= low <= high < num_nodes:
            raise DataError(f"{name} must hold ids in [0, {num_nodes}), got {low} to {high}")


def split_of(data: Data, y: Tensor, seed: int) -> tuple[Split, str]:
    """Return the split that the masks of a PyG object make, or one drawn by class, and its name."""
    masks = [getattr(data, f"{part}_mask", None) for part in ("train", "val", "test")]
    if all(mask is None for mask in masks):
        return Split.per_class(y, train=20, val=30, seed=seed), per_class_name(20, 30, seed)
    given = [mask for mask in masks if isinstance(mask, Tensor) and mask.dim() == 1]
    if len(given) < len(masks):
        raise DataError("give all of train_mask, val_mask and test_mask, each [N], or none of them")
    return Split(*(mask.nonzero().squeeze(1) for mask in given)), "given masks"
