"""Training that knows it will be rounded: int8 weights, and int8 features, are simulated.

Weights are symmetric, with one scale for each output channel o,

    scale_o = max_i |W_oi| / 127,  q = round(W / scale) in [-127, 127],  Ŵ = scale · q

and the network runs with Ŵ, while gradients go to W as if there were no rounding: a
straight-through estimator. Nothing is clipped, so none is stopped. Settled, the weights are Ŵ
themselves: their bits are those of q · scale, which are saved too. Biases, norms and attention
vectors stay as they are; they are few.

Features are rounded where they enter a convolution or a linear layer, to 256 levels between their
smallest and largest value of the moment, as ONNX Runtime's dynamic quantisation does; the network
that training ends with has none of it, and its accuracy is that of int8 weights alone. With
protection, nodes are left out at random each step, those with many in-edges, whose sums have the
largest errors, more often: with probability low + (high - low) · (share of smaller in-degrees),
scaled so that the largest gets `high`. In evaluation no node is.

References:
    Jacob et al., "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference", CVPR 2018, https://arxiv.org/abs/1712.05877
    Tailor et al., "Degree-Quant: Quantization-Aware Training for Graph Neural Networks", ICLR 2021,
    section 4, https://arxiv.org/abs/2008.05000
"""

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor
from torch.nn.utils import parametrize
from torch.utils.hooks import RemovableHandle
from torch_geometric import nn as pyg

from ..kernels import CSRGraph
from .checkpoint import write_in_one_step

INT8 = "int8.safetensors"

# the axis over which a product sums, by parameter; layers are known by the name of their class,
# which is the same for PyG's and ours
_INPUT_AXIS = {
    "GCN2Conv": {"weight1": -2, "weight2": -2},
    "RGCNConv": {"weight": -2, "root": -2},
    "FastRGCNConv": {"weight": -2, "root": -2},
}
_LINEAR = (torch.nn.Linear, pyg.Linear)


