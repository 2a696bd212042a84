"""The graphs that benchmarks run on, as edge lists of numpy arrays.

Real graphs are read from a folder of public data; generated ones have the sizes of well-known
graphs and say so in their names.
"""

import functools
import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np

# nodes of ogbn-mag: papers, authors, institutions, fields of study
MAG_SIZES = (736_389, 1_134_649, 8_740, 59_965)


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
    source, kind, target = _aifb_triples(data)
    names, nodes = np.unique(np.concatenate([source, target]), return_inverse=True)
    relations, kinds = np.unique(kind, return_inverse=True)
    sources, targets = np.split(nodes, 2)
    return {
        "edge_index": np.stack([np.r_[sources, targets], np.r_[targets, sources]]),
        "edge_type": np.r_[kinds, kinds + len(relations)],
        "num_nodes": np.array(len(names)),
    }


def _aifb_triples(data: Path) -> list[np.ndarray]:
    path = data / "entities" / "aifb" / "raw" / "aifb_stripped.nt.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        triples = [line.rstrip(" .\n").split(" ", 2) for line in file if line.strip()]
    return [np.array(part) for part in zip(*triples, strict=True)]


def aifb_labels(data: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return AIFB's training persons, as nodes of `aifb`, and their research groups, 0 to 3."""
    source, _, target = _aifb_triples(data)
    names = np.unique(np.concatenate([source, target]))
    lines = (data / "entities" / "aifb" / "raw" / "trainingSet.tsv").read_text().splitlines()[1:]
    persons, _, groups = zip(*(line.split("\t") for line in lines), strict=True)
    nodes = np.searchsorted(names, [f"<{person}>" for person in persons])
    return nodes, np.unique(groups, return_inverse=True)[1]


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


def mag_shaped(data: Path, *, part: int = 8) -> dict[str, np.ndarray]:
    """Return a generated graph with ogbn-mag's relations, a part of its size.

    At an eighth: 242,468 nodes of four types, 5.3 million edges of four relations and their
    inverses, targets drawn from a power law.
    """
    del data
    rng = np.random.default_rng(0)
    sizes = np.array(MAG_SIZES) // part
    start = np.r_[0, np.cumsum(sizes)]
    relations = [(1, 2, 1_043_998), (1, 0, 7_145_660), (0, 0, 5_416_271), (0, 3, 7_505_078)]
    edges, kinds = [], []
    for kind, (source, target, count) in enumerate(relations):
        some = start[source] + rng.integers(0, sizes[source], count // part)
        # rank r is drawn with a probability that falls like r^(-1/2)
        popular = start[target] + (sizes[target] * rng.random(count // part) ** 2).astype(np.int64)
        edges += [np.stack([some, popular]), np.stack([popular, some])]
        kinds += [np.full(count // part, kind), np.full(count // part, kind + len(relations))]
    return {
        "edge_index": np.concatenate(edges, axis=1),
        "edge_type": np.concatenate(kinds),
        "num_nodes": np.array(start[-1]),
    }


def ppi(data: Path) -> dict[str, np.ndarray]:
    """Return PPI, 56,944 nodes in 24 graphs side by side, 1.6 million edges."""
    with np.load(data / "ppi_topology" / "raw" / "ppi_topology.npz") as file:
        return _symmetric(file["edges"].astype(np.int64).T, 56_944)


def _communities(num_nodes: int, num_edges: int, *, shuffled: bool) -> dict[str, np.ndarray]:
    """Return a generated graph: power-law degrees, nine edges of ten within a community of 256.

    Nodes are numbered community by community, or shuffled as most data sets are.
    """
    rng = np.random.default_rng(0)
    half = num_edges // 2
    source = (num_nodes * rng.random(half) ** 2).astype(np.int64)  # rank r with r^(-1/2)
    near = source // 256 * 256 + rng.integers(0, 256, half)
    far = (num_nodes * rng.random(half) ** 2).astype(np.int64)
    target = np.where(rng.random(half) < 0.9, np.minimum(near, num_nodes - 1), far)
    place = rng.permutation(num_nodes) if shuffled else np.arange(num_nodes)
    edges = place[np.stack([source, target])]
    return {
        "edge_index": np.concatenate([edges, edges[::-1]], axis=1),
        "num_nodes": np.array(num_nodes),
    }


def products_shaped(data: Path, *, part: int = 16, shuffled: bool = True) -> dict[str, np.ndarray]:
    """Return a generated graph of ogbn-products' density, a part of its size."""
    del data
    return _communities(2_449_029 // part, 123_718_280 // part, shuffled=shuffled)


def reddit_shaped(data: Path, *, part: int = 16, shuffled: bool = True) -> dict[str, np.ndarray]:
    """Return a generated graph of Reddit's density, a part of its size."""
    del data
    return _communities(232_965 // part, 114_615_892 // part, shuffled=shuffled)


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
    "ppi": ppi,
    "products-shaped": products_shaped,
    "products-shaped-ordered": functools.partial(products_shaped, shuffled=False),
    "reddit-shaped": reddit_shaped,
}
