"""The operators in C++, for float32 on a CPU; half precision is cast there and back.

A row of a graph is walked by one thread, its sums stay in registers or in cache, and nothing of
size [E, F] is written, forward or backward. What is not here (`spmm_int8`), and every operator
where there was no compiler at installation, is computed by `cpu`.
"""

from ..cpu import spmm_int8
from .attention import (
    dot_attention,
    dot_attention_backward,
    gat,
    gat_backward,
    gatv2,
    gatv2_backward,
)
from .csr import csr
from .distance import edge_l1, edge_l1_backward
from .extremum import extremum, extremum_backward
from .library import path, problem
from .normalisation import gcn_norm
from .softmax import edge_softmax, edge_softmax_backward
from .sums import sddmm, spmm

__all__ = [
    "csr",
    "dot_attention",
    "dot_attention_backward",
    "edge_l1",
    "edge_l1_backward",
    "edge_softmax",
    "edge_softmax_backward",
    "extremum",
    "extremum_backward",
    "gat",
    "gat_backward",
    "gatv2",
    "gatv2_backward",
    "gcn_norm",
    "path",
    "problem",
    "sddmm",
    "spmm",
    "spmm_int8",
]
