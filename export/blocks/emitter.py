"""Emitter: nodes of an ONNX graph, written as calls."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper


class Emitter:
    """Collects nodes and constants, each under a name of its own.

    `emit("Add", a, b)` adds a node that reads the values a and b, and returns the name of its sum.

    Args:
        taken: Names that are in use.

    Attributes:
        nodes: The nodes, in the order they were emitted in.
        constants: The constants they read.
    """

    def __init__(self, taken: Iterable[str]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._taken = set(taken)
        self._known: dict[tuple[Any, ...], str] = {}
        self._counts = Counter[str]()

    def __call__(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """Add a node of one output, unless an equal one is there, and return what it computes."""
        key = (op_type, inputs, tuple(attributes.items()))
        if key not in self._known:
            output = self._known[key] = self.name(op_type.lower())
            self.nodes.append(helper.make_node(op_type, inputs, [output], output, **attributes))
        return self._known[key]

    def ints(self, *values: int) -> str:
        """Return the name of a constant [len(values)] int64."""
        return self.constant(np.array(values, np.int64))

    def number(self, value: float) -> str:
        """Return the name of a constant [1] float32."""
        return self.constant(np.array([value], np.float32))

    def column(self, values: Iterable[float]) -> str:
        """Return the name of a constant [values, 1] float32."""
        return self.constant(np.array(list(values), np.float32)[:, None])

    def constant(self, value: NDArray[Any]) -> str:
        """Return the name of a constant, which equal ones share."""
        key = ("constant", value.dtype.str, value.shape, value.tobytes())
        if key not in self._known:
            self._known[key] = self.name("constant")
            self.constants.append(numpy_helper.from_array(value, self._known[key]))
        return self._known[key]

    def reshape(self, value: str, *shape: int) -> str:
        """Return a value with another shape."""
        return self("Reshape", value, self.ints(*shape))

    def sliced(self, value: str, axis: int, start: int, stop: int) -> str:
        """Return a value's entries [start, stop) along an axis."""
        bounds = (self.ints(number) for number in (start, stop, axis))
        return self("Slice", value, *bounds)

    def name(self, wanted: str) -> str:
        """Return a name that is not in use yet, numbered if the one wanted is, and take it."""
        name = wanted
        while name in self._taken:
            self._counts[wanted] += 1
            name = f"{wanted}_{self._counts[wanted]}"
        self._taken.add(name)
        return name

    def unsqueeze(self, value: str, *axes: int) -> str:
        """Return a value with more axes of size 1."""
        return self("Unsqueeze", value, self.ints(*axes))

    def total(self, values: Sequence[str]) -> str:
        """Return the sum of some values."""
        first, *rest = values
        for value in rest:
            first = self("Add", first, value)
        return first
