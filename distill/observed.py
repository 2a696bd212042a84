"""Observed: what training may see of a graph, or of a part of one."""

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..kernels import CSRGraph, RelationalGraph
from .errors import DataError
from .graphs import Features, Graph, HeteroGraph, edges_of
from .labels import HIDDEN, Metric, check_labels
from .sparse import SparseFeatures, take_rows


@dataclass(frozen=True, eq=False)
class Observed:
    """What training may see: the labels of all other nodes are gone, not merely unused.

    Attributes:
        x: Features, [N, F] float32, or what the data has in their place.
        graph: The graph.
        y: Classes [N] int64, or labels [N, C] float32; `HIDDEN` outside train and val.
        train: Nodes to fit on.
        val: Nodes to select by.
        num_classes: Number of classes C.
        n_id: Id of each node in the graph of which this is a part, [N]: of what training sees in
            the whole graph, of a sampled batch in what training sees.
        num_seeds: Where this is a sample: the first so many nodes are answered for, the others are
            there to be looked at. None: all are answered for.
        train_size: What sums over training nodes are divided by, where that is not their number:
            in a sample the number that it has on average, so that no epoch depends on how training
            nodes fall into batches.
        asked: Nodes that the task asks about, where the others are of another kind; None means all.
        metric: What validation measures; None means the usual metric of such labels.
        validation: What to validate on, where that is another graph.
    """

    x: Features
    graph: Graph
    y: Tensor
    train: Tensor
    val: Tensor
    num_classes: int
    n_id: Tensor | None = None
    num_seeds: int | None = None
    train_size: float | None = None
    asked: Tensor | None = None
    metric: Metric | None = None
    validation: "Observed | None" = None

    @property
    def edges(self) -> CSRGraph:
        """The edges among the nodes that are classified, without their relations."""
        return edges_of(self.graph)

    @property
    def plain(self) -> tuple[Tensor | SparseFeatures, CSRGraph]:
        """Features and graph, of which parts can be taken.

        Raises:
            DataError: If there are several types of nodes or edges.
        """
        if isinstance(self.graph, CSRGraph) and not isinstance(self.x, dict):
            return self.x, self.graph
        raise DataError(
            "parts are taken of graphs with one type of nodes and edges, got "
            f"{type(self.graph).__name__}; train on the whole graph"
        )

    @classmethod
    def of_batch(
        cls,
        x: Tensor,
        edge_index: Tensor | CSRGraph,
        y: Tensor,
        train: Tensor,
        num_classes: int,
        n_id: Tensor | None = None,
        num_seeds: int | None = None,
    ) -> "Observed":
        """Return what losses see of a part of a graph, with the labels of `train` alone.

        Raises:
            DataError: If a label is not a class.
        """
        check_labels(y[train], num_classes)
        hidden = torch.full_like(y, HIDDEN)
        hidden[train] = y[train]
        if not isinstance(edge_index, CSRGraph):
            edge_index = CSRGraph.from_edge_index(edge_index, x.shape[0])
        return cls(x, edge_index, hidden, train, train[:0], num_classes, n_id, num_seeds)

    def to(self, device: torch.device | str) -> "Observed":
        """Return the same on a device; itself, with what its graph has prepared, if it is there."""
        if self.train.device == torch.device(device):
            return self
        return replace(self, **{name: _moved(v, device) for name, v in vars(self).items()})

    def training_on(self, train: Tensor, train_size: float | None = None) -> "Observed":
        """Return the same with other training nodes."""
        return replace(self, train=train, train_size=train_size)

    def of_seeds(self) -> "Observed":
        """Return the seeds of a sample, and the edges among them."""
        count, (x, graph) = self.num_seeds, self.plain
        assert count is not None
        rowptr, col = graph.rowptr[: count + 1], graph.col[: graph.rowptr[count]]
        own = col < count
        rowptr = F.pad(own.cumsum(0), (1, 0))[rowptr]
        n_id = None if self.n_id is None else self.n_id[:count]
        return replace(
            self,
            x=take_rows(x, torch.arange(count, device=col.device)),
            graph=CSRGraph.from_csr(rowptr, col[own]),
            y=self.y[:count],
            n_id=n_id,
            num_seeds=None,
        )

    def of_seed_edges(self) -> "Observed":
        """Return the sample with the seeds' in-edges alone: other nodes have not all of theirs."""
        assert self.num_seeds is not None
        _, graph = self.plain
        last = graph.rowptr[self.num_seeds]
        rowptr, col = graph.rowptr.clamp(max=last), graph.col[:last]
        return replace(self, graph=CSRGraph.from_csr(rowptr, col, graph.num_src))


def _moved(value: Any, device: torch.device | str) -> Any:
    if isinstance(value, Observed):
        return value.to(device)
    if isinstance(value, HeteroGraph):
        edges = {kind: edge_index.to(device) for kind, edge_index in value.items()}
        return HeteroGraph(edges, value.sizes, value.target)
    if isinstance(value, dict):
        return {name: part.to(device) for name, part in value.items()}
    known = isinstance(value, Tensor | CSRGraph | RelationalGraph | SparseFeatures)
    return value.to(device) if known else value
