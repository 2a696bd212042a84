"""Fused sparse aggregation: the operators, the graph they walk, and PyG's layers on them.

Needs torch. Uses Triton on CUDA devices where it is installed.
"""

from .aot import with_triton_kernels
from .functional import (
    dot_attention,
    edge_l1,
    edge_softmax,
    gat,
    gatv2,
    gcn_norm,
    rgcn,
    sddmm,
    spmm,
    spmm_int8,
)
from .graph import CSRGraph
from .layers import (
    GATConv,
    GATv2Conv,
    GCN2Conv,
    GCNConv,
    GINConv,
    GraphConv,
    HGTConv,
    RGCNConv,
    SAGEConv,
    SGConv,
    TransformerConv,
    sign,
)
from .relations import RelationalGraph
from .swap import Report, accelerate

__all__ = [
    "CSRGraph",
    "GATConv",
    "GATv2Conv",
    "GCN2Conv",
    "GCNConv",
    "GINConv",
    "GraphConv",
    "HGTConv",
    "RGCNConv",
    "RelationalGraph",
    "Report",
    "SAGEConv",
    "SGConv",
    "TransformerConv",
    "accelerate",
    "dot_attention",
    "edge_l1",
    "edge_softmax",
    "gat",
    "gatv2",
    "gcn_norm",
    "rgcn",
    "sddmm",
    "sign",
    "spmm",
    "spmm_int8",
    "with_triton_kernels",
]
