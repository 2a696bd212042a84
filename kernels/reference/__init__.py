"""Every operator in plain PyTorch: the definition the other implementations are tested against.

These run on any device and in any floating-point type, and use only differentiable tensor
operations, so float64 autograd through them defines the gradients too. Clarity comes first; `cpu`
and the Triton kernels hold the fast forms.

Shapes: N destination nodes, M source nodes (N = M unless a graph is bipartite), E edges, F
features, H heads, C channels per head; heads lie side by side, [N, H · C]. A graph is given by its
in-edges in CSR form: `rowptr` [N + 1] int64 and `col` [E] int32, the source of each edge, rows
being destinations. What belongs to an edge is in CSR order.
"""

from .attention import (
    dot_attention,
    edge_softmax,
    edge_softmax_own,
    gat,
    gat_update,
    gatv2,
    gatv2_update,
)
from .graph import csr, gcn_norm, rows
from .int8 import linear_int8, quantize_rows, spmm_int8_rows
from .relational import relation_products, relational_csr, rgcn
from .spmm import edge_l1, extremum, sddmm, spmm, spmm_int8, spmm_update

__all__ = [
    "csr",
    "dot_attention",
    "edge_l1",
    "edge_softmax",
    "edge_softmax_own",
    "extremum",
    "gat",
    "gat_update",
    "gatv2",
    "gatv2_update",
    "gcn_norm",
    "linear_int8",
    "quantize_rows",
    "relation_products",
    "relational_csr",
    "rgcn",
    "rows",
    "sddmm",
    "spmm",
    "spmm_int8",
    "spmm_int8_rows",
    "spmm_update",
]
