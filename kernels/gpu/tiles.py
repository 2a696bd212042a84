"""How much one program holds, the closed form and what else may be tried; pieces of kernels.

`table` says which tile an operator takes; where nothing was measured it is the closed form's. A
candidate is what `benchmarks/tune.py` may measure, and hence all that a table may hold: each is
compiled for sm_90 by `tests/kernels/test_cubins.py`.
"""
# Triton types a constexpr argument as constexpr, not int:
# pyright: reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false

from dataclasses import dataclass

import triton
import triton.language as tl

# widths of features, or of a head's channels, that are measured
WIDTHS = (32, 64, 128, 256)
# operators whose programs may hold a part of the features, and the widest part of the closed form
SPLIT = {"spmm": 128, "extremum": 128, "spmm_int8": 256}
WHOLE = (
    "sddmm",
    "extremum_backward",
    "gat",
    "gat_backward",
    "gatv2",
    "gatv2_backward",
    "dot_attention",
    "dot_attention_backward",
)
OPERATORS = (*SPLIT, *WHOLE)


@dataclass(frozen=True)
class Tile:
    """What one program of a kernel holds.

    Attributes:
        block_e: Edges that it takes at a time.
        block_f: Features, or channels of a head, that it takes; a power of two.
        num_warps: Warps that it runs on.
    """

    block_e: int
    block_f: int
    num_warps: int = 1

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1 or value & (value - 1):
                raise ValueError(f"{name} of a tile must be a power of two, got {value}")

    def settings(self, features: str) -> dict[str, int]:
        """Return a launch's settings; `features` names the constant for block_f."""
        return {"BLOCK_E": self.block_e, features: self.block_f, "num_warps": self.num_warps}


def closed_form(operator: str, width: int) -> Tile:
    """Return the tile for rows of a width where nothing was measured: about 1 KB in flight."""
    padded = triton.next_power_of_2(min(width, SPLIT.get(operator, width)))
    # four features of int8 in the bytes of one float
    wider = 4 if operator == "spmm_int8" else 1
    return Tile(wider * max(2, min(16, 256 // padded)), padded)


def candidates(operator: str, bits: int, width: int) -> list[Tile]:
    """Return the tiles that may be measured, the closed form's first.

    The others hold half of its edges, for short rows; twice as many, on one warp or on two; and,
    where a program may split them, half of the features, so that more of x stays in cache. A warp's
    loads stay 16 bytes wide. gatv2_backward spills with twice as many on one warp.

    Args:
        operator: One of `OPERATORS`.
        bits: Of the type that is gathered.
        width: One of `WIDTHS`.
    """
    usual = closed_form(operator, width)
    e, f = usual.block_e, usual.block_f
    found = [usual, Tile(max(e // 2, 1), f), Tile(2 * e, f, 2)]
    found += [] if operator == "gatv2_backward" else [Tile(2 * e, f)]
    found += [Tile(2 * e, f // 2)] if operator in SPLIT and f > 32 else []
    lanes = 32 * 128 // bits  # elements of a warp's widest load
    return [t for t in found if t.block_e > 1 and t.block_e * t.block_f >= lanes * t.num_warps]


@triton.jit
def softmax_step(top, total, sums, score, value):
    """Take a block of edges into a running softmax.

    top and total are the largest score so far and Σ exp(score - top), sums [C] the values weighted
    by them; score [BLOCK_E] is -inf where there is no edge, value is [BLOCK_E, C].
    """
    higher = tl.maximum(top, tl.max(score, axis=0))
    # all scores -inf: there is nothing to shift by
    shift = tl.where(higher == float("-inf"), 0.0, higher)
    old, new = tl.exp(top - shift), tl.exp(score - shift)
    return (
        higher,
        total * old + tl.sum(new, axis=0),
        sums * old + tl.sum(new[:, None] * value, axis=0),
    )


@triton.jit
def leaky(x, slope):
    """LeakyReLU."""
    return tl.where(x > 0, x, x * slope)
