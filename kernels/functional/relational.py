"""R-GCN's aggregation, by pairs of relation and destination.

Averaging over a pair first leaves one row per pair, P ≤ E rows, which one product per relation
transforms; a sum over each destination's pairs ends it. Nothing of size [E, F'] or [E, F, F'] is
written, and the gradient of the weights is one product per relation too.
"""

import torch
from torch import Tensor

from .. import reference
from ..graph import CSRGraph
from ..relations import RelationalGraph
from .checks import check_features, check_shape
from .sums import spmm, spmm_csr


def rgcn(
    graph: RelationalGraph,
    x: Tensor,
    weight: Tensor,
    *,
    bias: Tensor | None = None,
    residual: Tensor | None = None,
    reduce: str = "mean",
) -> Tensor:
    """Transform and average neighbours, each relation by itself.

        out[i] = Σ_r R_{i,r} Σ_{e: j → i of relation r} x[j] · weight[r] + bias + residual[i]

    with R_{i,r} = 1 / (number of such edges) for a mean and 1 for a sum.

    Args:
        graph: The graph, N destinations, M sources, R relations.
        x: Features of the source nodes, [M, F].
        weight: Matrix of each relation, [R, F, F'], or its B diagonal blocks,
            [R, B, F / B, F' / B].
        bias: Added to every row, [F'].
        residual: Added to the result, [N, F'].
        reduce: "mean" or "sum".

    Returns:
        [N, F'].

    Raises:
        ValueError: If a shape does not fit the graph.

    References:
        Schlichtkrull et al., "Modeling Relational Data with Graph Convolutional Networks", ESWC
        2018, equations 2 to 4, https://arxiv.org/abs/1703.06103
    """
    check_features(graph.pairs, x)
    if reduce not in ("sum", "mean"):
        raise ValueError(f'reduce must be "sum" or "mean", got {reduce!r}')
    blocks = weight.shape[1] if weight.dim() == 4 else 1
    shape = (graph.num_relations, *weight.shape[1:-2], x.shape[1] // blocks, weight.shape[-1])
    check_shape("weight", weight, shape)
    per_pair = spmm(graph.pairs, x, reduce=reduce)  # [P, F]
    if isinstance(graph.sizes, Tensor):  # traced
        table = torch.ops.graphstill.relation_products(per_pair, graph.sizes, weight)
    else:
        table = reference.relation_products(per_pair, graph.sizes, weight)
    return spmm(graph.targets, table, bias=bias, residual=residual)


def rgcn_embeddings(
    graph: RelationalGraph,
    tables: Tensor,
    comp: Tensor | None = None,
    *,
    bias: Tensor | None = None,
    residual: Tensor | None = None,
    reduce: str = "mean",
) -> Tensor:
    """Average rows of a table that each relation has of its own: features that are node ids.

        out[i] = Σ_r R_{i,r} Σ_{e: j → i of relation r} T_r[j],   T_r = Σ_b comp[r, b] · tables[b]

    Args:
        graph: The graph, N destinations, M sources, R relations.
        tables: B bases [B, M, F'], or, without comp, one for each relation, [R, M, F'].
        comp: Share of each basis in each relation, [R, B].
        bias: Added to every row, [F'].
        residual: Added to the result, [N, F'].
        reduce: "mean" or "sum".

    Returns:
        [N, F'].
    """
    count, num_src, width = tables.shape
    if num_src != graph.num_src:
        raise ValueError(f"tables have {num_src} rows, the graph {graph.num_src} source nodes")
    if comp is None:
        check_shape("tables", tables, (graph.num_relations, num_src, width))
        if isinstance(graph.sizes, Tensor):
            return _stacked(graph, tables, bias, residual, reduce)
        parts = zip(graph.by_relation(), tables.unbind(), strict=True)
        table = torch.cat([spmm(part, rows, reduce=reduce) for part, rows in parts])
        return spmm(graph.targets, table, bias=bias, residual=residual)
    check_shape("comp", comp, (graph.num_relations, count))
    out = tables.new_zeros(graph.num_nodes, width)
    for basis in range(count):
        weight = comp[:, basis].index_select(0, graph.relation)
        weight = weight / graph.count if reduce == "mean" else weight
        out = out + spmm_csr(graph.edges, tables[basis], weight)
    out = out if bias is None else out + bias
    return out if residual is None else out + residual


def _stacked(
    graph: RelationalGraph,
    tables: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    reduce: str,
) -> Tensor:
    """Sum rows of all relations' tables, one below the other, where sizes are only traced."""
    col = (graph.relation * graph.num_src + graph.edges.col).to(torch.int32)
    edges = CSRGraph(graph.edges.rowptr, col, graph.edges.perm, tables.shape[0] * tables.shape[1])
    weight = graph.count.to(tables.dtype).reciprocal() if reduce == "mean" else None
    out = spmm_csr(edges, tables.flatten(0, 1), weight)
    out = out if bias is None else out + bias
    return out if residual is None else out + residual
