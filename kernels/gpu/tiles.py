"""Sizes of what one program holds, and the running softmax that attention kernels share."""
# Triton types a constexpr argument as constexpr, not int:
# pyright: reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false

import triton
import triton.language as tl


def tile(width: int) -> tuple[int, int]:
    """Return BLOCK_E and the padded width for rows of a width: about 1 KB in flight."""
    padded = triton.next_power_of_2(width)
    return max(2, min(16, 256 // padded)), padded


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
