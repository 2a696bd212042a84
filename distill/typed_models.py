"""Networks for several types of nodes, of which one is classified, built from PyG's layers.

    HeteroRGCN  R-GCN whose root weights belong to types of nodes, as ogbn-mag's baselines have it
    HGT         the heterogeneous graph transformer

They answer for the type that is classified. The layers of theirs that losses see are called by
module path and type: `act#0[paper]`.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch_geometric import nn as pyg

from ..kernels import CSRGraph
from .graphs import EdgeType, HeteroGraph
from .relational_models import embedding_of


class EachType(torch.nn.Module):
    """One module applied to every type of nodes."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return each type's output."""
        return {kind: self.module(h) for kind, h in x.items()}


class HeteroRGCNConv(torch.nn.Module):
    """R-GCN's layer for several types: x'_i = W_type(i) x_i + b + Σ_r mean_{j ∈ N_r(i)} W_r x_j.

    A relation is a type of edges. Only what is asked for is computed.

    Args:
        in_channels: Width of the input by type of nodes.
        out_channels: Width of the output.
        edge_types: Types of edges.

    References:
        The layer of Hu et al., "Open Graph Benchmark", NeurIPS 2020, for ogbn-mag,
        https://arxiv.org/abs/2005.00687
    """

    def __init__(
        self, in_channels: Mapping[str, int], out_channels: int, edge_types: Sequence[EdgeType]
    ) -> None:
        super().__init__()
        self.edge_types = list(edge_types)
        self.convs = torch.nn.ModuleDict(
            {
                "__".join(kind): pyg.SAGEConv(
                    (in_channels[kind[0]], in_channels[kind[2]]),
                    out_channels,
                    root_weight=False,
                    bias=False,
                )
                for kind in self.edge_types
            }
        )
        self.roots = torch.nn.ModuleDict(
            {kind: torch.nn.Linear(width, out_channels) for kind, width in in_channels.items()}
        )

    def forward(
        self,
        x: Mapping[str, Tensor],
        edge_index: Mapping[EdgeType, Tensor | CSRGraph],
        needed: Sequence[str],
    ) -> dict[str, Tensor]:
        """Return the outputs of the types that are needed, each [N, out_channels]."""
        out = {kind: self.roots[kind](x[kind]) for kind in needed}
        for kind in self.edge_types:
            source, target = kind[0], kind[2]
            if target in out and kind in edge_index:
                conv = self.convs["__".join(kind)]
                out[target] = out[target] + conv((x[source], x[target]), edge_index[kind])
        return out


