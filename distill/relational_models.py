"""R-GCN over edges with relations, for features or node ids, built from PyG's layers."""

import torch
from torch import Tensor
from torch_geometric import nn as pyg

from ..kernels import RelationalGraph


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
