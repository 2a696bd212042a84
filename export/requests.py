"""Requests: which nodes are asked for, by how popular nodes are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

POPULARITIES = ("uniform", "degree", "zipf")


@dataclass(frozen=True)
class Requests:
    """How requests are drawn.

    Attributes:
        count: How many different ones; every row is given the same.
        nodes: Nodes that each asks for, all different.
        popularity: "uniform"; "degree", in proportion to a node's degree, as links lead to it;
            "zipf", the k-th most popular node in proportion to 1 / k, whatever its degree.
        num_neighbors: In-edges to draw in each hop; all if None.
        seed: Seed of the draw.
    """

    count: int = 128
    nodes: int = 1
    popularity: str = "uniform"
    num_neighbors: Sequence[int] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.popularity not in POPULARITIES:
            raise ValueError(
                f"popularity must be {', '.join(POPULARITIES)}, got {self.popularity!r}"
            )
        if self.count < 1 or self.nodes < 1:
            raise ValueError(
                f"there must be at least one request of one node, got {self.count} of {self.nodes}"
            )


def draw_seeds(requests: Requests, edge_index: np.ndarray, num_nodes: int) -> np.ndarray:
    """Draw the nodes of each request, [count, nodes] int64.

    Args:
        requests: How.
        edge_index: The graph, [2, num_edges].
        num_nodes: Number of nodes.

    Raises:
        ValueError: If a request asks for more nodes than can be asked for.
    """
    rng = np.random.default_rng(requests.seed)
    weight = popularity(requests.popularity, edge_index, num_nodes, rng)
    if (possible := int((weight > 0).sum())) < requests.nodes:
        raise ValueError(f"a request asks for {requests.nodes} nodes, there are {possible}")
    share = weight / weight.sum()
    drawn = [
        rng.choice(num_nodes, requests.nodes, replace=False, p=share) for _ in range(requests.count)
    ]
    return np.stack(drawn).astype(np.int64)


def seeds_of(inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Return the nodes of every request.

    They are the rows of the input `seeds`, or of `seeds_0`, `seeds_1` and so on, numbered through.
    """
    names = ["seeds"] if "seeds" in inputs else []
    while (name := f"seeds_{len(names)}") in inputs:
        names.append(name)
    return [nodes for name in names for nodes in inputs[name]]


def popularity(
    kind: str, edge_index: np.ndarray, num_nodes: int, rng: np.random.Generator
) -> np.ndarray:
    """Return how popular each node is, as a weight; see `Requests`."""
    if kind == "uniform":
        return np.ones(num_nodes)
    if kind == "zipf":
        return 1.0 / rng.permutation(np.arange(1, num_nodes + 1))
    degree = np.bincount(edge_index.reshape(-1), minlength=num_nodes).astype(float)
    return degree if degree.any() else np.ones(num_nodes)
