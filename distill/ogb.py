"""Node sets of the Open Graph Benchmark, from the files that it publishes.

    ogbn_arxiv/     raw/edge.csv.gz, node-feat.csv.gz, node-label.csv.gz, num-node-list.csv.gz,
                    split/time/{train,valid,test}.csv.gz
    ogbn_products/  the same, split/sales_ranking
    ogbn_mag/       raw/num-node-dict.csv.gz, triplet-type-list.csv.gz,
                    raw/relations/<head>___<relation>___<tail>/edge.csv.gz,
                    raw/node-feat/paper/node-feat.csv.gz, raw/node-label/paper/node-label.csv.gz,
                    split/time/paper/{train,valid,test}.csv.gz

Without a root folder they are downloaded into the cache. The package `ogb` is not needed: it brings
pandas, asks questions on the terminal and keeps what it read as a pickle.

Reference: Hu et al., "Open Graph Benchmark", NeurIPS 2020, https://arxiv.org/abs/2005.00687
"""

import gzip
import os
import shutil
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import HeteroData, download_url, extract_zip
from torch_geometric.utils import to_undirected

from .data import NodeData
from .errors import DataError
from .raw_files import cache_folder, find_raw
from .splits import Split

Root = str | os.PathLike[str] | None

_SERVER = "http://snap.stanford.edu/ogb/data/nodeproppred"
_PARTS = ("train", "valid", "test")
_SUBSTITUTE = "extra/gpt_preds.csv.gz"
_ARXIV_CLASSES = 40


def arxiv(root: Root = None) -> NodeData:
    """Load ogbn-arxiv: 169,343 papers, 40 subject areas, split by year; edges in both directions.

    Where its word vectors (128) are not among the files but `extra/gpt_preds.csv.gz` is, features
    are the areas that a language model named from title and abstract: column c holds 1 / rank of
    area c among the at most five that it named. Scores are then not comparable with published ones,
    and `feature_transform` says so.

    Raises:
        DataError: If a file is missing or damaged.
    """
    folder = _folder(root, "arxiv")
    y = _numbers(folder / "raw/node-label.csv.gz").squeeze(1)
    if (folder / "raw/node-feat.csv.gz").is_file() or not (folder / _SUBSTITUTE).is_file():
        x, transform = _features(folder / "raw/node-feat.csv.gz"), None
    else:
        x = _named_areas(folder / _SUBSTITUTE, y.numel())
        transform = (
            "substitute for ogbn-arxiv's word vectors: 1 / rank of each subject area among those "
            "that a language model named (TAPE's predictions); not comparable with published scores"
        )
    return _node_data("ogbn-arxiv", folder, x, y, "time", transform)


def products(root: Root = None) -> NodeData:
    """Load ogbn-products: 2,449,029 products, 47 categories, split by sales; undirected.

    Raises:
        DataError: If a file is missing or damaged.
    """
    folder = _folder(root, "products")
    y = _numbers(folder / "raw/node-label.csv.gz").squeeze(1)
    x = _features(folder / "raw/node-feat.csv.gz")
    return _node_data("ogbn-products", folder, x, y, "sales_ranking", None)


def mag(root: Root = None) -> HeteroData:
    """Load ogbn-mag: papers, authors, institutions and fields of study; which venue has a paper?

    Returns:
        For each type of nodes `num_nodes`, and x where there are features; edge_index of each
        relation as published, one way; of papers y and train_mask, val_mask, test_mask.

    Raises:
        DataError: If a file is missing or damaged.
    """
    folder = _folder(root, "mag")
    data, raw = HeteroData(), folder / "raw"
    kinds, sizes = _lines(raw / "num-node-dict.csv.gz")
    for kind, size in zip(kinds, sizes, strict=True):
        data[kind].num_nodes = int(size)
        features = raw / "node-feat" / kind / "node-feat.csv.gz"
        if features.is_file():
            data[kind].x = _features(features)
    for head, relation, tail in _lines(raw / "triplet-type-list.csv.gz"):
        edges = _numbers(raw / "relations" / f"{head}___{relation}___{tail}" / "edge.csv.gz")
        data[head, relation, tail].edge_index = edges.T.contiguous()
    papers = data["paper"]
    papers.y = _numbers(raw / "node-label/paper/node-label.csv.gz").squeeze(1)
    for name, nodes in zip(
        ("train", "val", "test"), _split(folder / "split/time/paper"), strict=True
    ):
        papers[f"{name}_mask"] = torch.zeros(papers.y.numel(), dtype=torch.bool)
        papers[f"{name}_mask"][nodes] = True
    return data


def _node_data(
    name: str, folder: Path, x: Tensor, y: Tensor, split: str, transform: str | None
) -> NodeData:
    if len(x) != len(y):
        raise DataError(f"{name} has features of {len(x)} nodes and labels of {len(y)}")
    edges = _numbers(folder / "raw/edge.csv.gz").T
    return NodeData(
        name,
        x,
        to_undirected(edges, num_nodes=len(y)),
        y,
        Split(*_split(folder / "split" / split)),
        f"official, by {split.replace('_', ' ')}",
        feature_transform=transform,
    )


def _named_areas(path: Path, num_nodes: int) -> Tensor:
    x = torch.zeros(num_nodes, _ARXIV_CLASSES)
    for node, areas in enumerate(_lines(path)):
        for rank, area in enumerate(areas, 1):
            x[node, int(area)] = 1 / rank
    return x


def _split(folder: Path) -> list[Tensor]:
    return [_numbers(folder / f"{part}.csv.gz").squeeze(1) for part in _PARTS]


def _features(path: Path) -> Tensor:
    return torch.from_numpy(_read(path, np.float32))


def _numbers(path: Path) -> Tensor:
    return torch.from_numpy(_read(path, np.int64))


def _read(path: Path, dtype: type[np.generic]) -> np.ndarray:
    try:
        return np.loadtxt(path, dtype, delimiter=",", ndmin=2)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _lines(path: Path) -> list[list[str]]:
    try:
        with gzip.open(path, "rt") as file:
            return [line.split(",") if line else [] for line in file.read().splitlines()]
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _folder(root: Root, name: str) -> Path:
    if root is not None:
        return find_raw(Path(root), f"ogbn_{name}").parent
    folder = cache_folder() / f"ogbn_{name}"
    if not folder.is_dir():
        _download(name, folder)
    return folder


def _download(name: str, folder: Path) -> None:
    unpacked = folder.with_name(f"{folder.name}.partial")
    try:
        archive = download_url(f"{_SERVER}/{name}.zip", str(unpacked))
        extract_zip(archive, str(unpacked))
    except Exception as error:
        raise DataError(
            f"cannot download {_SERVER}/{name}.zip: {error}; unpack it elsewhere and give a root "
            f"folder with {folder.name}/raw"
        ) from error
    (unpacked / name).replace(folder)
    shutil.rmtree(unpacked)
