"""accelerate: put the fused layers into any PyG module."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from .layers import (
    GATConv,
    GATv2Conv,
    GCN2Conv,
    GCNConv,
    GINConv,
    GraphConv,
    HGTConv,
    RGCNConv,
    SAGEConv,
    SGConv,
    TransformerConv,
)
from .layers.common import UnsupportedError

if TYPE_CHECKING:
    from torch_geometric.nn import MessagePassing

# by the name of the class in torch_geometric.nn
_LAYERS: dict[str, Any] = {
    layer.__name__: layer
    for layer in (
        GATConv,
        GATv2Conv,
        GCN2Conv,
        GCNConv,
        GINConv,
        GraphConv,
        HGTConv,
        RGCNConv,
        SAGEConv,
        SGConv,
        TransformerConv,
    )
} | {"FastRGCNConv": RGCNConv}


@dataclass(frozen=True)
class Report:
    """What `accelerate` did.

    Attributes:
        swapped: Class name of each convolution that was replaced, by module path.
        kept: Why a convolution was left as it is, by module path.
    """

    swapped: dict[str, str] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """One line for each convolution."""
        lines = [f"swapped {path}: {name}" for path, name in self.swapped.items()]
        lines += [f"kept    {path}: {reason}" for path, reason in self.kept.items()]
        return "\n".join(lines) or "no convolution found"


def accelerate(module: torch.nn.Module) -> Report:
    """Replace the PyG convolutions inside a module by the fused ones, in place.

    The new layers take over the parameters themselves, so optimisers and state dicts stay valid,
    and give the same outputs and gradients up to rounding. Buffers, hooks and the training flag
    move with them. A convolution that is not known, or is configured in a way that is not covered,
    stays.

    Args:
        module: Any module that holds PyG convolutions at any depth. A module that is itself a
            convolution cannot be replaced in place and is reported as kept.

    Returns:
        What was swapped and what was kept, by module path.
    """
    from torch_geometric.nn import MessagePassing

    report, done = Report(), dict[torch.nn.Module, torch.nn.Module]()
    if isinstance(module, MessagePassing):
        report.kept[""] = "the module itself is a convolution; put it into another module"
    parents = dict(module.named_modules(remove_duplicate=False))
    for path, conv in parents.items():
        if not isinstance(conv, MessagePassing) or path == "":
            continue
        parent, _, name = path.rpartition(".")
        try:
            fused = done[conv] if conv in done else _fuse(conv)
        except UnsupportedError as error:
            report.kept[path] = f"{type(conv).__name__}: {error}"
            continue
        done[conv] = fused
        setattr(parents[parent], name, fused)
        report.swapped[path] = type(conv).__name__
    return report


def _fuse(conv: "MessagePassing") -> torch.nn.Module:
    name = type(conv).__name__
    if not type(conv).__module__.startswith("torch_geometric.nn."):
        raise UnsupportedError("a class of your own may compute anything")
    if name not in _LAYERS:
        raise UnsupportedError(f"no fused layer for it yet; known are {', '.join(sorted(_LAYERS))}")
    if conv.explain:
        raise UnsupportedError("it is being explained, which needs PyG's own messages")
    with torch.device("meta"):  # no memory, and no numbers drawn from the generator
        fused = _LAYERS[name].from_pyg(conv)
    _take_over(conv, fused)
    return fused


def _take_over(conv: torch.nn.Module, fused: torch.nn.Module) -> None:
    """Move parameters, buffers, sub-modules, hooks and the training flag into another layer."""
    # by the names themselves: named_children and its like give what is shared only once
    for held in (fused._parameters, fused._buffers, fused._modules):
        for name, value in held.items():
            if value is not None:
                setattr(fused, name, getattr(conv, name))
    for hooks in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks"):
        getattr(fused, hooks).update(getattr(conv, hooks))
    fused.training = conv.training
