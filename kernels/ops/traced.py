"""What a traced graph needs as one node, where eager code has plain torch for it.

Their sizes depend on data (`relational_csr`), or what they are in plain torch (a reduction by
scattering) has no safe form in ONNX. They are for inference: not differentiable.
"""

import torch
from torch import Tensor

from .. import reference

Pairs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


@torch.library.custom_op("graphstill::edge_rows", mutates_args=())
def edge_rows(rowptr: Tensor, col: Tensor) -> Tensor:
    """See `reference.rows`."""
    return reference.rows(rowptr, col.numel())


@torch.library.register_fake("graphstill::edge_rows")
def _(rowptr: Tensor, col: Tensor) -> Tensor:
    return rowptr.new_empty(col.shape[0])


@torch.library.custom_op("graphstill::edge_softmax_own", mutates_args=())
def edge_softmax_own(rowptr: Tensor, score: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """See `reference.edge_softmax_own`."""
    return reference.edge_softmax_own(rowptr, score, own)


@torch.library.register_fake("graphstill::edge_softmax_own")
def _(rowptr: Tensor, score: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(score), torch.empty_like(own)


@torch.library.custom_op("graphstill::relational_csr", mutates_args=())
def relational_csr(rowptr: Tensor, col: Tensor, relation: Tensor, num_relations: int) -> Pairs:
    """See `reference.relational_csr`."""
    return reference.relational_csr(rowptr, col, relation, num_relations)


@torch.library.register_fake("graphstill::relational_csr")
def _(rowptr: Tensor, col: Tensor, relation: Tensor, num_relations: int) -> Pairs:
    num_pairs = torch.library.get_ctx().new_dynamic_size()
    return (
        rowptr.new_empty(num_pairs + 1),
        torch.empty_like(col),
        torch.empty_like(rowptr),
        col.new_empty(num_pairs),
        rowptr.new_empty(num_relations),
        torch.empty_like(relation),
    )


@torch.library.custom_op("graphstill::relation_products", mutates_args=())
def relation_products(x: Tensor, sizes: Tensor, weight: Tensor) -> Tensor:
    """See `reference.relation_products`."""
    return reference.relation_products(x, sizes.tolist(), weight)


@torch.library.register_fake("graphstill::relation_products")
def _(x: Tensor, sizes: Tensor, weight: Tensor) -> Tensor:
    blocks = weight.shape[1] if weight.dim() == 4 else 1
    return x.new_empty(x.shape[0], blocks * weight.shape[-1])
