"""The operators over a CSRGraph, with what belongs to an edge in the caller's own order."""

from .attention import (
    dot_attention,
    dot_attention_weights,
    edge_softmax,
    gat,
    gat_attention,
    gatv2,
    gatv2_attention,
)
from .edges import edge_mean, edge_products, edge_sum
from .relational import rgcn, rgcn_embeddings
from .sums import edge_l1, gcn_norm, sddmm, spmm, spmm_csr, spmm_int8

__all__ = [
    "dot_attention",
    "dot_attention_weights",
    "edge_l1",
    "edge_mean",
    "edge_products",
    "edge_softmax",
    "edge_sum",
    "gat",
    "gat_attention",
    "gatv2",
    "gatv2_attention",
    "gcn_norm",
    "rgcn",
    "rgcn_embeddings",
    "sddmm",
    "spmm",
    "spmm_csr",
    "spmm_int8",
]
