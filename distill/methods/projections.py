"""Linear maps of many layers to one width, layers of the same width in one product.

A GCNII has 64 hidden layers. A map for each, called one by one, costs hundreds of small operations
a step, more than the student itself.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..losses import Pass

# layers of each width side by side: {width: [layers, rows, width]}
ByWidth = dict[int, Tensor]


class Projections(torch.nn.Module):
    """A linear map without bias for each layer, initialised as `torch.nn.Linear`.

    Args:
        widths: Width of each layer.
        dim: Width of the common space.
    """

    order: Tensor

    def __init__(self, widths: Sequence[int], dim: int) -> None:
        super().__init__()
        self._places = [
            (width, widths[:number].count(width)) for number, width in enumerate(widths)
        ]
        groups = list(dict.fromkeys(widths))
        self.maps = torch.nn.ParameterDict()
        for width in groups:
            bound = width**-0.5
            weight = torch.empty(widths.count(width), width, dim).uniform_(-bound, bound)
            self.maps[str(width)] = torch.nn.Parameter(weight)
        stacked = [(groups.index(width), place) for width, place in self._places]
        order = sorted(range(len(widths)), key=lambda number: stacked[number])
        self.register_buffer("order", torch.tensor(order).argsort(), persistent=False)

    def forward(self, layers: ByWidth) -> Tensor:
        """Return every layer's rows in the common space, [layers, rows, dim]."""
        mapped = [torch.bmm(layers[int(width)], weight) for width, weight in self.maps.items()]
        return mapped[0] if len(mapped) == 1 else torch.cat(mapped)[self.order]

    def matrix(self, layer: int) -> Tensor:
        """Return the map of a layer, [width, dim]."""
        width, place = self._places[layer]
        return self.maps[str(width)][place]


def side_by_side(answer: Pass) -> ByWidth:
    """Return all nodes of the tapped layers; put together once for each pass."""

    def make() -> ByWidth:
        groups: dict[int, list[Tensor]] = {}
        for layer in answer.layers:
            groups.setdefault(layer.shape[1], []).append(layer)
        return {width: torch.stack(layers) for width, layers in groups.items()}

    return answer.kept("side by side", make)


def means(answer: Pass) -> ByWidth:
    """Return the mean over nodes of the tapped layers, as a row each."""

    def make() -> ByWidth:
        return {w: h.mean(dim=1, keepdim=True) for w, h in side_by_side(answer).items()}

    return answer.kept("means", make)


def rows(answer: Pass, nodes: Tensor | None) -> ByWidth:
    """Return some nodes of the tapped layers, or all."""
    groups = side_by_side(answer)
    return groups if nodes is None else {w: h.index_select(1, nodes) for w, h in groups.items()}


def draw(answer: Pass, count: int | None) -> Tensor | None:
    """Return that many nodes drawn without replacement, or None where all are wanted."""
    layer = answer.logits
    if count is None or count >= layer.shape[0]:
        return None
    return torch.randperm(layer.shape[0], device=layer.device)[:count]


def drawn(student: Pass, teacher: Pass, count: int | None) -> tuple[Tensor, Tensor]:
    """Return that many rows, of the same nodes, of the last hidden layers of both."""
    nodes = draw(student, count)
    own, other = student.last_hidden, teacher.last_hidden
    return (own, other) if nodes is None else (own[nodes], other[nodes])
