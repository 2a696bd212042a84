"""The graphs that benchmarks run on, as edge lists of numpy arrays.

Real graphs are read from a folder of public data; generated ones have the sizes of well-known
graphs and say so in their names.
"""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np


def arxiv(data: Path) -> dict[str, np.ndarray]:
    """Return ogbn-arxiv, 169,343 nodes, made symmetric: 2.3 million edges."""
    with gzip.open(data / "ogbn_arxiv" / "raw" / "edge.csv.gz", "rt") as file:
        edges = np.loadtxt(file, delimiter=",", dtype=np.int64).T
    return _symmetric(edges, 169_343)


def computers(data: Path) -> dict[str, np.ndarray]:
    """Return Amazon-Computers, 13,752 nodes, 491,722 edges."""
    with np.load(
        data / "amazon" / "Computers" / "raw" / "amazon_electronics_computers.npz"
    ) as file:
        indptr, sources = file["adj_indptr"], file["adj_indices"]
    targets = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    return _symmetric(np.stack([sources, targets]).astype(np.int64), len(indptr) - 1)


def aifb(data: Path) -> dict[str, np.ndarray]:
    """Return AIFB, 8,285 nodes, 58,086 edges of 90 relations, inverse ones included."""
    path = data / "entities" / "aifb" / "raw" / "aifb_stripped.nt.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        triples = [line.rstrip(" .\n").split(" ", 2) for line in file if line.strip()]
    source, kind, target = (np.array(part) for part in zip(*triples, strict=True))
    names, nodes = np.unique(np.concatenate([source, target]), return_inverse=True)
    relations, kinds = np.unique(kind, return_inverse=True)
    sources, targets = np.split(nodes, 2)
    return {
        "edge_index": np.stack([np.r_[sources, targets], np.r_[targets, sources]]),
        "edge_type": np.r_[kinds, kinds + len(relations)],
        "num_nodes": np.array(len(names)),
    }


def am(data: Path) -> dict[str, np.ndarray]:
    """Return a draft of AM: a million nodes, 12 relations and their inverses."""
    with gzip.open(data / "am_draft" / "raw" / "triples.int.csv.gz", "rt") as file:
        triples = np.loadtxt(file, delimiter=",", dtype=np.int64)
    source, kind, target = triples.T
    relations = int(kind.max()) + 1
    return {
        "edge_index": np.stack([np.r_[source, target], np.r_[target, source]]),
        "edge_type": np.r_[kind, kind + relations],
        "num_nodes": np.array(int(triples[:, [0, 2]].max()) + 1),
    }


def mag_shaped(data: Path) -> dict[str, np.ndarray]:
    """Return a generated graph with ogbn-mag's relations at an eighth of its size.

    242,468 nodes of four types, 5.3 million edges of four relations and their inverses, targets
    drawn from a power law.
    """
    del data
    rng = np.random.default_rng(0)
    sizes = np.array([736_389, 1_134_649, 8_740, 59_965]) // 8  # paper, author, institution, field
    start = np.r_[0, np.cumsum(sizes)]
    relations = [(1, 2, 1_043_998), (1, 0, 7_145_660), (0, 0, 5_416_271), (0, 3, 7_505_078)]
    edges, kinds = [], []
    for kind, (source, target, count) in enumerate(relations):
        some = start[source] + rng.integers(0, sizes[source], count // 8)
        # rank r is drawn with a probability that falls like r^(-1/2)
        popular = start[target] + (sizes[target] * rng.random(count // 8) ** 2).astype(np.int64)
        edges += [np.stack([some, popular]), np.stack([popular, some])]
        kinds += [np.full(count // 8, kind), np.full(count // 8, kind + len(relations))]
    return {
        "edge_index": np.concatenate(edges, axis=1),
        "edge_type": np.concatenate(kinds),
        "num_nodes": np.array(start[-1]),
    }


def _symmetric(edges: np.ndarray, num_nodes: int) -> dict[str, np.ndarray]:
    both = np.concatenate([edges, edges[::-1]], axis=1)
    pairs = np.unique(both[0] * num_nodes + both[1])
    edge_index = np.stack([pairs // num_nodes, pairs % num_nodes])
    return {"edge_index": edge_index, "num_nodes": np.array(num_nodes)}


GRAPHS: dict[str, Callable[[Path], dict[str, np.ndarray]]] = {
    "arxiv": arxiv,
    "computers": computers,
    "aifb": aifb,
    "am": am,
    "mag-shaped": mag_shaped,
}
