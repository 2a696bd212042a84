"""Graphs with several types of nodes, of which one is classified; HGB's and ogbn-mag among them.

Features and edges are dictionaries by type, as in PyG's `HeteroData`. A type without features has
the ids of its nodes in their place, and networks an embedding for it.
"""

import os
import shutil
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.datasets import HGBDataset
from torch_geometric.utils import to_undirected

from . import ogb
from .data import NodeData, check_features, split_of
from .errors import DataError
from .graphs import EdgeType, HeteroGraph, are_ids
from .observed import Observed
from .relational import VALIDATION, own_test_name
from .sparse import SparseFeatures, worth_it
from .splits import Split

# name: PyG's name, type of the nodes that are classified
HGB = {"hgb-dblp": ("DBLP", "author"), "hgb-imdb": ("IMDB", "movie")}

# features that may come without their zeros are this wide: wider than what a network makes of them
WIDE = 1024


@dataclass(frozen=True, eq=False)
class HeteroNodeData(NodeData):
    """Nodes of several types, one of them with classes; what is not said here is `NodeData`'s.

    Attributes:
        x: By type of nodes: features, [N, F] float32, or the ids of all nodes in order, [N] int64.
        edge_index: By type of edges: sources and destinations, [2, E] int64.
        target: Type of the nodes that are classified; labels and split are theirs.
    """

    x: dict[str, Tensor]  # type: ignore[reportIncompatibleVariableOverride] # by type, for a Tensor
    edge_index: dict[EdgeType, Tensor]  # type: ignore[reportIncompatibleVariableOverride] # same
    target: str = field(kw_only=True)

    def _check_features(self) -> None:
        if self.target not in self.x:
            raise DataError(f"node types are {', '.join(self.x)}; no {self.target!r}")
        for kind, x in self.x.items():
            if not are_ids(x):
                check_features(x, kind)
            elif not torch.equal(x, torch.arange(len(x))):
                raise DataError(
                    f"x of {kind} must be features, or the ids of all nodes, 0 to N - 1"
                )

    @classmethod
    def from_pyg(  # type: ignore[reportIncompatibleMethodOverride]
        cls,
        data: HeteroData,
        *,
        name: str = "data",
        target: str | None = None,
        seed: int = 0,
        **about: Any,
    ) -> "HeteroNodeData":
        """Take over a PyG `HeteroData` object; a type without `x` gets ids.

        Args:
            data: The object.
            name: What it is called.
            target: Type of the nodes that are classified; the only one with `y` if not given.
            seed: Seed of the split, where the target has no masks.
            about: Further attributes.

        Raises:
            DataError: If it is not clear what is classified, or as in `NodeData.from_pyg`.
        """
        labelled = [kind for kind in data.node_types if "y" in data[kind]]
        if target is None and len(labelled) != 1:
            raise DataError(f"{name}: say which type is classified; with labels: {labelled}")
        target = target or labelled[0]
        nodes = data[target]
        split, split_name = split_of(nodes, nodes.y, seed)
        return cls(
            name,
            {kind: _features(data, kind) for kind in data.node_types},
            {kind: data[kind].edge_index for kind in data.edge_types},
            nodes.y,
            split,
            split_name,
            target=target,
            **about,
        )

    def with_reverses(self) -> "HeteroNodeData":
        """Return the same data with every type of edges also backwards, as `rev_` and its name.

        Edges within a type of nodes become undirected instead.
        """
        edges: dict[EdgeType, Tensor] = {}
        for (source, relation, target), edge_index in self.edge_index.items():
            if source == target:
                count = len(self.x[source])
                edges[source, relation, target] = to_undirected(edge_index, num_nodes=count)
            else:
                edges[source, relation, target] = edge_index
                edges[target, f"rev_{relation}", source] = edge_index.flip(0)
        return replace(self, edge_index=edges)

    @property
    def num_nodes(self) -> int:
        """Number of nodes that are of the classified type."""
        return len(self.x[self.target])

    @property
    def num_features(self) -> int:
        """Width of the features of the classified type; its number of nodes where it has ids."""
        x = self.x[self.target]
        return len(x) if are_ids(x) else x.shape[1]

    @cached_property
    def graph(self) -> HeteroGraph:
        """The graph, each type of edges sorted once."""
        return HeteroGraph(
            self.edge_index, {kind: len(x) for kind, x in self.x.items()}, self.target
        )

    def observed(self, *, sparse: bool = False) -> Observed:
        """Return what training may see.

        Args:
            sparse: Whether wide features that are mostly zeros may come as `SparseFeatures`.
        """
        seen = super().observed()
        return replace(seen, x={**self.x, **self.sparse_parts}) if sparse else seen

    @cached_property
    def sparse_parts(self) -> dict[str, SparseFeatures]:
        """Features of at least `WIDE` channels without their zeros, where that is faster."""
        wide = {k: x for k, x in self.x.items() if not are_ids(x) and x.shape[1] >= WIDE}
        return {kind: SparseFeatures.of(x) for kind, x in wide.items() if worth_it(x)}

    @property
    def in_degree(self) -> Tensor:
        """Number of edges of any type that end in each node of the classified type, [N]."""
        ends = [e[1] for kind, e in self.edge_index.items() if kind[2] == self.target]
        none = torch.zeros(0, dtype=torch.int64)
        return torch.cat([none, *ends]).bincount(minlength=self.num_nodes)

    @property
    def facts(self) -> dict[str, Any]:
        """Types of nodes and edges, widths of features, and how many nodes have none."""
        return {
            "target": self.target,
            "widths": {kind: x.shape[1] for kind, x in self.x.items() if not are_ids(x)},
            "num_nodes": {kind: len(x) for kind, x in self.x.items() if are_ids(x)},
            "edge_types": [list(kind) for kind in self.edge_index],
        }


