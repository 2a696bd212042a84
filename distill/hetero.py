"""Layers for several types of nodes: what `to_hetero` made, and what answers with a dictionary.

`to_hetero` puts a copy of each layer for every edge or node type into a ModuleDict, which itself
never runs, and joins the copies' outputs in a traced graph, where what layer `conv1` gives for
nodes of type `paper` is the node `conv1__paper`. The layer's output is found again by evaluating
that node from the copies' outputs: whatever joins them (sum, mean, max …), and nothing else.
"""

import difflib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from .errors import TapError


@dataclass(frozen=True, eq=False)
class HeteroLayer:
    """What a layer gives for one type of nodes.

    Attributes:
        node: The node of the traced graph.
        modules: Paths of the copies that it is joined from, each with the number of the call.
    """

    node: fx.Node
    modules: dict[fx.Node, str]

    @classmethod
    def find(cls, module: fx.GraphModule, layer: str, node_type: str) -> "HeteroLayer":
        """Find a layer.

        Args:
            module: What `to_hetero` returned.
            layer: Path in the module that was given to it, "act#1" for the second call of `act`.
            node_type: The type of nodes.

        Raises:
            TapError: If it has no such layer; names near misses.
        """
        known = {node.name: node for node in module.graph.nodes}
        # the second call of a layer is traced as layer_1
        call = layer.removesuffix("#0").replace("#", "_")
        name = f"{call}__{node_type}".replace(".", "_").replace(" ", "_")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
            hints = [f"{part}[{kind}]" for part, _, kind in (n.rpartition("__") for n in near)]
            hint = f"; did you mean {' or '.join(hints)}?" if near else ""
            raise TapError(f"there is no layer {layer!r} for nodes of type {node_type!r}{hint}")
        return cls(known[name], dict(_copies(known[name])))

    @property
    def calls(self) -> list[str]:
        """Calls of modules that the layer is made of."""
        return list(self.modules.values())

    def output(self, outputs: dict[str, Any]) -> Tensor:
        """Return the layer's output from those of its copies, by path."""
        return _evaluate(self.node, {node: outputs[path] for node, path in self.modules.items()})


@dataclass(frozen=True)
class TypedLayer:
    """What a layer that answers with a dictionary gives for one type of nodes.

    Attributes:
        path: The layer, "act#1" for the second call of `act`.
        node_type: The type of nodes.
    """

    path: str
    node_type: str

    @property
    def calls(self) -> list[str]:
        """The one call that is needed."""
        return [self.path]

    def output(self, outputs: dict[str, Any]) -> Tensor:
        """Return the layer's output for the type.

        Raises:
            TapError: If the layer gave no dictionary, or nothing for the type.
        """
        given = outputs[self.path]
        if not isinstance(given, dict):
            raise TapError(
                f"{self.path}[{self.node_type}] names a layer of a module that to_hetero made, or "
                f"one that answers by type of nodes; {self.path} gave a {type(given).__name__}"
            )
        if self.node_type not in given:
            known = ", ".join(map(str, given))
            raise TapError(
                f"{self.path} gave nothing for type {self.node_type!r}, only for {known}"
            )
        return given[self.node_type]


def find_layer(module: torch.nn.Module, layer: str, node_type: str) -> HeteroLayer | TypedLayer:
    """Find a layer by its path, for one type of nodes, in whatever kind of module."""
    if isinstance(module, fx.GraphModule):
        return HeteroLayer.find(module, layer, node_type)
    return TypedLayer(layer, node_type)


def _copies(node: fx.Node) -> list[tuple[fx.Node, str]]:
    """Return the modules that a node is joined from, not looking behind them."""
    if node.op == "call_module":
        calls = [other for other in node.graph.nodes if other.target == node.target]
        return [(node, f"{node.target}#{calls.index(node)}")]
    return [found for other in node.all_input_nodes for found in _copies(other)]


def _evaluate(node: fx.Node, known: dict[fx.Node, Tensor]) -> Any:
    if node in known:
        return known[node]
    arguments, named = fx.map_arg((node.args, node.kwargs), lambda other: _evaluate(other, known))
    if node.op == "call_method":
        owner, *rest = arguments
        return getattr(owner, str(node.target))(*rest, **named)
    if node.op != "call_function" or isinstance(node.target, str):
        raise TapError(f"{node.name} is not joined from layers")
    return node.target(*arguments, **named)
