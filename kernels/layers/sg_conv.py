"""SGConv: propagation without anything between the hops, as PyG spells it; and SIGN's features."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..functional import gcn_norm, spmm
from ..graph import CSRGraph
from .common import SymmetricNorm, as_graph, known_widths, require_plain_sum

if TYPE_CHECKING:
    from torch_geometric import nn as pyg


class SGConv(SymmetricNorm):
    """Simplified graph convolution: X' = (D̂^(-1/2) Â D̂^(-1/2))^K X Θ + b.

    Arguments, initialisation and state dict are those of `torch_geometric.nn.SGConv`. What differs:
    the product with Θ comes before or after the hops, whichever moves fewer features.

    Args:
        in_channels: Width of the input.
        out_channels: Width of the output.
        K: Number of hops.
        cached: Accepted for PyG's sake and without effect: propagate once with `sign`.
        add_self_loops: Whether to add self loops.
        bias: Whether to add a bias.

    References:
        Wu et al., "Simplifying Graph Convolutional Networks", ICML 2019, equation 8,
        https://arxiv.org/abs/1902.07153
    """

    normalize = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        K: int = 1,
        cached: bool = False,
        add_self_loops: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.K = in_channels, out_channels, K
        self.cached, self.add_self_loops = cached, add_self_loops
        self.lin = torch.nn.Linear(in_channels, out_channels, bias=bias)

    @classmethod
    def from_pyg(cls, conv: "pyg.SGConv") -> "SGConv":
        """Return a layer with a PyG layer's settings; its parameters are still to be moved."""
        require_plain_sum(conv)
        return cls(
            known_widths(conv.in_channels, conv.lin),  # type: ignore[reportArgumentType]
            conv.out_channels,
            conv.K,
            conv.cached,
            conv.add_self_loops,
            conv.lin.bias is not None,
        )

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        self.lin.reset_parameters()

    def forward(
        self, x: Tensor, edge_index: Tensor | CSRGraph, edge_weight: Tensor | None = None
    ) -> Tensor:
        """Propagate K hops.

        Args:
            x: Node features, [N, in_channels].
            edge_index: The graph, [2, E] or a CSRGraph.
            edge_weight: Weight of each edge, [E].

        Returns:
            [N, out_channels].
        """
        graph = as_graph(edge_index, x.size(0), x.size(0))
        narrow_first = self.K > 0 and self.out_channels < self.in_channels
        x = torch.nn.functional.linear(x, self.lin.weight) if narrow_first else x
        for hop in range(self.K):
            last = narrow_first and hop == self.K - 1
            x = self.propagate(graph, x, edge_weight, bias=self.lin.bias if last else None)
        return x if narrow_first else self.lin(x)

    def extra_repr(self) -> str:
        """Describe the layer in one line."""
        return f"{self.in_channels}, {self.out_channels}, K={self.K}"


def sign(
    x: Tensor,
    edge_index: Tensor | CSRGraph,
    K: int,
    edge_weight: Tensor | None = None,
) -> list[Tensor]:
    """Propagate features 0 to K hops, for networks that see the graph only through them.

    Hop k is (D^(-1/2) A D^(-1/2))^k x, without self loops, as `torch_geometric.transforms.SIGN`
    computes it.

    Args:
        x: Node features, [N, F].
        edge_index: The graph, [2, E] or a CSRGraph.
        K: Number of hops.
        edge_weight: Weight of each edge, [E].

    Returns:
        K + 1 tensors [N, F], the first being x.

    References:
        Frasca et al., "SIGN: Scalable Inception Graph Neural Networks", 2020,
        https://arxiv.org/abs/2004.11198
    """
    graph = as_graph(edge_index, x.size(0), x.size(0))
    scale, _ = gcn_norm(graph, edge_weight, add_self_loops=False, dtype=x.dtype)
    hops = [x]
    for _ in range(K):
        hops.append(spmm(graph, hops[-1], edge_weight, src_scale=scale, dst_scale=scale))
    return hops