class Int8Weight(torch.nn.Module):
    """A parametrisation (`torch.nn.utils.parametrize`) that rounds a weight as int8 would.

    Args:
        axis: The axis over which a product sums; each place on the others has a scale.
    """

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, weight: Tensor) -> Tensor:
        """Return Ŵ, of the shape of W."""
        q, scale = self.quantised(weight)
        return straight_through(weight, q * scale)

    def quantised(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return q, int8, and the scales, float32 with size 1 on the summed axis."""
        largest = weight.detach().abs().amax(dim=self.axis, keepdim=True)
        scale = torch.where(largest > 0, largest / 127, torch.ones_like(largest))
        return (weight.detach() / scale).round().to(torch.int8), scale


class _Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, exact: Tensor, rounded: Tensor) -> Tensor:
        return rounded.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def straight_through(exact: Tensor, rounded: Tensor) -> Tensor:
    """Return `rounded`, with the gradient of `exact`."""
    return _Straight.apply(exact, rounded)  # type: ignore[return-value]


class Int8Simulation:
    """Int8 simulated inside a network, until `settle`.

    Args:
        module: The network; its weights are parametrised in place.
        weights: Whether weights are rounded.
        features: Whether features are.
        protect: Probabilities (low, high) with which a node is left out; None leaves out none.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        *,
        weights: bool = True,
        features: bool = False,
        protect: tuple[float, float] | None = None,
    ) -> None:
        self._module, self._protect = module, protect
        self._protected: Tensor | None = None
        self._handles: list[RemovableHandle] = []
        for layer, name, axis in _weights(module) if weights else ():
            if not parametrize.is_parametrized(layer, name):
                parametrize.register_parametrization(layer, name, Int8Weight(axis))
                # PyG's Linear writes down its weight itself, beside what it is rounded from
                self._handles.append(layer.register_state_dict_post_hook(_without(name)))
        if features:
            self._handles.append(module.register_forward_pre_hook(self._choose))
            self._handles += [
                layer.register_forward_pre_hook(self._round) for layer in _eats(module)
            ]

    def settle(self, directory: Path | None = None) -> None:
        """Make rounded weights the weights, round no features any more, and save q and scales.

        Args:
            directory: Where int8.safetensors is written: "NAME.q" and "NAME.scale" for each weight.
        """
        for handle in self._handles:
            handle.remove()
        found: dict[str, Tensor] = {}
        paths = {layer: path for path, layer in self._module.named_modules()}
        for layer, name, _ in list(_weights(self._module)):
            if not parametrize.is_parametrized(layer, name):
                continue
            rounding: Any = layer.parametrizations[name]  # type: ignore[reportIndexIssue]
            full = f"{paths[layer]}.{name}"
            found[f"{full}.q"], found[f"{full}.scale"] = rounding[0].quantised(rounding.original)
            parametrize.remove_parametrizations(layer, name, leave_parametrized=True)
        if found and directory is not None:
            flat = {name: tensor.cpu().contiguous() for name, tensor in found.items()}
            write_in_one_step(directory / INT8, safetensors.torch.save(flat))

    def _choose(self, module: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        """Draw the nodes that are left out of this pass."""
        self._protected = None
        if self._protect is not None and module.training and len(inputs) > 1:
            chance = protection(in_degree(inputs[1], len(inputs[0])), *self._protect)
            self._protected = torch.rand(chance.shape, device=chance.device) < chance

    def _round(self, layer: torch.nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        x = inputs[0]
        if not isinstance(x, Tensor) or x.layout != torch.strided:
            return inputs
        rounded = round_features(x)
        if self._protected is not None and len(x) == len(self._protected):
            rounded = torch.where(self._protected.unsqueeze(1), x, rounded)
        return (rounded, *inputs[1:])


def round_features(x: Tensor) -> Tensor:
    """Return features rounded to 256 levels between their extremes and zero, [N, F].

    scale = (max(x, 0) - min(x, 0)) / 255; zero itself is a level. Gradients pass straight through.
    """
    wide = x.detach().float()
    low, high = wide.min().clamp(max=0), wide.max().clamp(min=0)
    scale = torch.where(high > low, (high - low) / 255, torch.ones_like(high))
    zero = (-low / scale).round()
    rounded = (((wide / scale).round() + zero).clamp(0, 255) - zero) * scale
    return straight_through(x, rounded.to(x.dtype))


def protection(degree: Tensor, low: float, high: float) -> Tensor:
    """Return the probability with which each node is left out, [N], by its in-degree's rank."""
    smaller = torch.searchsorted(degree.sort().values, degree).float()
    return low + (high - low) * smaller / smaller.max().clamp(min=1)


def in_degree(graph: CSRGraph | Tensor, num_nodes: int) -> Tensor:
    """Return the number of in-edges of each node, [N]."""
    if isinstance(graph, CSRGraph):
        return graph.rowptr.diff()
    return torch.bincount(graph[1], minlength=num_nodes)


def _weights(module: torch.nn.Module) -> Iterator[tuple[torch.nn.Module, str, int]]:
    """Yield what is rounded: a layer, the name of its weight, and the axis that is summed over."""
    for layer in module.modules():
        if isinstance(layer, _LINEAR):
            yield layer, "weight", -1
        for name, axis in _INPUT_AXIS.get(_class_of(layer), {}).items():
            if isinstance(getattr(layer, name, None), Tensor):
                yield layer, name, axis


def _without(name: str) -> Callable[..., None]:
    def drop(layer: torch.nn.Module, state: dict[str, Tensor], prefix: str, _: object) -> None:
        state.pop(prefix + name, None)

    return drop


def _class_of(layer: torch.nn.Module) -> str:
    # torch renames the class of what it parametrises
    return type(layer).__name__.removeprefix("Parametrized")


def _eats(module: torch.nn.Module) -> list[torch.nn.Module]:
    """Return the convolutions of a network, and the linear layers outside of them."""
    layers, inside = [], set[torch.nn.Module]()
    for layer in module.modules():
        if layer is module or layer in inside:
            continue
        if "edge_index" in inspect.signature(layer.forward).parameters:
            layers.append(layer)
            inside.update(layer.modules())
        elif isinstance(layer, _LINEAR):
            layers.append(layer)
    return layers