class _Typed(torch.nn.Module):
    """What networks for several types share: an embedding of each type without features."""

    def __init__(
        self, num_nodes: Mapping[str, int], embedding: int, edge_types: Sequence[Sequence[str]]
    ) -> None:
        super().__init__()
        self.edge_types: list[EdgeType] = [(a, b, c) for a, b, c in edge_types]
        self.embeddings = torch.nn.ModuleDict(
            {kind: embedding_of(count, embedding) for kind, count in num_nodes.items()}
        )

    def _embedded(self, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {
            kind: self.embeddings[kind](h) if kind in self.embeddings else h
            for kind, h in x.items()
        }


class HeteroRGCN(_Typed):
    """HeteroRGCNConv layers with ReLU between them.

    Args:
        in_channels: Width of the features of the type that is classified.
        hidden_channels: Width of the hidden layers.
        num_layers: Number of layers.
        out_channels: Number of classes.
        target: Type of the nodes that are classified.
        widths: Width of the features, by type of nodes that has some.
        num_nodes: Number of nodes, by type that has ids for features.
        edge_types: Types of edges.
        embedding: Width of the embeddings of nodes without features.
        dropout: Dropout on every hidden layer.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        num_layers: int,
        out_channels: int,
        target: str,
        widths: Mapping[str, int],
        num_nodes: Mapping[str, int],
        edge_types: Sequence[Sequence[str]],
        embedding: int = 128,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(num_nodes, embedding, edge_types)
        self.target = target
        first = {**widths, **dict.fromkeys(num_nodes, embedding)}
        inputs = [first] + [dict.fromkeys(first, hidden_channels)] * (num_layers - 1)
        outputs = [hidden_channels] * (num_layers - 1) + [out_channels]
        self.convs = torch.nn.ModuleList(
            HeteroRGCNConv(width, out, self.edge_types)
            for width, out in zip(inputs, outputs, strict=True)
        )
        self.act = EachType(torch.nn.ReLU())
        self.drop = EachType(torch.nn.Dropout(dropout))

    def forward(
        self, x: dict[str, Tensor], edge_index: HeteroGraph | Mapping[EdgeType, Tensor]
    ) -> Tensor:
        """Return logits [N, C] of the nodes that are classified.

        Args:
            x: Features or ids by type of nodes.
            edge_index: Edges by type of edges.
        """
        edges = edge_index.sorted if isinstance(edge_index, HeteroGraph) else edge_index
        hidden, needed = self._embedded(x), self._needed()
        for conv, kinds in zip(self.convs[:-1], needed, strict=False):
            hidden = self.drop(self.act(conv(hidden, edges, kinds)))
        return self.convs[-1](hidden, edges, [self.target])[self.target]

    def _needed(self) -> list[list[str]]:
        """Return the types of nodes whose output of each layer reaches the answer."""
        needed = [[self.target]]
        for _ in range(len(self.convs) - 1):
            sources = [kind[0] for kind in self.edge_types if kind[2] in needed[0]]
            needed.insert(0, list(dict.fromkeys([*needed[0], *sources])))
        return needed


class HGT(_Typed):
    """A linear layer for each type, HGTConv layers with ReLU, and a linear layer.

    Args:
        in_channels: Width of the features of the type that is classified.
        hidden_channels: Width of the hidden layers.
        num_layers: Number of HGTConv layers.
        out_channels: Number of classes.
        target: Type of the nodes that are classified.
        widths: Width of the features, by type of nodes that has some.
        num_nodes: Number of nodes, by type that has ids for features.
        edge_types: Types of edges.
        heads: Number of heads.
        embedding: Width of the embeddings of nodes without features.
        dropout: Dropout on every hidden layer.

    References:
        Hu et al., "Heterogeneous Graph Transformer", WWW 2020, https://arxiv.org/abs/2003.01332
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        num_layers: int,
        out_channels: int,
        target: str,
        widths: Mapping[str, int],
        num_nodes: Mapping[str, int],
        edge_types: Sequence[Sequence[str]],
        heads: int = 4,
        embedding: int = 128,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(num_nodes, embedding, edge_types)
        self.target = target
        first = {**widths, **dict.fromkeys(num_nodes, embedding)}
        self.lins_in = torch.nn.ModuleDict(
            {kind: torch.nn.Linear(width, hidden_channels) for kind, width in first.items()}
        )
        self.convs = torch.nn.ModuleList(
            pyg.HGTConv(hidden_channels, hidden_channels, (list(first), self.edge_types), heads)
            for _ in range(num_layers)
        )
        self.act = EachType(torch.nn.ReLU())
        self.drop = EachType(torch.nn.Dropout(dropout))
        self.lin_out = torch.nn.Linear(hidden_channels, out_channels)

    def forward(self, x: dict[str, Tensor], edge_index: Mapping[EdgeType, Tensor]) -> Tensor:
        """Return logits [N, C] of the nodes that are classified.

        Args:
            x: Features or ids by type of nodes.
            edge_index: Edge lists by type of edges.
        """
        hidden = {kind: self.lins_in[kind](h) for kind, h in self._embedded(x).items()}
        for conv in self.convs:
            hidden = self.drop(self.act(conv(hidden, dict(edge_index))))
        return self.lin_out(hidden[self.target])
