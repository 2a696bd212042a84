"""The operators as torch sees them: `torch.ops.graphstill.*`, with shapes, gradients and devices.

They take plain tensors, so that torch.compile and torch.export see one node per operator.
`functional` holds the same operators over a CSRGraph; `reference` says what they compute.

The transposed graph (`rowptr_t`, `row_t`, `perm_t`) is what a backward pass walks. It is optional:
without it the backward pass builds one.
"""

from . import attention, distance, extremum, gatv2, spmm, traced
from .device import implementation
from .graph import Transposed, transpose

__all__ = [
    "Transposed",
    "attention",
    "distance",
    "extremum",
    "gatv2",
    "implementation",
    "spmm",
    "traced",
    "transpose",
]
