"""GCNII, and GCNII of one shared layer, MustaD's student.

    H⁰ = ReLU(X W_in),  Hˡ = ReLU(S ((1-β_l) I + β_l Θ_l)),  Z = H^K W_out
    S = (1-α) Â Hˡ⁻¹ + α H⁰,  β_l = log(θ / l + 1)

Where one Θ is shared the weights do not grow with K, the receptive field does: 64 layers of width
64 hold as many numbers as one. Only its β, which is no parameter, knows the depth, as in MustaD's
released code.

References:
    Chen et al., "Simple and Deep Graph Convolutional Networks", ICML 2020,
    https://arxiv.org/abs/2007.02133
    Kim, Jung and Kang, "Compressing deep graph convolution network with multi-staged knowledge
    distillation", PLoS ONE 2021, https://doi.org/10.1371/journal.pone.0256187
"""

from collections.abc import Iterable
from functools import partial
from math import log

import torch
from torch import Tensor
from torch_geometric import nn as pyg

from ..kernels import CSRGraph
from .dropout import dropout


class GCNII(torch.nn.Module):
    """A linear layer, GCN2Conv layers that all see its output, and a linear layer.

    Args:
        in_channels: Width of the features.
        hidden_channels: Width of the hidden layers.
        num_layers: Number of GCN2Conv layers.
        out_channels: Number of classes.
        dropout: Dropout on the input of every layer.
        alpha: Strength of the initial residual.
        theta: Strength of the identity mapping.
        shared_weights: See `GCN2Conv`.
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
        self.dropout = dropout
        self.lin_in = torch.nn.Linear(in_channels, hidden_channels)
        self.convs = torch.nn.ModuleList(
            pyg.GCN2Conv(hidden_channels, alpha, theta, layer, shared_weights)
            for layer in range(1, num_layers + 1)
        )
        self.act = torch.nn.ReLU()
        self.lin_out = torch.nn.Linear(hidden_channels, out_channels)

    def forward(self, x: Tensor, edge_index: Tensor | CSRGraph) -> Tensor:
        """Return logits [N, C] from features [N, F] and a graph."""
        dropped = partial(dropout, p=self.dropout, training=self.training)
        x = x_0 = self.lin_in(dropped(x)).relu()
        for conv in self.applied():
            x = self.act(conv(dropped(x), x_0, edge_index))
        return self.lin_out(dropped(x))

    def applied(self) -> Iterable[torch.nn.Module]:
        """Return the layers in the order in which they are applied."""
        return self.convs


class SharedGCNII(GCNII):
    """GCNII whose layers have one matrix.

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
        one = (in_channels, hidden_channels, 1, out_channels)
        super().__init__(*one, dropout, alpha, theta, shared_weights)
        self.num_layers = num_layers
        self.betas = [log(theta / layer + 1) for layer in range(1, num_layers + 1)]

    def applied(self) -> Iterable[torch.nn.Module]:
        """Yield the one layer with the β of each depth."""
        for beta in self.betas:
            self.convs[0].beta = beta  # type: ignore[assignment]
            yield self.convs[0]
