"""Dropout whose mask costs 16 random bits a number.

torch draws a double for each number of a mask on a CPU, one after the other; for a GCNII of 64
layers that was 43 % of an epoch. Here one 64-bit draw serves four numbers. The mask comes from
torch's own generator, so seeds and checkpoints hold it. The probability is rounded to a multiple of
2⁻¹⁶, and the scale with it, so that the mean stays what it was.
"""

from typing import TYPE_CHECKING, overload

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from .sparse import SparseFeatures

_LEVELS = 1 << 16


@overload
def dropout(x: Tensor, p: float, training: bool = True) -> Tensor: ...


@overload
def dropout(x: "SparseFeatures", p: float, training: bool = True) -> "SparseFeatures": ...


def dropout(
    x: "Tensor | SparseFeatures", p: float, training: bool = True
) -> "Tensor | SparseFeatures":
    """Set numbers to zero with probability p and scale the others by 1 / (1 - p).

    Args:
        x: Any shape, a floating-point type.
        p: Probability, 0-1.
        training: Without it, x is returned as it is.
    """
    if not training or p == 0:
        return x
    if not isinstance(x, Tensor):
        return x.dropped(p)
    if x.device.type != "cpu" or round(p * _LEVELS) >= _LEVELS:
        return F.dropout(x, p)
    return x * mask(x.numel(), p, x.dtype).view(x.shape)


def mask(count: int, p: float, dtype: torch.dtype) -> Tensor:
    """Return that many factors, 0 with probability p and otherwise 1 / (1 - p), on the CPU."""
    zeros = round(p * _LEVELS)
    draws = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)
    # compared into numbers at once: torch's conversion of booleans is several times slower
    factors = torch.empty(count, dtype=dtype)
    torch.ge(draws.view(torch.int16)[:count], zeros - _LEVELS // 2, out=factors)
    return factors.mul_(_LEVELS / (_LEVELS - zeros))


class Dropout(torch.nn.Dropout):
    """`torch.nn.Dropout`, by `dropout`."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the input with some numbers set to zero, in training."""
        return dropout(input, self.p, self.training)


def exchange(module: torch.nn.Module) -> None:
    """Put `Dropout` in the place of every `torch.nn.Dropout` inside a module."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if type(child) is torch.nn.Dropout:
                setattr(parent, name, Dropout(child.p))
