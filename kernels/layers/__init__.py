"""Layers with PyG's names, arguments and state dicts over the fused operators."""

from .gat_conv import GATConv
from .gatv2_conv import GATv2Conv
from .gcn2_conv import GCN2Conv
from .gcn_conv import GCNConv
from .gin_conv import GINConv
from .graph_conv import GraphConv
from .hgt_conv import HGTConv
from .rgcn_conv import RGCNConv
from .sage_conv import SAGEConv
from .sg_conv import SGConv, sign
from .transformer_conv import TransformerConv

__all__ = [
    "GATConv",
    "GATv2Conv",
    "GCN2Conv",
    "GCNConv",
    "GINConv",
    "GraphConv",
    "HGTConv",
    "RGCNConv",
    "SAGEConv",
    "SGConv",
    "TransformerConv",
    "sign",
]
