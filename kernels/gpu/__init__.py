"""Triton kernels: the operators on CUDA devices.

Each output element is written once, by one program, and nothing is summed by atomics: results are
the same bits each time. Sums run in float32. `edge_l1`, which only training asks for, is torch's.
"""

from ..cpu import edge_l1, edge_l1_backward
from .dot_attention import dot_attention, dot_attention_backward
from .extremum import extremum, extremum_backward
from .gat import gat, gat_backward
from .gatv2 import gatv2
from .gatv2_backward import gatv2_backward
from .int8 import spmm_int8
from .sddmm import sddmm
from .softmax import edge_softmax, edge_softmax_backward
from .spmm import spmm

__all__ = [
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
    "sddmm",
    "spmm",
    "spmm_int8",
]