def hgb(name: str, raw: Path, folder: Path, *, seed: int = 0) -> HeteroNodeData:
    """Load a graph of the Heterogeneous Graph Benchmark.

    Test nodes are those whose labels the benchmark shows; a fifth of its training nodes validates.

    Args:
        name: A key of `HGB`.
        raw: Folder with the files of the set, or with them in `<NAME>.zip`.
        folder: Where PyG works; raw files are copied there.
        seed: Seed of the draw of validation nodes.

    Raises:
        DataError: If files are missing or not what they should be.

    References:
        Lv et al., "Are we really making much progress? Revisiting, benchmarking, and refining
        heterogeneous graph neural networks", KDD 2021, https://arxiv.org/abs/2112.14936
    """
    label, target = HGB[name]
    try:
        _unpack(label, raw, folder / label.lower() / "raw")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = HGBDataset(str(folder), label)[0]
    except Exception as error:
        raise DataError(f"PyG cannot load {label} from {raw}: {error}") from error
    assert isinstance(data, HeteroData)
    nodes = data[target]
    train, test = (nodes[f"{part}_mask"].nonzero().squeeze(1) for part in ("train", "test"))
    for part in ("train", "test"):
        del nodes[f"{part}_mask"]
    split = Split.with_test(test, train, 1 - VALIDATION, VALIDATION, seed)
    parts = {kind: _features(data, kind) for kind in data.node_types}
    edges: Mapping[EdgeType, Tensor] = {k: data[k].edge_index for k in data.edge_types}
    split_name = own_test_name(1 - VALIDATION, VALIDATION, seed)
    return HeteroNodeData(name, parts, dict(edges), nodes.y, split, split_name, target=target)


def mag(root: str | os.PathLike[str] | None = None) -> HeteroNodeData:
    """Load ogbn-mag with every relation also backwards and undirected citations: 7 relations.

    Args:
        root: As in `load`.

    Raises:
        DataError: If a file is missing or damaged.
    """
    return HeteroNodeData.from_pyg(ogb.mag(root), name="ogbn-mag").with_reverses()


def _features(data: HeteroData, kind: str) -> Tensor:
    x = data[kind].get("x")
    if x is not None:
        return x.float()
    count = data[kind].num_nodes
    if count is None:
        raise DataError(f"nodes of type {kind} have neither x nor num_nodes")
    return torch.arange(count)


def _unpack(label: str, raw: Path, target: Path) -> None:
    """Put the files of a set where PyG looks for them, unless they are there."""
    if (target / label / "node.dat").is_file():
        return
    partial = target / f"{label}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    archive = raw / f"{label}.zip"
    if archive.is_file():
        with zipfile.ZipFile(archive) as file:
            file.extractall(partial)
    else:
        shutil.copytree(raw / label, partial, dirs_exist_ok=True)
    inner = partial / label if (partial / label).is_dir() else partial
    inner.replace(target / label)
    shutil.rmtree(partial, ignore_errors=True)
