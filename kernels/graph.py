"""CSRGraph: the in-edges of every node, sorted once and held by whoever computes with them."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from . import ops


@dataclass(frozen=True, eq=False)
class CSRGraph:
    """A graph as the operators walk it: for each destination, the sources of its in-edges.

    Build it once and pass it wherever a layer takes `edge_index`; a layer that gets an `edge_index`
    builds one on every call.

    Attributes:
        rowptr: Where the in-edges of each node start, [N + 1] int64, from 0 to E.
        col: Source of each in-edge, [E] int32, in [0, M).
        perm: The caller's edge at each CSR position, [E] int64; what belongs to an edge (a weight)
            is given in the caller's order and permuted by this.
        num_src: Number of source nodes M; equals N unless the graph is bipartite.
        in_degree: Where this is a part of a graph: the degrees of its nodes in the whole one, as
            GCN counts them (each node's own loop replaced by one), [N]. GCN's normalisation of an
            unweighted graph takes them instead of the part's own.
        importance: Where in-edges are a sample: by how much a node has more of them than are here,
            [N]. GCN's sum over an unweighted graph is multiplied by it, which makes it an unbiased
            estimate; means and softmaxes need no such factor.
    """

    rowptr: Tensor
    col: Tensor
    perm: Tensor
    num_src: int
    in_degree: Tensor | None = None
    importance: Tensor | None = None
    _transposed: ops.Transposed | None = field(default=None, init=False, repr=False)
    _gcn_norm: tuple[Tensor, Tensor] | None = field(default=None, init=False, repr=False)

    @classmethod
    def from_edge_index(
        cls,
        edge_index: Tensor,
        num_nodes: int | None = None,
        *,
        size: tuple[int, int] | None = None,
    ) -> "CSRGraph":
        """Sort an edge list by destination.

        Args:
            edge_index: Sources and destinations, [2, E], an integer type, any order. Duplicates and
                self loops stay as they are.
            num_nodes: Number of nodes; isolated nodes at the end make it larger than any id.
            size: (num_src, num_dst) of a bipartite graph, in place of num_nodes.

        Raises:
            TypeError: If edge_index is not a tensor of integers.
            ValueError: If its shape is not [2, E], or an id is out of range.
        """
        if not isinstance(edge_index, Tensor) or edge_index.layout != torch.strided:
            kind = getattr(edge_index, "layout", type(edge_index).__name__)
            raise TypeError(
                f"edge_index must be a dense tensor [2, E] or a CSRGraph, got {kind}; a sparse "
                "adjacency whose rows are destinations becomes one by CSRGraph.from_csr("
                "adj_t.crow_indices(), adj_t.col_indices())"
            )
        if hasattr(edge_index, "as_tensor"):  # PyG's EdgeIndex, a tensor with a memory
            edge_index = edge_index.as_tensor()  # type: ignore[reportCallIssue]
        if edge_index.is_floating_point() or edge_index.dtype == torch.bool:
            raise TypeError(f"edge_index must hold integers, got {edge_index.dtype}")
        if edge_index.dim() != 2 or edge_index.shape[0] != 2:
            raise ValueError(f"edge_index must have shape [2, E], got {tuple(edge_index.shape)}")
        if num_nodes is not None and size is None:
            size = (num_nodes, num_nodes)
        elif num_nodes is not None or size is None:
            raise ValueError("give either num_nodes or, for a bipartite graph, size")
        num_src, num_dst = size
        rowptr, col, perm = torch.ops.graphstill.csr(edge_index.to(torch.int64), num_src, num_dst)
        return cls(rowptr, col, perm, num_src)

    @classmethod
    def from_csr(cls, rowptr: Tensor, col: Tensor, num_src: int | None = None) -> "CSRGraph":
        """Take a graph that is sorted already; edges are numbered in the order they have.

        Args:
            rowptr: Where the in-edges of each destination start, [N + 1], an integer type.
            col: Source of each in-edge, [E], an integer type.
            num_src: Number of source nodes M; N where it is not given.

        Raises:
            TypeError: If rowptr or col does not hold integers.
            ValueError: If rowptr does not rise from 0 to E, or an id is out of range.
        """
        for name, tensor in (("rowptr", rowptr), ("col", col)):
            if tensor.is_floating_point() or tensor.dtype == torch.bool:
                raise TypeError(f"{name} must hold integers, got {tensor.dtype}")
            if tensor.dim() != 1:
                raise ValueError(f"{name} must have one dimension, got {list(tensor.shape)}")
        num_edges, num_nodes = col.numel(), rowptr.numel() - 1
        rises = num_nodes >= 0 and int(rowptr[0]) == 0 and bool((rowptr.diff() >= 0).all())
        if not rises or int(rowptr[-1]) != num_edges:
            raise ValueError(f"rowptr must rise from 0 to the number of edges, {num_edges}")
        num_src = num_nodes if num_src is None else num_src
        wrong = (col < 0) | (col >= num_src)
        if bool(wrong.any()):
            edge = int(wrong.nonzero()[0])
            raise ValueError(f"edge {edge} names source {int(col[edge])}, not in [0, {num_src})")
        perm = torch.arange(num_edges, device=col.device)
        return cls(rowptr.to(torch.int64), col.to(torch.int32), perm, num_src)

    @property
    def num_nodes(self) -> int:
        """Number of destination nodes N."""
        return self.rowptr.shape[0] - 1

    @property
    def num_edges(self) -> int:
        """Number of edges E."""
        return self.col.shape[0]

    @property
    def transposed(self) -> ops.Transposed:
        """The out-edges of each source: rowptr_t [M + 1], row_t [E] and their CSR positions [E]."""
        if self._transposed is not None:
            return self._transposed
        value = ops.transpose(self.rowptr, self.col, self.num_src)
        self._keep("_transposed", value)
        return value

    @property
    def gcn_norm(self) -> tuple[Tensor, Tensor]:
        """GCN's scale [N] and self_weight [N] of the unweighted graph."""
        if self._gcn_norm is not None:
            return self._gcn_norm
        arguments = (self.rowptr, self.col, None, self.in_degree, 1.0, True)
        value = torch.ops.graphstill.gcn_norm(*arguments)
        self._keep("_gcn_norm", value)
        return value

    def _keep(self, name: str, value: tuple[Tensor, ...]) -> None:
        # a compiled function would have to be compiled again once the value is there
        if not torch.compiler.is_compiling():
            object.__setattr__(self, name, value)

    def to(self, device: torch.device | str) -> "CSRGraph":
        """Return the same graph on a device."""
        tensors = (t.to(device) for t in (self.rowptr, self.col, self.perm))
        degree, importance = (
            t if t is None else t.to(device) for t in (self.in_degree, self.importance)
        )
        return CSRGraph(*tensors, num_src=self.num_src, in_degree=degree, importance=importance)
