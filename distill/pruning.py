"""Students cut out of their teacher: the same network with the channels that matter most.

Each hidden layer keeps as many of its channels as the student is wide, and every tensor that has
those channels on an axis keeps the rows and columns that belong to them. Where layers add into each
other channel by channel (GCNII, shared layers) all of them keep the same ones. GAT keeps whole
heads first, then channels of each. With h [N, width] a hidden layer after its activation, on the
graph that training sees, channel c counts

    activation:  ‖h[:, c]‖₂                     over all nodes (Muralidharan et al., section 2.2)
    taylor:      |Σ_v h[v, c] · ∂L/∂h[v, c]|    the first order of what a gate on the channel
                                                changes (Molchanov et al., section 3)

with L the cross-entropy of the training nodes. Heads that are averaged have no channels of their
own behind the layer; they count by the norm of their weights.

References:
    Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019,
    https://arxiv.org/abs/1906.10771
    Muralidharan et al., "Compact Language Models via Pruning and Knowledge Distillation", NeurIPS
    2024, https://arxiv.org/abs/2407.14679
"""

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from .data import Observed
from .models import Architecture, build, call, hidden_layers
from .taps import Taps

Importance = Literal["activation", "taylor"]

# networks whose hidden layers all have the same channels, and those whose layers choose their own
_TIED = ("GCNII", "SharedGCN", "SharedGCNII")
_FREE = ("GCN", "GraphSAGE", "GAT", "MLP")


@dataclass(frozen=True)
class _Kept:
    """What stays of a layer: input channels, output channels, rows of its linear map."""

    before: Tensor
    after: Tensor
    rows: Tensor


def pruned(
    module: torch.nn.Module,
    wide: Architecture,
    narrow: Architecture,
    data: Observed,
    importance: Importance = "activation",
) -> dict[str, Tensor]:
    """Return the state of a narrower network, cut out of a trained one.

    Args:
        module: The trained network.
        wide: What it is.
        narrow: What is wanted: the same network with fewer hidden channels, or fewer heads.
        data: The graph on which channels are compared; "taylor" reads the training labels.
        importance: What makes a channel worth keeping.

    Raises:
        ValueError: If one network cannot be cut out of the other; says what differs.
    """
    _check(wide, narrow)
    known = module.state_dict()
    scores = _scores(module, wide, data, importance)
    choose = _tied if wide.name in _TIED else _gat if wide.name == "GAT" else _free
    layers = choose(wide, narrow, scores, known)
    with torch.random.fork_rng(devices=()):  # numbers drawn here are thrown away
        wanted = build(narrow).state_dict()
    kind = narrow.name
    return {name: _cut(name, known[name], layers, kind, shape) for name, shape in wanted.items()}


def _check(wide: Architecture, narrow: Architecture) -> None:
    if wide.name not in (*_FREE, *_TIED):
        raise ValueError(f"{wide.name} cannot be pruned; {', '.join((*_FREE, *_TIED))} can")
    for field in ("name", "num_layers", "in_channels", "out_channels"):
        theirs, ours = getattr(wide, field), getattr(narrow, field)
        if theirs != ours:
            raise ValueError(f"a pruned student has its teacher's {field}, {theirs}; got {ours}")
    theirs, ours = _fixed(wide), _fixed(narrow)
    if theirs != ours:
        raise ValueError(
            "a pruned student has its teacher's arguments, but for dropout and heads: "
            f"{theirs}; got {ours}"
        )
    if wide.arguments.get("jk") is not None:
        raise ValueError("a network with jumping knowledge (jk) cannot be pruned")
    for what, of in {"hidden channels": _width, "heads": _heads, "channels a head": _each}.items():
        if of(narrow) > of(wide):
            raise ValueError(f"a pruned student has at most its teacher's {of(wide)} {what}")


def _fixed(architecture: Architecture) -> dict[str, object]:
    free = ("dropout", "heads") if architecture.name == "GAT" else ("dropout",)
    return {name: v for name, v in architecture.arguments.items() if name not in free}


def _width(architecture: Architecture) -> int:
    return architecture.hidden_channels


def _heads(architecture: Architecture) -> int:
    return int(architecture.arguments.get("heads", 1))


def _each(architecture: Architecture) -> int:
    """Return the hidden channels of each head."""
    side_by_side = bool(architecture.arguments.get("concat", True))
    return _width(architecture) // (_heads(architecture) if side_by_side else 1)


