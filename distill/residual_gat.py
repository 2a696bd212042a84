"""ResidualGAT: the graph attention network that teaches on ogbn-arxiv in published work."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric import nn as pyg

from ..kernels import CSRGraph


class ResidualGAT(torch.nn.Module):
    """GAT layers with linear residuals and batch norms; attention looks at sources alone.

    A score is a_src · Θx_j: the destination's part is held at zero, as in the published network,
    and is no part of what is trained. The last layer has one head, and a bias. What is not here is
    its symmetric normalisation and the labels it takes as features; for those, widen x.

    Args:
        in_channels: Width of the features.
        hidden_channels: Width of the hidden layers, all heads together.
        num_layers: Number of layers.
        out_channels: Number of classes.
        heads: Heads of the hidden layers.
        dropout: Dropout behind every hidden layer.

    References:
        Wang et al., "Bag of Tricks for Node Classification with Graph Neural Networks", 2021,
        https://arxiv.org/abs/2103.13355; as teacher: Joshi et al.,
        https://arxiv.org/abs/2111.04964

    Raises:
        ValueError: If heads do not divide the width.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        num_layers: int,
        out_channels: int,
        heads: int = 3,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if hidden_channels % heads:
            raise ValueError(f"{heads} heads must divide hidden_channels, got {hidden_channels}")
        self.dropout = dropout
        widths = [in_channels, *[hidden_channels] * (num_layers - 1)]
        convs = [
            pyg.GATConv(width, hidden_channels // heads, heads, bias=False, residual=True)
            for width in widths[:-1]
        ]
        convs.append(pyg.GATConv(widths[-1], out_channels, residual=True))
        for conv in convs:
            torch.nn.init.zeros_(conv.att_dst.requires_grad_(False))
        self.convs = torch.nn.ModuleList(convs)
        self.norms = torch.nn.ModuleList(torch.nn.BatchNorm1d(hidden_channels) for _ in widths[:-1])
        self.act = torch.nn.ReLU()

    def forward(self, x: Tensor, edge_index: Tensor | CSRGraph) -> Tensor:
        """Return logits [N, C] from features [N, F] and a graph."""
        for conv, norm in zip(self.convs, self.norms, strict=False):
            x = F.dropout(self.act(norm(conv(x, edge_index))), self.dropout, self.training)
        return self.convs[-1](x, edge_index)
