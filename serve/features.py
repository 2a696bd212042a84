"""Features of int8, for bundles that take them so: a row of integers and a scale for each node."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import InputError

_ROWS_AT_ONCE = 4096


def quantise_features(x: ArrayLike) -> dict[str, NDArray[Any]]:
    """Round each row of features to 255 levels that its own largest value sets.

        x_scale[i] = max_f |x[i, f]| / 127,   q[i, f] = round(x[i, f] / x_scale[i])

    Zeros stay zeros; a row of zeros and one other value, as bags of words are, loses nothing but
    the last bit of that value.

    Args:
        x: Features, [N, F] float32, finite.

    Returns:
        The inputs "x", q [N, F] int8, and "x_scale", [N] float32.

    Raises:
        InputError: If x is no matrix of finite numbers.
    """
    value = np.asarray(x, np.float32)
    if value.ndim != 2:
        raise InputError(f"x must have shape [num_nodes, F], got {list(value.shape)}")
    q = np.empty(value.shape, np.int8)
    scale = np.ones(len(value), np.float32)
    for first in range(0, len(value), _ROWS_AT_ONCE):
        rows = value[first : first + _ROWS_AT_ONCE]
        step = np.abs(rows).max(axis=1, initial=0) / np.float32(127)
        if not np.isfinite(step).all():
            raise InputError("x holds NaN or infinity, which int8 cannot")
        step = np.where(step > 0, step, np.float32(1))
        scale[first : first + len(rows)] = step
        q[first : first + len(rows)] = np.rint(rows / step[:, None])
    return {"x": q, "x_scale": scale}
