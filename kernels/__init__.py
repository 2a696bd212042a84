"""Fused sparse aggregation: the operators, the graph they walk, and PyG's layers on them.

Needs torch. Uses Triton on CUDA devices where it is installed.
"""

from .functional import gat, gcn_norm, spmm
from .graph import CSRGraph
from .layers import GATConv, GCN2Conv, GCNConv, SAGEConv
from .swap import Report, accelerate

__all__ = [
    "CSRGraph",
    "GATConv",
    "GCN2Conv",
    "GCNConv",
    "Report",
    "SAGEConv",
    "accelerate",
    "gat",
    "gcn_norm",
    "spmm",
]
