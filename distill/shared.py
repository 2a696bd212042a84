"""Students of one shared layer, applied as often as the teacher has layers: MustaD's.

    H⁰ = ReLU(X W_in),  Hˡ = ReLU(layer(Hˡ⁻¹)) for l = 1 … K,  Z = H^K W_out

The weights do not grow with K, the receptive field does: 64 layers of width 64 hold as many numbers
as one. With GCNII's layer only its β, which is no parameter, knows the depth, as in the released
code; GCN's layer has nothing that could.

Reference: Kim, Jung and Kang, "Compressing deep graph convolution network with multi-staged
knowledge distillation", PLoS ONE 2021, https://doi.org/10.1371/journal.pone.0256187
"""

from math import log

import torch
from torch import Tensor
from torch_geometric import nn as pyg

from ..kernels import CSRGraph
from .dropout import dropout


class SharedGCNII(torch.nn.Module):
    """GCNII whose layers have one matrix: Hˡ = ReLU(S ((1-β_l) I + β_l Θ)).

    S = (1-α) Â Hˡ⁻¹ + α H⁰ and β_l = log(θ / l + 1), as in `GCNII`.

    Args:
        in_channels: Width of the features.
        hidden_channels: Width of the hidden layers.
        num_layers: How often the layer is applied, K.
        out_channels: Number of classes.
        dropout: Dropout on the input of every application.
        alpha: Strength of the initial residual.
        theta: Strength of the identity mapping.
        shared_weights: See `GCN2Conv`; it means the two terms of one layer.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        num_layers: int,
        out_channels: int,
        dropout: float = 0.0,
        alpha: float = 0.1,
        theta: float = 0.5,
        shared_weights: bool = True,
    ) -> None:
        super().__init__()
        self.dropout, self.num_layers = dropout, num_layers
        self.betas = [log(theta / layer + 1) for layer in range(1, num_layers + 1)]
        self.lin_in = torch.nn.Linear(in_channels, hidden_channels)
        conv = pyg.GCN2Conv(hidden_channels, alpha, theta, 1, shared_weights)
        self.convs = torch.nn.ModuleList([conv])
        self.act = torch.nn.ReLU()
        self.lin_out = torch.nn.Linear(hidden_channels, out_channels)

    def forward(self, x: Tensor, edge_index: Tensor | CSRGraph) -> Tensor:
        """Return logits [N, C] from features [N, F] and a graph."""
        x = x_0 = self.lin_in(dropout(x, self.dropout, self.training)).relu()
        for beta in self.betas:
            x = dropout(x, self.dropout, self.training)
            self.convs[0].beta = beta  # type: ignore[assignment]
            x = self.act(self.convs[0](x, x_0, edge_index))
        return self.lin_out(dropout(x, self.dropout, self.training))


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
