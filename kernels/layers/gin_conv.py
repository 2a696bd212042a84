"""GINConv: the layer of graph isomorphism networks, as PyG spells it."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .. import functional
from ..graph import CSRGraph
from .common import as_graph, require_plain_sum

if TYPE_CHECKING:
    from torch_geometric import nn as pyg


class GINConv(torch.nn.Module):
    """Graph isomorphism: x'_i = h((1 + ε) x_i + Σ_{j ∈ N(i)} x_j), h any network.

    Arguments and state dict are those of `torch_geometric.nn.GINConv`.

    Args:
        nn: The network h, from [N, F] to [N, F'].
        eps: ε, or where it starts.
        train_eps: Whether ε is trained.

    References:
        Xu et al., "How Powerful are Graph Neural Networks?", ICLR 2019, equation 4.1,
        https://arxiv.org/abs/1810.00826
    """

    eps: Tensor

    def __init__(self, nn: torch.nn.Module, eps: float = 0.0, train_eps: bool = False) -> None:
        super().__init__()
        self.nn, self.initial_eps = nn, eps
        if train_eps:
            self.eps = torch.nn.Parameter(torch.full((1,), eps))
        else:
            self.register_buffer("eps", torch.full((1,), eps))

    @classmethod
    def from_pyg(cls, conv: "pyg.GINConv") -> "GINConv":
        """Return a layer with a PyG layer's settings; its parameters are still to be moved."""
        require_plain_sum(conv)
        network: Any = conv.nn
        return cls(network, conv.initial_eps, isinstance(conv.eps, torch.nn.Parameter))

    def reset_parameters(self) -> None:
        """Draw new parameters, and set ε to where it starts."""
        for layer in self.nn.modules():
            if layer is not self.nn and hasattr(layer, "reset_parameters"):
                layer.reset_parameters()  # type: ignore[reportCallIssue]
        torch.nn.init.constant_(self.eps, self.initial_eps)

    def forward(
        self,
        x: Tensor | tuple[Tensor, Tensor | None],
        edge_index: Tensor | CSRGraph,
        size: tuple[int, int] | None = None,
    ) -> Tensor:
        """Convolve.

        Args:
            x: Node features [N, F], or source [M, F] and destination [N, F] features.
            edge_index: The graph, [2, E] or a CSRGraph.
            size: (num_src, num_dst), needed where a bipartite call has no destination features.

        Returns:
            What h makes of [N, F].
        """
        source, target = (x, x) if isinstance(x, Tensor) else x
        num_dst = size[1] if size is not None else (source if target is None else target).size(0)
        graph = as_graph(edge_index, source.size(0), num_dst)
        if target is source:
            own = (1 + self.eps).expand(graph.num_nodes)
            return self.nn(functional.spmm(graph, source, self_weight=own))
        residual = None if target is None else (1 + self.eps) * target
        return self.nn(functional.spmm(graph, source, residual=residual))