def _scores(
    module: torch.nn.Module, wide: Architecture, data: Observed, importance: Importance
) -> list[Tensor]:
    """Return what each channel of each hidden layer counts, [width] each."""
    taps = [tap for tap in hidden_layers(module) if tap][: wide.num_layers - (wide.name in _FREE)]
    taps += ["lin_in"] if wide.name in _TIED else []  # layers add into what comes out of it
    module.eval()
    with torch.enable_grad(), Taps(module, taps) as watched:
        logits = call(module, data.x, data.graph)
        hidden = watched.outputs() if taps else []
    if importance == "activation" or not hidden:
        # lin_in is seen before its ReLU, to which h · ∂L/∂h is blind
        active = [h.relu() if tap == "lin_in" else h for h, tap in zip(hidden, taps, strict=True)]
        return [h.detach().norm(dim=0) for h in active]
    loss = F.cross_entropy(logits[data.train], data.y[data.train])
    gradients = torch.autograd.grad(loss, hidden)
    return [(h.detach() * g).sum(dim=0).abs() for h, g in zip(hidden, gradients, strict=True)]


def _tied(
    wide: Architecture, narrow: Architecture, scores: list[Tensor], known: dict[str, Tensor]
) -> list[_Kept]:
    """Return the same channels for all layers, those that count most on their mean."""
    shares = torch.stack([s / s.sum().clamp(min=torch.finfo(s.dtype).tiny) for s in scores])
    kept = _best(shares.mean(dim=0), _width(narrow))
    return [_Kept(kept, kept, kept)] * wide.num_layers


def _free(
    wide: Architecture, narrow: Architecture, scores: list[Tensor], known: dict[str, Tensor]
) -> list[_Kept]:
    """Return the best channels of each layer."""
    outputs = [_best(score, _width(narrow)) for score in scores]
    channels = [torch.arange(wide.in_channels), *outputs, torch.arange(wide.out_channels)]
    return [_Kept(before, after, after) for before, after in pairwise(channels)]


def _gat(
    wide: Architecture, narrow: Architecture, scores: list[Tensor], known: dict[str, Tensor]
) -> list[_Kept]:
    """Return the best heads of each layer, and the best channels of each."""
    layers, before = [], torch.arange(wide.in_channels)
    heads, side_by_side = _heads(wide), bool(wide.arguments.get("concat", True))
    for layer in range(wide.num_layers):
        hidden = layer < len(scores)
        if hidden and side_by_side:
            score = scores[layer].reshape(heads, -1)
            kept = _best(score.sum(dim=1), _heads(narrow))
            within = torch.stack([_best(score[head], _each(narrow)) for head in kept.tolist()])
            rows = after = (kept.unsqueeze(1) * score.shape[1] + within).flatten()
        else:
            width = _width(wide) if hidden else wide.out_channels
            after = _best(scores[layer], _width(narrow)) if hidden else torch.arange(width)
            kept = _best(_head_norms(known, layer, heads), _heads(narrow))
            rows = (kept.unsqueeze(1) * width + after).flatten()
        layers.append(_Kept(before, after, rows))
        before = after
    return layers


def _head_norms(known: dict[str, Tensor], layer: int, heads: int) -> Tensor:
    """Return the norm of each head's linear maps, [heads]."""
    pattern = re.compile(rf"convs\.{layer}\.lin\w*\.weight")
    maps = [tensor.reshape(heads, -1) for name, tensor in known.items() if pattern.match(name)]
    return torch.cat(maps, dim=1).norm(dim=1)


def _best(score: Tensor, count: int) -> Tensor:
    """Return the positions of the largest scores, in their order; of equals, the first."""
    return score.argsort(descending=True, stable=True)[:count].sort().values


def _cut(name: str, tensor: Tensor, layers: list[_Kept], kind: str, wanted: Tensor) -> Tensor:
    """Return the part of a tensor that stays."""
    if ".att" in name:  # [1, heads, channels]
        return tensor.flatten()[_layer(name, layers).rows].reshape(wanted.shape)
    for axis, kept in enumerate(_axes(name, layers, kind)[: tensor.dim()]):
        tensor = tensor if kept is None else tensor.index_select(axis, kept)
    return tensor.clone()


def _axes(name: str, layers: list[_Kept], kind: str) -> list[Tensor | None]:
    """Return what stays on each axis of a parameter or buffer, None being all."""
    if name.startswith("lin_in."):
        return [layers[0].after, None]
    if name.startswith("lin_out."):
        return [None, layers[-1].after] if name.endswith("weight") else [None]
    group, _, parameter = name.split(".", 2)
    kept = _layer(name, layers)
    if group == "norms" or (group == "convs" and parameter.startswith(("res.", "bias"))):
        return [kept.after, kept.before]
    if parameter in ("weight1", "weight2"):  # of GCN2Conv, which multiplies from the right
        return [kept.before, kept.after]
    if kind == "GraphSAGE" and parameter.startswith("lin."):  # its projection of the input
        return [kept.before, kept.before]
    return [kept.rows, kept.before]


def _layer(name: str, layers: list[_Kept]) -> _Kept:
    return layers[int(name.split(".")[1])]
