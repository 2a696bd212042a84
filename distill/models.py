"""The networks that can be trained, distilled and rebuilt by name, with PyG's argument names.

All but GCNII and those of one shared layer are PyG's own. They are built from PyG's layers and then
accelerated, so that weights are PyG's and speed is ours.
"""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch_geometric import nn as pyg

from ..kernels import accelerate
from .data import NodeData
from .dropout import exchange
from .errors import DataError
from .gcnii import GCNII, SharedGCNII
from .graphs import Features, Graph, are_ids
from .heterogeneous import WIDE
from .relational_models import RGCN
from .residual_gat import ResidualGAT
from .shared_gcn import SharedGCN
from .typed_models import HGT, HeteroRGCN


class Architecture(BaseModel):
    """Name and arguments of a network; enough to build it again.

    Attributes:
        name: One of `NETWORKS`.
        in_channels: Width of the features F.
        hidden_channels: Width of the hidden layers.
        num_layers: Number of layers.
        out_channels: Number of classes C.
        arguments: Further arguments of the PyG class: dropout, act, norm, heads, jk, alpha, theta …
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    in_channels: int = Field(gt=0)
    hidden_channels: int = Field(gt=0)
    num_layers: int = Field(gt=0)
    out_channels: int = Field(gt=0)
    arguments: dict[str, Any] = Field(default_factory=dict)


NETWORKS: dict[str, Callable[..., torch.nn.Module]] = {
    "GCN": pyg.GCN,
    "GraphSAGE": pyg.GraphSAGE,
    "GAT": pyg.GAT,
    "ResidualGAT": ResidualGAT,
    "GCNII": GCNII,
    "MLP": pyg.MLP,
    "RGCN": RGCN,
    "HeteroRGCN": HeteroRGCN,
    "HGT": HGT,
    "SharedGCN": SharedGCN,
    "SharedGCNII": SharedGCNII,
}
_LINEAR_FIRST = ("GCN", "GCNII", "GraphSAGE", "GAT", "MLP", "SharedGCN", "SharedGCNII")


def fitting(
    data: NodeData,
    name: str,
    hidden_channels: int,
    num_layers: int,
    arguments: dict[str, Any] | None = None,
) -> Architecture:
    """Return an architecture with the widths that data asks for, and what else it has to know.

    Args:
        data: The data.
        name: One of `NETWORKS`.
        hidden_channels: Width of the hidden layers.
        num_layers: Number of layers.
        arguments: Further arguments.

    Raises:
        DataError: If the network cannot work on this data.
    """
    taken = inspect.signature(NETWORKS[name]).parameters if name in NETWORKS else {}
    facts = {fact: value for fact, value in data.facts.items() if fact in taken}
    if name in NETWORKS and len(facts) < len(data.facts) and not _is_blind(name, data):
        able = [
            n
            for n, f in NETWORKS.items()
            if data.facts.keys() <= inspect.signature(f).parameters.keys()
        ]
        raise DataError(
            f"{name} knows no {', '.join(data.facts.keys() - facts.keys())}, which {data.name} "
            f"has; networks for it are {', '.join(able)}"
        )
    return Architecture(
        name=name,
        in_channels=data.num_features,
        hidden_channels=hidden_channels,
        num_layers=num_layers,
        out_channels=data.num_classes,
        arguments={**facts, **(arguments or {})},
    )


def _is_blind(name: str, data: NodeData) -> bool:
    """Return whether a network looks at features alone, and there are some."""
    return name == "MLP" and isinstance(data.x, Tensor) and not are_ids(data.x)


def build(architecture: Architecture, *, fused: bool = True) -> torch.nn.Module:
    """Build a network with fresh parameters.

    Args:
        architecture: What to build.
        fused: Whether to put the fused layers in; without, it is plain PyG.

    Raises:
        ValueError: If there is no such network, or it does not take an argument.
    """
    if architecture.name not in NETWORKS:
        raise ValueError(f"no network {architecture.name!r}; known are {', '.join(NETWORKS)}")
    arguments = architecture.model_dump(exclude={"name", "arguments"})
    try:
        module = NETWORKS[architecture.name](**arguments, **architecture.arguments)
    except TypeError as error:
        raise ValueError(f"{architecture.name}: {error}") from error
    if fused:
        accelerate(module)
        exchange(module)
    return module


def takes_sparse(architecture: Architecture) -> bool:
    """Return whether a network begins with a linear layer, so that sparse features will do."""
    if architecture.name in ("HeteroRGCN", "HGT"):
        return architecture.hidden_channels < WIDE
    wide = architecture.in_channels > architecture.hidden_channels
    return wide and architecture.name in _LINEAR_FIRST


def call(module: torch.nn.Module, x: Features, graph: Graph | Tensor, *relations: Tensor) -> Tensor:
    """Call a network on features and, if it takes one, a graph with what belongs to its edges."""
    takes_graph = "edge_index" in inspect.signature(module.forward).parameters
    return module(x, graph, *relations) if takes_graph else module(x)


def parameters_of(module: torch.nn.Module) -> tuple[int, int]:
    """Return the number of parameters, and how many of them are in tables with a row per node."""
    parameters = dict(module.named_parameters())
    embeddings = [m.weight for m in module.modules() if isinstance(m, torch.nn.Embedding)]
    tables = embeddings + [parameters[name] for name in getattr(module, "tables", ())]
    return sum(p.numel() for p in parameters.values()), sum(table.numel() for table in tables)


def hidden_layers(module: torch.nn.Module) -> list[str]:
    """Return the taps of a network's hidden layers after their activation, first to last.

    They are the calls of the shared module `act`; of several types of nodes, the one classified.
    Where that is one layer only, the logits are added, so that there is something to choose from.

    Raises:
        ValueError: If the network has no such module; name the layers yourself then.
    """
    if not isinstance(getattr(module, "act", None), torch.nn.Module):
        raise ValueError(
            f"{type(module).__name__} has no module `act` to find its hidden layers by; name them"
        )
    taps = [f"act#{i}{_suffix(module)}" for i in range(_hidden(module))]
    return taps if len(taps) > 1 else [*taps, ""]


def hidden_convs(module: torch.nn.Module) -> list[str]:
    """Return the taps of a network's hidden convolutions before their activation.

    Raises:
        ValueError: If the network has no list `convs`, or no hidden one in it.
    """
    taps = [f"convs.{i}{_suffix(module)}" for i in range(_hidden(module))]
    if isinstance(module, SharedGCN | SharedGCNII):
        return [f"convs.0#{i}" for i in range(module.num_layers)]
    if not taps or not hasattr(module, "convs"):
        raise ValueError(f"{type(module).__name__} has no hidden convolution in `convs`")
    return taps


def _suffix(module: torch.nn.Module) -> str:
    """Return what names the classified type's output of a layer that answers for several."""
    target = getattr(module, "target", None)
    return f"[{target}]" if isinstance(target, str) else ""


def _hidden(module: torch.nn.Module) -> int:
    convs = getattr(module, "convs", ())
    depth = int(getattr(module, "num_layers", len(convs) or 1))
    linear_ends = isinstance(module, GCNII | HGT | SharedGCN | SharedGCNII)
    every = linear_ends or bool(getattr(module, "jk_mode", None))
    return depth if every else depth - 1
