"""A student of one shared layer, applied as often as the teacher has layers: MustaD's, of GCN.

    H⁰ = ReLU(X W_in),  Hˡ = ReLU(Â Hˡ⁻¹ W) for l = 1 … K,  Z = H^K W_out

Unlike GCNII's (`gcnii`) its layer has nothing that could know the depth.

Reference: Kim, Jung and Kang, "Compressing deep graph convolution network with multi-staged
knowledge distillation", PLoS ONE 2021, https://doi.org/10.1371/journal.pone.0256187
"""

import torch
from torch import Tensor
from torch_geometric import nn as pyg

from ..kernels import CSRGraph
from .dropout import dropout


class SharedGCN(torch.nn.Module):
    """A linear layer, one GCN layer applied again and again, and a linear layer.

    Args:
        in_channels: Width of the features.
        hidden_channels: Width of the hidden layers.
        num_layers: How often the layer is applied, K.
        out_channels: Number of classes.
        dropout: Dropout on the input of every application.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        num_layers: int,
        out_channels: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.dropout, self.num_layers = dropout, num_layers
        self.lin_in = torch.nn.Linear(in_channels, hidden_channels)
        self.convs = torch.nn.ModuleList([pyg.GCNConv(hidden_channels, hidden_channels)])
        self.act = torch.nn.ReLU()
        self.lin_out = torch.nn.Linear(hidden_channels, out_channels)

    def forward(self, x: Tensor, edge_index: Tensor | CSRGraph) -> Tensor:
        """Return logits [N, C] from features [N, F] and a graph."""
        x = self.lin_in(dropout(x, self.dropout, self.training)).relu()
        for _ in range(self.num_layers):
            x = dropout(x, self.dropout, self.training)
            x = self.act(self.convs[0](x, edge_index))
        return self.lin_out(dropout(x, self.dropout, self.training))
