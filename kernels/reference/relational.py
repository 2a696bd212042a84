"""The relational aggregation of R-GCN."""

import torch
from torch import Tensor


def rgcn(
    edge_index: Tensor,
    edge_type: Tensor,
    x: Tensor,
    weight: Tensor,
    num_nodes: int,
    reduce: str = "mean",
) -> Tensor:
    """Transform and average neighbours, each relation by itself.

        out[i] = Σ_r R_{i,r} Σ_{e: j → i of relation r} x[j] · weight[r]

    with R_{i,r} = 1 / (number of such edges) for a mean and 1 for a sum.

    Args:
        edge_index: Sources and destinations, [2, E].
        edge_type: Relation of each edge, [E].
        x: Features of the source nodes, [M, F].
        weight: Matrix of each relation, [R, F, F'].
        num_nodes: Number of destination nodes N.
        reduce: "mean" or "sum".

    Returns:
        [N, F'].

    References:
        Schlichtkrull et al., "Modeling Relational Data with Graph Convolutional Networks", ESWC
        2018, equation 2, https://arxiv.org/abs/1703.06103
    """
    source, target = edge_index
    message = torch.bmm(x[source].unsqueeze(1), weight[edge_type]).squeeze(1)
    if reduce == "mean":
        key = edge_type * num_nodes + target
        count = torch.bincount(key, minlength=weight.shape[0] * num_nodes)
        message = message / count[key].unsqueeze(-1)
    return message.new_zeros(num_nodes, weight.shape[-1]).index_add(0, target, message)
