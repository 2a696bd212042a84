"""Graphs of one type of nodes and many relations, and R-GCN's entity sets, AIFB and MUTAG.

Where nodes have no features, their ids take the place: R-GCN's first layer, or an embedding, then
has a row for each node. Nodes, relations and classes are numbered in the order of their names, so
that a trained table means the same nodes everywhere. (PyG's `Entities` numbers them in the order of
Python sets, which is another one in every process.)
"""

import csv
import gzip
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from ..kernels import RelationalGraph
from .data import NodeData, check_features, split_of
from .errors import DataError
from .graphs import are_ids
from .labels import HIDDEN
from .observed import Observed
from .splits import Split

# share of the training nodes that validates, where a data set brings none for it
VALIDATION = 0.2

# name: column of the nodes, column of their classes
ENTITIES = {"aifb": ("person", "label_affiliation"), "mutag": ("bond", "label_mutagenic")}


@dataclass(frozen=True, eq=False)
class RelationalData(NodeData):
    """Nodes with classes, and edges of many relations; what is not said here is `NodeData`'s.

    Attributes:
        x: Features, [N, F] float32, or the ids of all nodes in order, [N] int64.
        edge_type: Relation of each edge, [E] int64.
    """

    edge_type: Tensor = field(kw_only=True)

    def _check_features(self) -> None:
        if not are_ids(self.x):
            check_features(self.x)
        elif not torch.equal(self.x, torch.arange(len(self.x))):
            raise DataError(
                "x must be features [N, F] float32, or the ids of all nodes, 0, 1, … N - 1"
            )

    @classmethod
    def from_pyg(cls, data: Data, *, name: str = "data", seed: int = 0, **about: Any) -> NodeData:
        """Take over a PyG `Data` object with `edge_type`; without `x`, nodes have ids.

        Raises:
            DataError: As in `NodeData.from_pyg`.
        """
        missing = [key for key in ("edge_index", "y", "edge_type") if data.get(key) is None]
        if missing:
            raise DataError(f"{name} has no {', '.join(missing)}")
        assert data.edge_index is not None
        assert isinstance(data.y, Tensor)
        x = torch.arange(len(data.y)) if data.x is None else data.x.float()
        split, split_name = split_of(data, data.y, seed)
        return cls(
            name, x, data.edge_index, data.y, split, split_name, edge_type=data.edge_type, **about
        )

    @property
    def num_features(self) -> int:
        """Width of the features F; the number of nodes where they have ids."""
        return self.num_nodes if are_ids(self.x) else self.x.shape[1]

    @cached_property
    def num_relations(self) -> int:
        """Number of relations R."""
        return int(self.edge_type.max()) + 1

    @cached_property
    def graph(self) -> RelationalGraph:
        """The graph, sorted once by relation and destination."""
        return RelationalGraph.from_edge_index(
            self.edge_index, self.edge_type, self.num_relations, self.num_nodes
        )

    def observed(self, *, sparse: bool = False) -> Observed:
        """Return what training may see; nodes without a class count as another kind of thing."""
        asked = (self.y != HIDDEN).nonzero().squeeze(1)
        seen = super().observed(sparse=sparse)
        return seen if len(asked) == self.num_nodes else replace(seen, asked=asked)

    @property
    def facts(self) -> dict[str, Any]:
        """The number of relations, and whether nodes have ids for features."""
        return {"num_relations": self.num_relations, "featureless": are_ids(self.x)}


def entities(name: str, raw: Path, *, seed: int = 0) -> RelationalData:
    """Read AIFB or MUTAG.

    Every triple is an edge and, with a relation of its own, one back; relation 2 r + 1 is the
    inverse of 2 r. Test nodes are the data set's; a fifth of its training nodes validates.

    Args:
        name: A key of `ENTITIES`.
        raw: Folder of the files `<name>_stripped.nt.gz`, `trainingSet.tsv` and `testSet.tsv`.
        seed: Seed of the draw of validation nodes.

    Raises:
        DataError: If a file is missing or is not what it should be.

    References:
        Ristoski et al., "A Collection of Benchmark Datasets for Systematic Evaluations of Machine
        Learning on the Semantic Web", ISWC 2016
    """
    try:
        source, relation, target = _triples(raw / f"{name}_stripped.nt.gz")
        labelled = {
            part: _labels(raw / f"{part}Set.tsv", *ENTITIES[name]) for part in ("training", "test")
        }
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"cannot read {name} from {raw}: {error}") from error
    nodes, relations = _numbered([*source, *target]), _numbered(relation)
    classes = _numbered([label for part in labelled.values() for label in part.values()])
    if strangers := [node for part in labelled.values() for node in part if node not in nodes]:
        raise DataError(f"{strangers[0]} has a class in {name} but is in none of its triples")
    y = torch.full((len(nodes),), HIDDEN)
    for part in labelled.values():
        for node, label in part.items():
            y[nodes[node]] = classes[label]
    ends = torch.tensor([[nodes[name] for name in source], [nodes[name] for name in target]])
    kinds = 2 * torch.tensor([relations[name] for name in relation])
    train, test = (
        torch.tensor([nodes[node] for node in part]).sort().values for part in labelled.values()
    )
    split = Split.with_test(test, train, 1 - VALIDATION, VALIDATION, seed)
    return RelationalData(
        name,
        torch.arange(len(nodes)),
        torch.cat([ends, ends.flip(0)], dim=1),
        y,
        split,
        own_test_name(1 - VALIDATION, VALIDATION, seed),
        class_names=list(classes),
        edge_type=torch.cat([kinds, kinds + 1]),
    )


def own_test_name(train: float, val: float, seed: int) -> str:
    """Return the name of a split by `Split.with_test`."""
    return f"own test nodes, {train:g} / {val:g} of the others at random, seed {seed}"


def _triples(path: Path) -> list[tuple[str, ...]]:
    """Return subjects, predicates and objects of an N-Triples file."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        lines = {line.strip() for line in file if line.strip() and not line.startswith("#")}
    parts = [line.removesuffix(".").rstrip().split(" ", 2) for line in sorted(lines)]
    return list(zip(*parts, strict=True))


def _labels(path: Path, node: str, label: str) -> dict[str, str]:
    with path.open(newline="", encoding="utf-8") as file:
        return {f"<{row[node]}>": row[label] for row in csv.DictReader(file, delimiter="\t")}


def _numbered(names: list[str] | tuple[str, ...]) -> dict[str, int]:
    return {name: number for number, name in enumerate(sorted(set(names)))}
