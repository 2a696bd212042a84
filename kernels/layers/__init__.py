"""Layers with PyG's names, arguments and state dicts over the fused operators."""

from .gat_conv import GATConv
from .gcn2_conv import GCN2Conv
from .gcn_conv import GCNConv
from .sage_conv import SAGEConv

__all__ = ["GATConv", "GCN2Conv", "GCNConv", "SAGEConv"]
