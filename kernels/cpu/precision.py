"""Half precision is stored, not computed with: sums run in float32."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")
HALF = (torch.float16, torch.bfloat16)


def in_float32(*, keep: int = 0) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make an operator cast half-precision inputs to float32, and its outputs back.

    Args:
        keep: How many outputs, counted from the last, stay in float32.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            tensors = [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)]
            half = [t.dtype for t in tensors if t.dtype in HALF]
            if not half:
                return function(*args, **kwargs)
            named = {name: _float(value) for name, value in kwargs.items()}
            out: Any = function(*(_float(a) for a in args), **named)  # type: ignore[reportCallIssue]
            if isinstance(out, Tensor):
                return out.to(half[0])
            cast = len(out) - keep
            return tuple(o.to(half[0]) if i < cast else o for i, o in enumerate(out))

        return wrapped

    return decorate


def _float(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in HALF else value
