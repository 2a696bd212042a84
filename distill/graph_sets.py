"""Data sets of several graphs: PPI, the multi-label citation graphs, the Twitch graphs.

Of the last two there is no download: they are read where the root folder has them.

    citation_multilabel/raw/   acmv9.mat, citationv1.mat, dblpv7.mat: network, attrb, group
    twitch/raw/<language>/     musae_<language>_target.csv, _edges.csv, _features.json
    ppi/raw/                   {train,valid,test}_{graph.json,feats,labels,graph_id.npy}, as PyG has
"""

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import torch
from torch_geometric.data import Data
from torch_geometric.datasets import PPI
from torch_geometric.utils import to_undirected

from .data import NodeData
from .errors import DataError
from .many_graphs import join
from .raw_files import cache_folder, copy_changed, find_raw, required

Root = str | os.PathLike[str] | None

CITATIONS = ("acmv9", "citationv1", "dblpv7")
LANGUAGES = ("DE", "ENGB", "ES", "FR", "PTBR", "RU", "TW")
_TWITCH_FEATURES = 3170


def ppi(root: Root = None) -> NodeData:
    """Load PPI: 24 graphs of proteins in tissues, 50 features, 121 labels, by graph 20 / 2 / 2.

    PyG's loader, which drops self loops and downloads where no root is given.

    References:
        Hamilton et al., "Inductive Representation Learning on Large Graphs", NeurIPS 2017,
        https://arxiv.org/abs/1706.02216

    Raises:
        DataError: If PyG cannot load it.
    """
    folder = cache_folder() / "ppi"
    if root is not None and copy_changed(find_raw(Path(root), "ppi"), folder / "raw"):
        shutil.rmtree(folder / "processed", ignore_errors=True)
    try:
        parts = [_graphs(PPI(str(folder), split)) for split in ("train", "val", "test")]
    except Exception as error:
        raise DataError(
            f"PyG cannot load PPI: {error}; on a machine without a network give a root folder "
            "with ppi/raw"
        ) from error
    return join(*parts, name="ppi")


def _graphs(dataset: PPI) -> list[Data]:
    return [graph for graph in dataset if isinstance(graph, Data)]


def citation_multilabel(root: Root) -> NodeData:
    """Load three citation graphs with the same words and areas, several areas per paper possible.

    Trained on ACMv9, validated on Citationv1, tested on DBLPv7. Rows of word counts are scaled to
    sum to 1.

    References:
        Shen et al., "Adversarial Deep Network Embedding for Cross-Network Node Classification",
        AAAI 2020, https://arxiv.org/abs/2002.07366

    Raises:
        DataError: If the files are not there.
    """
    folder = required(root, "citation_multilabel")
    train, val, test = (_citation(folder / f"{name}.mat") for name in CITATIONS)
    return join(
        [train],
        [val],
        [test],
        name="citation-multilabel",
        feature_transform="word counts divided by their sum",
        graph_names=CITATIONS,
    )


def _citation(path: Path) -> Data:
    import scipy.io
    import scipy.sparse

    try:
        file = scipy.io.loadmat(path)
        edges, counts, areas = (
            scipy.sparse.coo_matrix(file[key]) for key in ("network", "attrb", "group")
        )
    except Exception as error:  # scipy has its own for every kind of damage
        raise DataError(f"{path} is not a citation graph: {error}") from error
    x = torch.from_numpy(counts.toarray()).float()
    return Data(
        x=x / x.sum(dim=1, keepdim=True).clamp(min=1),
        edge_index=torch.from_numpy(np.stack([edges.row, edges.col]).astype(np.int64)),
        y=torch.from_numpy(areas.toarray()).float(),
    )


def twitch(root: Root) -> NodeData:
    """Load seven graphs of streamers, one for each language: does one use explicit language?

    Trained on DE, validated on ENGB, tested on the others, as in Wu et al., "Handling Distribution
    Shifts on Graphs", ICLR 2022, https://arxiv.org/abs/2202.02466; measured by ROC AUC. Features
    are what a streamer plays and likes, 3,170 of which each is there or not.

    References:
        Rozemberczki et al., "Multi-Scale Attributed Node Embedding", Journal of Complex Networks
        2021, https://arxiv.org/abs/1909.13021

    Raises:
        DataError: If the files are not there.
    """
    folder = required(root, "twitch")
    graphs = [_twitch(folder / language / f"musae_{language}_") for language in LANGUAGES]
    return join(
        graphs[:1],
        graphs[1:2],
        graphs[2:],
        name="twitch",
        class_names=("not mature", "mature"),
        metric="roc-auc",
        graph_names=LANGUAGES,
    )


def _twitch(start: Path) -> Data:
    try:
        with Path(f"{start}target.csv").open(newline="") as file:
            # a node may be listed twice, with the same label
            mature = {int(row["new_id"]): row["mature"] == "True" for row in csv.DictReader(file)}
        edges = np.loadtxt(f"{start}edges.csv", delimiter=",", skiprows=1, dtype=np.int64, ndmin=2)
        features = json.loads(Path(f"{start}features.json").read_text())
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{start}… is not a Twitch graph: {error}") from error
    x = torch.zeros(len(mature), _TWITCH_FEATURES)
    for node, there in features.items():
        x[int(node), torch.tensor(there, dtype=torch.int64)] = 1
    y = torch.tensor([int(mature[node]) for node in range(len(mature))])
    return Data(x=x, edge_index=to_undirected(torch.from_numpy(edges.T), num_nodes=len(y)), y=y)
