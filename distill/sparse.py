"""SparseFeatures: features of which most are zero, as a network's first linear layer takes them.

A bag of words has one word in a hundred. A network that begins with a linear layer needs of it the
product with a matrix, which is a weighted sum over the words of each node: `spmm` over the
bipartite graph of words and nodes. Dropping features draws a number for each word that is there.

It is no tensor, but `F.linear` and `F.dropout` take it for one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..kernels import CSRGraph, spmm
from .dropout import dropout
from .sampler import ranges

# a product with features that hold more than this share of their numbers is faster dense
_WORTH_IT = 0.2


@dataclass(frozen=True, eq=False)
class SparseFeatures:
    """A matrix [N, F] that holds only what is not zero.

    Attributes:
        graph: N destinations, F sources: an edge for each number that is not zero.
        value: The numbers, in the order of the graph's edges as they were given, [E] float32.
    """

    graph: CSRGraph
    value: Tensor

    @classmethod
    def of(cls, x: Tensor) -> "SparseFeatures":
        """Return a dense matrix [N, F] in this form."""
        row, column = x.nonzero(as_tuple=True)
        graph = CSRGraph.from_edge_index(torch.stack([column, row]), size=(x.shape[1], x.shape[0]))
        return cls(graph, x[row, column])

    @property
    def shape(self) -> torch.Size:
        """[N, F]."""
        return torch.Size([self.graph.num_nodes, self.graph.num_src])

    @property
    def dtype(self) -> torch.dtype:
        """Of the numbers."""
        return self.value.dtype

    @property
    def device(self) -> torch.device:
        """Where the numbers are."""
        return self.value.device

    def size(self, dim: int) -> int:
        """Return N or F."""
        return self.shape[dim]

    def to(self, device: torch.device | str) -> "SparseFeatures":
        """Return it on a device."""
        return SparseFeatures(self.graph.to(device), self.value.to(device))

    def rows(self, nodes: Tensor) -> "SparseFeatures":
        """Return some rows, [n, F]."""
        start, end = self.graph.rowptr[nodes], self.graph.rowptr[nodes + 1]
        at = ranges(start, end - start)
        rowptr = F.pad((end - start).cumsum(0), (1, 0))
        own = torch.arange(at.numel(), device=at.device)
        graph = CSRGraph(rowptr, self.graph.col[at], own, self.graph.num_src)
        return SparseFeatures(graph, self.value[self.graph.perm[at]])

    def dropped(self, p: float) -> "SparseFeatures":
        """Return it with numbers set to zero with probability p and the others scaled up."""
        return replace(self, value=dropout(self.value, p))

    def linear(self, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Return x · weightᵀ + bias, [N, H], for weight [H, F]."""
        return spmm(self.graph, weight.t().contiguous(), self.value, bias=bias)

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if function is F.linear:
            return args[0].linear(*args[1:], **given)
        if function is F.dropout:
            return _dropped(*args, **given)
        raise TypeError(
            f"sparse features begin with a linear layer, this network with {function.__name__}; "
            "give it dense ones"
        )


def take_rows(x: Tensor | SparseFeatures, nodes: Tensor) -> Tensor | SparseFeatures:
    """Return the rows of some nodes."""
    return x[nodes] if isinstance(x, Tensor) else x.rows(nodes)


def _dropped(
    x: SparseFeatures, p: float = 0.5, training: bool = True, inplace: bool = False
) -> SparseFeatures:
    return x.dropped(p) if training else x


def worth_it(x: Tensor) -> bool:
    """Return whether so many features are zero that the sparse form is faster."""
    return x.device.type == "cpu" and int(torch.count_nonzero(x)) < _WORTH_IT * x.numel()
