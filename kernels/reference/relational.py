"""The relational aggregation of R-GCN."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .graph import csr, rows


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


def relational_csr(
    rowptr: Tensor, col: Tensor, relation: Tensor, num_relations: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Sort edges into pairs of a relation and a destination, and pairs by destination.

    Args:
        rowptr: Where each row's edges start, [N + 1].
        col: Source of each edge, [E].
        relation: Relation of each edge, [E], in [0, R).
        num_relations: Number of relations R.

    Returns:
        Edges as in-edges of P pairs, which are sorted by relation and then destination:
        pair_rowptr [P + 1], pair_col [E] int32; pairs as in-edges of destinations: target_rowptr
        [N + 1], target_col [P] int32; number of pairs of each relation, [R]; pair of each edge in
        the order of col, [E].
    """
    num_nodes = rowptr.numel() - 1
    key = relation * num_nodes + rows(rowptr, col.numel())
    found, pair, count = key.unique(return_inverse=True, return_counts=True)
    target, ids = found % max(num_nodes, 1), torch.arange(found.numel(), device=col.device)
    target_rowptr, target_col, _ = csr(torch.stack([ids, target]), found.numel(), num_nodes)
    sizes = torch.bincount(found // max(num_nodes, 1), minlength=num_relations)
    pair_rowptr = F.pad(count.cumsum(0), (1, 0))
    pair_col = col[key.argsort(stable=True)]
    return pair_rowptr, pair_col, target_rowptr, target_col, sizes, pair


def relation_products(x: Tensor, sizes: Sequence[int], weight: Tensor) -> Tensor:
    """Multiply each run of rows by its relation's matrix.

    Args:
        x: Rows sorted by relation, [P, F].
        sizes: Number of rows of each relation, R numbers that sum to P.
        weight: Matrix of each relation, [R, F, F'], or its B diagonal blocks,
            [R, B, F / B, F' / B].

    Returns:
        [P, F'].
    """
    # split and unbind: the gradient of a slice would be as large as what it was cut from
    parts = zip(x.split(tuple(sizes)), weight.unbind(), strict=True)
    return torch.cat([_transform(part, matrix) for part, matrix in parts])


def _transform(x: Tensor, weight: Tensor) -> Tensor:
    if weight.dim() == 2:
        return x @ weight
    blocks = x.unflatten(1, (weight.shape[0], -1))
    return torch.einsum("pbi,bio->pbo", blocks, weight).flatten(1)
