"""Hop: an operator of ours, about to be written for the nodes of one level of all trees."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import helper

from .emitter import Emitter
from .trees import DEGREES, LOOPS

if TYPE_CHECKING:
    from .levels import Levels


class Hop:
    """What an operator's form asks: values of the nodes themselves, and of what is in their slots.

    Args:
        levels: Where values of each level come from.
        node: The operator.
        level: The level of the nodes that it is computed for.

    Attributes:
        emit: Where nodes go.
    """

    def __init__(self, levels: "Levels", node: onnx.NodeProto, level: int) -> None:
        self._levels, self._node, self._level = levels, node, level
        self.emit: Emitter = levels.emit

    @property
    def fan_out(self) -> int:
        """Number of slots K of each node."""
        return self._levels.trees.fanouts[self._level]

    def has(self, index: int) -> bool:
        """Return whether an optional input is given."""
        return index < len(self._node.input) and self._node.input[index] != ""

    def attribute(self, name: str) -> float | str:
        """Return an attribute."""
        found = next(a for a in self._node.attribute if a.name == name)
        value = helper.get_attribute_value(found)
        return value.decode() if isinstance(value, bytes) else value

    @property
    def slope(self) -> float:
        """Slope of a LeakyReLU below zero."""
        return float(self.attribute("negative_slope"))

    @property
    def adds_loops(self) -> bool:
        """Whether each node has one self loop, whatever loops the edges hold."""
        return bool(self.attribute("add_self_loops"))

    def shape(self, index: int) -> Sequence[int]:
        """Return the sizes of an input that has no rows of nodes."""
        return self._levels.widths(self._node.input[index])

    def width(self, index: int) -> int:
        """Return the width of an input's rows."""
        return self._levels.widths(self._node.input[index])[0]

    def own(self, index: int) -> str:
        """Return an input of the nodes themselves, [n, …]; one number may stand for all."""
        return self._levels.value_or_number(self._node.input[index], self._level)

    def children(self, index: int) -> str:
        """Return an input of what is in the slots, [n, K, …]."""
        name = self._node.input[index]
        if self._levels.belongs_to_edges(name):
            return self.edge(index)
        return self._by_slot(name, self._levels.value(name, self._level + 1))

    def edge(self, index: int) -> str:
        """Return an input of the edges that the slots stand for, [n, K, …]."""
        name = self._node.input[index]
        return self._by_slot(name, self._levels.value(name, self._level))

    def _by_slot(self, name: str, value: str) -> str:
        return self.emit.reshape(value, -1, self.fan_out, *self._levels.widths(name))

    def as_edges(self, value: str) -> str:
        """Return [n, K, H] as values of edges, [n · K, H]."""
        heads = self.width(1) if self._node.op_type == "edge_softmax" else self.attribute("heads")
        return self.emit.reshape(value, -1, int(heads))

    def counts(self, *, loops: bool = True) -> str:
        """Return how many in-edges each slot stands for, self loops among them or not, [n, K]."""
        return self._levels.counts(self._level, loops)

    def mask(self, *, loops: bool = True) -> str:
        """Return 1 for slots that stand for something, else 0, [n, K]."""
        return self._levels.mask(self._level, loops)

    def unit_interval(self) -> tuple[str, str]:
        """Return the bounds 0 and 1, for Clip."""
        return self._levels.unit_interval()

    @property
    def replaces_loops(self) -> bool:
        """Whether a sum counts each node itself as GCN does, instead of its own loops."""
        return self.has(6) and self._levels.is_loop_weight(self._node.input[6])

    def loop_weight(self) -> list[str]:
        """Return what GCN weighs each node itself by, [n]; nothing where that is 1."""
        norm = self._levels.maker(self._node.input[6])
        if len(norm.input) < 3 or not norm.input[2]:
            return []
        return [self._levels.extra(LOOPS, self._level)]

    def degrees(self) -> str:
        """Return the nodes' degrees in the whole graph, [n]."""
        return self._levels.extra(DEGREES, self._level)


def scalar(value: float) -> np.ndarray:
    """Return a number without axes."""
    return np.array(value, np.float32)
