"""Data sets by name: the embedded `digits`, PyG's graphs, relational ones, your own.

A root folder may be read-only: see `raw_files`. Sets of several graphs are in `graph_sets`, those
of the Open Graph Benchmark in `ogb`.
"""

import importlib
import os
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch_geometric import transforms
from torch_geometric.data import Data, HeteroData, InMemoryDataset
from torch_geometric.datasets import Amazon, Coauthor, Planetoid
from torch_geometric.utils import to_undirected

from . import graph_sets, ogb
from .data import NodeData
from .errors import DataError
from .heterogeneous import HGB, HeteroNodeData, hgb, mag
from .raw_files import cache_folder, copy_changed, find_raw
from .relational import ENTITIES, RelationalData, entities
from .splits import Split, per_class_name

# name: PyG's class, PyG's name, folder
_PYG: dict[str, tuple[Callable[..., InMemoryDataset], str, str]] = {
    "cora": (Planetoid, "Cora", "planetoid"),
    "citeseer": (Planetoid, "CiteSeer", "planetoid"),
    "pubmed": (Planetoid, "PubMed", "planetoid"),
    "amazon-computers": (Amazon, "Computers", "amazon"),
    "amazon-photo": (Amazon, "Photo", "amazon"),
    "coauthor-cs": (Coauthor, "CS", "coauthor"),
    "coauthor-physics": (Coauthor, "Physics", "coauthor"),
}

# the citation sets are trained on rows that sum to 1 since GCN's own paper; the others as they are
_TRANSFORMS = {"planetoid": transforms.NormalizeFeatures()}

# those that bring their split, by a function of the root folder
_WITH_SPLIT: dict[str, Callable[[str | os.PathLike[str] | None], NodeData]] = {
    "ppi": graph_sets.ppi,
    "citation-multilabel": graph_sets.citation_multilabel,
    "twitch": graph_sets.twitch,
    "ogbn-arxiv": ogb.arxiv,
    "ogbn-products": ogb.products,
    "ogbn-mag": mag,
}

NAMES = ("digits", *_PYG, *ENTITIES, *HGB, *_WITH_SPLIT)


def load(name: str, root: str | os.PathLike[str] | None = None, *, seed: int = 0) -> NodeData:
    """Load a data set.

    Args:
        name: One of `NAMES`, or "package.module:function" for a function of yours that returns a
            PyG `Data` object with x, edge_index, y and, if you like, edge_type, train_mask,
            val_mask and test_mask, or a `HeteroData` object of which one type has y, or
            a `NodeData`.
        root: Folder that holds PyG's raw files, for machines without a network: either the data
            set's own folder, or one that has it as <name>/raw or <family>/<name>/raw. It is only
            read. Without it PyG downloads into the cache.
        seed: Seed of the split, where the data set does not bring one.

    Raises:
        DataError: If there is no such data set, or its files are not where they should be.
    """
    if name == "digits":
        return digits(seed=seed)
    if ":" in name:
        return _own(name, seed)
    if name in ENTITIES:
        return entities(name, _raw(name, "entities", root), seed=seed)
    if name in HGB:
        return hgb(name, _raw(HGB[name][0].lower(), "hgb", root), cache_folder() / "hgb", seed=seed)
    if name in _WITH_SPLIT:
        return _WITH_SPLIT[name](root)
    if name not in _PYG:
        raise DataError(
            f"no data set {name!r}; known are {', '.join(NAMES)}, and package.module:function"
        )
    return _from_pyg(name, root, seed)


def digits(*, neighbors: int = 8, seed: int = 0) -> NodeData:
    """Load scikit-learn's 1,797 handwritten digits as a nearest-neighbour graph.

    Nodes are 8 × 8 images, features their 64 grey values scaled to 0-1, classes the ten digits;
    each image is joined with its nearest neighbours in Euclidean distance, in both directions. Part
    of the UCI "Optical Recognition of Handwritten Digits" set; nothing is downloaded.

    Args:
        neighbors: Nearest neighbours of each image.
        seed: Seed of the split: 20 training and 30 validation images of each digit.
    """
    from sklearn.datasets import load_digits
    from sklearn.neighbors import kneighbors_graph

    images: Any = load_digits()
    pixels = images.data / 16.0
    adjacency = kneighbors_graph(pixels, neighbors, mode="connectivity").tocoo()
    pairs = torch.stack(
        [torch.from_numpy(adjacency.col).long(), torch.from_numpy(adjacency.row).long()]
    )
    y = torch.from_numpy(images.target).long()
    return NodeData(
        "digits",
        torch.from_numpy(pixels).float(),
        to_undirected(pairs, num_nodes=len(y)),
        y,
        Split.per_class(y, train=20, val=30, seed=seed),
        per_class_name(20, 30, seed),
        class_names=[str(label) for label in images.target_names],
        feature_transform="grey values divided by 16",
    )


def _from_pyg(name: str, root: str | os.PathLike[str] | None, seed: int) -> NodeData:
    dataset, label, family = _PYG[name]
    folder = cache_folder() / family
    target = folder / label
    if root is not None and copy_changed(find_raw(Path(root), label, family), target / "raw"):
        shutil.rmtree(target / "processed", ignore_errors=True)
    with warnings.catch_warnings():
        # scipy's and torch's remarks on how PyG's files were written
        warnings.simplefilter("ignore")
        try:
            data = dataset(str(folder), label, transform=_TRANSFORMS.get(family))[0]
        except Exception as error:
            raise DataError(
                f"PyG cannot load {label}: {error}; on a machine without a network give a root "
                f"folder with {family}/{label}/raw"
            ) from error
    assert isinstance(data, Data)
    transform = _TRANSFORMS.get(family)
    described = None if transform is None else f"torch_geometric.transforms.{transform!r}"
    return NodeData.from_pyg(data, name=name, feature_transform=described, seed=seed)


def _raw(label: str, family: str, root: str | os.PathLike[str] | None) -> Path:
    """Return the folder of raw files under a root, or where they would be in the cache."""
    return (
        cache_folder() / family / label / "raw"
        if root is None
        else find_raw(Path(root), label, family)
    )


def _own(name: str, seed: int) -> NodeData:
    module_name, _, function_name = name.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        data = getattr(importlib.import_module(module_name), function_name)()
    except (ImportError, AttributeError) as error:
        raise DataError(f"cannot load {name}: {error}") from error
    finally:
        sys.path.remove(os.getcwd())
    if isinstance(data, NodeData):
        return data
    if isinstance(data, HeteroData):
        return HeteroNodeData.from_pyg(data, name=name, seed=seed)
    if not isinstance(data, Data):
        raise DataError(f"{name} must return a PyG Data object, it returned {type(data).__name__}")
    if data.get("edge_type") is not None:
        return RelationalData.from_pyg(data, name=name, seed=seed)
    return NodeData.from_pyg(data, name=name, seed=seed)
