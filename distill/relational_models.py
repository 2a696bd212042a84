"""Networks for relations and for several types of nodes, built from PyG's layers.

    RGCN        R-GCN over edges with relations, for features or node ids
    HeteroRGCN  R-GCN whose root weights belong to types of nodes, as ogbn-mag's baselines have it
    HGT         the heterogeneous graph transformer

Those for several types answer for the type that is classified. The layers of theirs that losses see
are called by module path and type: `act#0[paper]`.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch_geometric import nn as pyg

from ..kernels import CSRGraph, RelationalGraph
from .graphs import EdgeType, HeteroGraph


class RGCN(torch.nn.Module):
    """RGCNConv layers with ReLU between them.

    Args:
        in_channels: Width of the features; the number of nodes where they have ids.
        hidden_channels: Width of the hidden layers.
        num_layers: Number of layers.
        out_channels: Number of classes.
        num_relations: Number of relations R.
        num_bases: Number of bases whose mixtures each layer's matrices are; None: no bases.
        num_blocks: Number of diagonal blocks, in their place.
        featureless: Whether nodes have ids for features. The first layer then has a row of every
            matrix for each node, as in the paper, unless there is an embedding.
        embedding: Width of an embedding of each node, for the layers to start from.
        aggr: "mean" or "sum" of the neighbours of one relation.
        norm: "layer_norm": scale the channels of each node to mean 0 and variance 1 behind every
            hidden convolution. Sums need it.
        dropout: Dropout on every hidden layer.

    References:
        Schlichtkrull et al., "Modeling Relational Data with Graph Convolutional Networks", ESWC
        2018, https://arxiv.org/abs/1703.06103
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        num_layers: int,
        out_channels: int,
        num_relations: int,
        num_bases: int | None = None,
        num_blocks: int | None = None,
        featureless: bool = False,
        embedding: int | None = None,
        aggr: str = "mean",
        norm: str | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if norm not in (None, "layer_norm"):
            raise ValueError(f"norm must be layer_norm or none, got {norm!r}")
        if embedding and not featureless:
            raise ValueError("an embedding is for nodes without features; these have some")
        self.embedding = embedding_of(in_channels, embedding) if embedding else None
        widths = [embedding or in_channels, *[hidden_channels] * (num_layers - 1), out_channels]
        self.convs = torch.nn.ModuleList(
            pyg.RGCNConv(
                widths[i],
                widths[i + 1],
                num_relations,
                num_bases,
                # node ids have no blocks
                num_blocks if i or embedding or not featureless else None,
                aggr=aggr,
            )
            for i in range(num_layers)
        )
        self.norms = torch.nn.ModuleList(
            torch.nn.LayerNorm(width) if norm else torch.nn.Identity() for width in widths[1:-1]
        )
        self.act, self.drop = torch.nn.ReLU(), torch.nn.Dropout(dropout)
        # parameters with a row for each node, beside those of an Embedding
        self.tables = ("convs.0.weight", "convs.0.root") if featureless and not embedding else ()

    def forward(
        self, x: Tensor, edge_index: Tensor | RelationalGraph, edge_type: Tensor | None = None
    ) -> Tensor:
        """Return logits [N, C].

        Args:
            x: Features [N, F], or the ids of all nodes [N].
            edge_index: The graph: an edge list [2, E] with edge_type, or a RelationalGraph.
            edge_type: Relation of each edge, [E]; belongs to an edge list.
        """
        x = x if self.embedding is None else self.embedding(x)
        for conv, norm in zip(self.convs[:-1], self.norms, strict=True):
            x = self.drop(self.act(norm(conv(x, edge_index, edge_type))))
        return self.convs[-1](x, edge_index, edge_type)


def embedding_of(num_nodes: int, width: int) -> torch.nn.Embedding:
    """Return an embedding that begins near zero (Glorot), so that nodes nobody trains say nothing.

    torch's own begins with a variance of 1, which on MUTAG is noise that training does not outgrow.
    """
    embedding = torch.nn.Embedding(num_nodes, width)
    torch.nn.init.xavier_uniform_(embedding.weight)
    return embedding


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
