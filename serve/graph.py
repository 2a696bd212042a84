"""Graph: edges sorted once, to be passed to many calls."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import InputError


@dataclass(frozen=True, eq=False)
class Graph:
    """A graph whose edges are sorted by destination and whose ids are known to be in range.

    Attributes:
        rowptr: Where the in-edges of each node start, [num_nodes + 1] int64.
        col: Source of each in-edge, [num_edges] int32.
        perm: The caller's edge at each position, [num_edges] int64.
        num_src: Number of nodes that sources are counted in, where it is not num_nodes.
    """

    rowptr: NDArray[np.int64]
    col: NDArray[np.int32]
    perm: NDArray[np.int64]
    num_src: int | None = None

    @classmethod
    def from_edge_index(
        cls,
        edge_index: ArrayLike,
        num_nodes: int,
        num_src: int | None = None,
        *,
        name: str = "edge_index",
    ) -> "Graph":
        """Sort an edge list [2, num_edges] by destination, stably.

        Args:
            edge_index: Sources and destinations, int64 or int32, any order.
            num_nodes: Number of nodes; of destinations where sources are of another type.
            num_src: Number of sources, where they are of another type.
            name: What to call the edge list in errors.

        Raises:
            InputError: If it is no edge list of integers, or an id is outside [0, num_nodes), or
                [0, num_src) of a source.
        """
        edges = check_edge_index(edge_index, name)
        sources = num_nodes if num_src is None else num_src
        check_ends(edges, (sources, num_nodes), "" if name == "edge_index" else name)
        if max(num_nodes, sources) > np.iinfo(np.int32).max:
            raise InputError(f"a graph may have 2³¹ - 1 nodes, got {max(num_nodes, sources)}")
        src, dst = edges
        # numpy sorts 16-bit integers by counting, wider ones by comparing
        perm = np.argsort(dst.astype(np.uint16) if num_nodes <= 1 << 16 else dst, kind="stable")
        rowptr = np.zeros(num_nodes + 1, np.int64)
        np.cumsum(np.bincount(dst, minlength=num_nodes), out=rowptr[1:])
        return cls(rowptr, src[perm].astype(np.int32), perm, num_src)

    @property
    def num_nodes(self) -> int:
        """Number of nodes."""
        return self.rowptr.size - 1

    @cached_property
    def edge_index(self) -> NDArray[np.int64]:
        """The same graph as a sorted edge list, [2, num_edges]."""
        dst = np.repeat(np.arange(self.num_nodes), np.diff(self.rowptr))
        return np.stack([self.col.astype(np.int64), dst])


def in_degree(
    edge_index: ArrayLike,
    num_nodes: int,
    edge_weight: ArrayLike | None = None,
    *,
    add_self_loops: bool = True,
    fill_value: float = 1.0,
) -> NDArray[np.float32]:
    """Count in-degrees as GCN normalises by them: weighted, self loop included.

    A node's own loop counts with its weight, with fill_value where it has none, and once where it
    has several. Compute it on the whole graph and pass a subgraph's part of it as the input
    `in_degree`, so that the subgraph is normalised like the whole graph. `Session.in_degree` knows
    what its model counts.

    Args:
        edge_index: Sources and destinations, [2, num_edges], int64 or int32, any order.
        num_nodes: Number of nodes.
        edge_weight: Weight of each edge, [num_edges].
        add_self_loops: Whether every node has a self loop; otherwise loops count like other edges.
        fill_value: Weight of an added self loop, where edges have weights; 1 where they have none.

    Returns:
        [num_nodes].
    """
    edges = check_edge_index(edge_index)
    check_ids(edges, num_nodes)
    weight = np.ones(edges.shape[1]) if edge_weight is None else np.asarray(edge_weight, np.float64)
    if not add_self_loops:
        return np.bincount(edges[1], weight, minlength=num_nodes).astype(np.float32)
    own = loop_weight(edges, num_nodes, weight, 1.0 if edge_weight is None else fill_value)
    other = edges[0] != edges[1]
    others = np.bincount(edges[1, other], weight[other], minlength=num_nodes)
    return (others + own).astype(np.float32)


def loop_weight(
    edges: NDArray[np.int64], num_nodes: int, weight: NDArray[np.floating], fill_value: float
) -> NDArray[np.float64]:
    """Return what GCN weighs each node itself by: its own loop's weight, or fill_value."""
    own = np.full(num_nodes, fill_value)
    loop = edges[0] == edges[1]
    own[edges[1, loop]] = weight[loop]  # of several loops the last one stays
    return own


def check_edge_index(value: ArrayLike, name: str = "edge_index") -> NDArray[np.int64]:
    """Return an edge list as a contiguous [2, num_edges] int64 array."""
    edges = np.asarray(value)
    if edges.dtype not in (np.int64, np.int32):
        raise InputError(f"{name} must be int64 or int32, got {edges.dtype}")
    if edges.ndim != 2 or edges.shape[0] != 2:
        raise InputError(f"{name} must have shape [2, num_edges], got {list(edges.shape)}")
    return np.ascontiguousarray(edges, dtype=np.int64)


def check_ids(edges: NDArray[np.int64], num_nodes: int) -> None:
    """Raise InputError naming the first edge with an id outside [0, num_nodes)."""
    check_ends(edges, (num_nodes, num_nodes))


def check_ends(edges: NDArray[np.int64], sizes: tuple[int, int], name: str = "") -> None:
    """Raise InputError naming the first edge with an end outside [0, size)."""
    limits = np.array(sizes).reshape(2, 1)
    if edges.size == 0 or (edges.min() >= 0 and (edges.max(axis=1) < limits[:, 0]).all()):
        return
    wrong = (edges < 0) | (edges >= limits)
    edge = int(wrong.any(axis=0).argmax())
    role = int(wrong[:, edge].argmax())
    raise InputError(
        f"edge {edge}{name and f' of {name}'} names {('source', 'destination')[role]} "
        f"{edges[role, edge]}, ids must lie in [0, {sizes[role]})"
    )


def check_csr(
    rowptr: NDArray[np.int64],
    col: NDArray[np.int32],
    sizes: tuple[int, int],
    names: tuple[str, str] = ("rowptr", "col"),
) -> None:
    """Raise InputError unless two arrays are a CSR graph of that many sources and destinations."""
    num_src, num_dst = sizes
    if rowptr.ndim != 1 or col.ndim != 1 or rowptr.size != num_dst + 1:
        raise InputError(
            f"{names[0]} must be [num_nodes + 1] = [{num_dst + 1}] and {names[1]} [num_edges], "
            f"got {list(rowptr.shape)} and {list(col.shape)}"
        )
    if rowptr[0] != 0 or rowptr[-1] != col.size or (np.diff(rowptr) < 0).any():
        raise InputError(f"{names[0]} must rise from 0 to num_edges = {col.size}")
    if col.size and (col.min() < 0 or col.max() >= num_src):
        at = int(((col < 0) | (col >= num_src)).argmax())
        raise InputError(f"{names[1]}[{at}] is {col[at]}, ids must lie in [0, {num_src})")
