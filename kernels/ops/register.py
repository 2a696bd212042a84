"""Registration of operators with torch."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


def operator(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Register a function as an operator for every device; it changes no input, and returns none.

    `torch.library.custom_op` asks after that in every call, which takes longer than the rest of a
    call's way to the kernel; tests ask instead (`torch.library.opcheck`).
    """

    def register(function: Callable[P, R]) -> Callable[P, R]:
        schema = torch.library.infer_schema(function, mutates_args=())
        torch.library.define(name, schema, tags=(torch.Tag.pt2_compliant_tag,))
        torch.library.impl(name, "CompositeExplicitAutograd", function)
        return function

    return register
