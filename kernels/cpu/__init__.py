"""The fastest forms of the operators that torch has on a CPU.

`embedding_bag` is a sparse sum over rows: a table, indices, offsets and a weight per index are
exactly features, `col`, `rowptr` and edge weights, and it writes nothing of size [E, F]. What it
cannot say is computed for a few thousand edges at a time, so that their features stay in a core's
cache, and summed into rows by it again. Half precision is computed in float32.
"""

from .attention import dot_attention, edge_softmax, edge_softmax_backward, gat
from .attention_backward import dot_attention_backward, gat_backward
from .distance import edge_l1, edge_l1_backward
from .extremum import extremum, extremum_backward
from .gatv2 import gatv2, gatv2_backward
from .spmm import sddmm, spmm, spmm_int8

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
