"""Graphs of several types: dictionaries as arguments and answers, flat in an ONNX file.

A dictionary by type of nodes or of edges becomes one tensor for each type, under a readable name:

    x_dict={"paper": …}                                  x__paper [num_nodes__paper, F]
    edge_index_dict={("author", "writes", "paper"): …}   edge_index__author__writes__paper
                                                         [2, num_edges__author__writes__paper]

The manifest says which argument and key each name stands for.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .errors import ExportError

Key = str | tuple[str, ...]
Nested = Tensor | Mapping[Any, Tensor]

# what the axes of an input mean on a graph of one type, by its name; the rest is found by size
_DIMENSIONS = {
    "x": {0: "num_nodes"},
    "edge_index": {1: "num_edges"},
    "edge_weight": {0: "num_edges"},
    "edge_attr": {0: "num_edges"},
    "edge_type": {0: "num_edges"},
    "batch": {0: "num_nodes"},
}


@dataclass(frozen=True, eq=False)
class Part:
    """A tensor of the example, and where it belongs.

    Attributes:
        value: The tensor.
        argument: The argument of `forward` that it is, or is an entry of.
        key: Its key there: a type of nodes, or of edges; None where it is the argument itself.
        dimensions: Names of the axes that may differ from call to call.
        ends: Of an edge list, the dimensions that its sources and its destinations count in.
    """

    value: Tensor
    argument: str
    key: Key | None = None
    dimensions: Mapping[int, str] | None = None
    ends: tuple[str, str] | None = None


def flatten(inputs: Mapping[str, Nested]) -> dict[str, Part]:
    """Return the tensors of nested arguments by flat names.

    Raises:
        ExportError: If a key names no type, an entry is no tensor, an edge list is none, the ends
            of edges have no features, sizes do not agree, or one is below 2, which torch would
            take for fixed.
    """
    dictionaries = {n: v for n, v in inputs.items() if isinstance(v, Mapping)}
    nodes, edges = _names(dictionaries)
    parts: dict[str, Part] = {}
    for argument, value in inputs.items():
        if not isinstance(value, Mapping):
            check_tensor(argument, value)
            known = None if dictionaries else _DIMENSIONS.get(argument)
            parts[argument] = Part(value, argument, None, known)
            continue
        for key, tensor in value.items():
            label = nodes[key] if isinstance(key, str) else edges[key]
            name = f"{argument.removesuffix('_dict')}__{label}"
            check_tensor(name, tensor)
            parts[name] = _part(name, tensor, argument, key, nodes, edges)
    sizes = sizes_of(parts)
    return {n: p if p.dimensions is not None else _matched(n, p, sizes) for n, p in parts.items()}


def check_tensor(name: str, value: object) -> None:
    """Raise ExportError unless an input is a tensor of a type that a bundle may take."""
    if not isinstance(value, Tensor):
        raise ExportError(f"inputs must be tensors, {name} is {type(value).__name__}")
    if value.is_floating_point() and value.dtype != torch.float32:
        raise ExportError(f"{name} must be float32, got {value.dtype}")
    if value.is_floating_point() and not bool(value.isfinite().all()):
        raise ExportError(f"{name} of the example holds NaN or infinity")
    if name.startswith("edge_index") and (
        value.dtype != torch.int64 or value.dim() != 2 or value.shape[0] != 2
    ):
        raise ExportError(f"{name} must be [2, E] int64, got {list(value.shape)} {value.dtype}")


def _names(
    dictionaries: Mapping[str, Mapping[Any, Tensor]],
) -> tuple[dict[str, str], dict[tuple[str, ...], str]]:
    """Return an identifier for each type of nodes and for each type of edges."""
    nodes: dict[str, str] = {}
    edges: dict[tuple[str, ...], str] = {}
    for argument, dictionary in dictionaries.items():
        for key in dictionary:
            if isinstance(key, str) and not argument.startswith("edge_index"):
                nodes.setdefault(key, _free(identifier(key), nodes.values()))
            elif isinstance(key, tuple) and len(key) == 3 and all(isinstance(k, str) for k in key):
                edges.setdefault(key, _free("__".join(map(identifier, key)), edges.values()))
            else:
                raise ExportError(
                    f"{argument} has the key {key!r}; keys must be types of edges, (source, "
                    "relation, destination), or of nodes, where the values belong to nodes"
                )
    return nodes, edges


def identifier(text: str) -> str:
    """Return a name with nothing but letters, digits and underscores in it."""
    return re.sub(r"\W", "_", text, flags=re.ASCII)


def _free(name: str, taken: Iterable[str]) -> str:
    """Return a name, numbered where another type has it already."""
    used, number, free = set(taken), 1, name
    while free in used:
        number += 1
        free = f"{name}_{number}"
    return free


def _part(
    name: str,
    value: Tensor,
    argument: str,
    key: Key,
    nodes: Mapping[str, str],
    edges: Mapping[tuple[str, ...], str],
) -> Part:
    if isinstance(key, str):
        return Part(value, argument, key, {0: f"num_nodes__{nodes[key]}"})
    count = f"num_edges__{edges[key]}"
    if not argument.startswith("edge_index"):
        return Part(value, argument, key, {0: count})
    missing = [end for end in (key[0], key[2]) if end not in nodes]
    if missing:
        raise ExportError(f"{name} joins nodes of type {missing[0]!r}, of which there is no input")
    ends = (f"num_nodes__{nodes[key[0]]}", f"num_nodes__{nodes[key[2]]}")
    return Part(value, argument, key, {1: count}, ends)


def sizes_of(parts: Mapping[str, Part]) -> dict[str, int]:
    """Return the size of each dimension."""
    sizes: dict[str, int] = {}
    for name, part in parts.items():
        shape = part.value.shape
        for axis, dim in (part.dimensions or {}).items():
            if axis >= len(shape) or sizes.setdefault(dim, shape[axis]) != shape[axis]:
                size = f" = {sizes[dim]}" if dim in sizes else ""
                raise ExportError(f"{name} is {list(shape)}; its axis {axis} must be {dim}{size}")
    for dim, size in sizes.items():
        if size < 2:
            raise ExportError(f"the example needs at least two of {dim}, it has {size}")
    return sizes


def _matched(name: str, part: Part, sizes: Mapping[str, int]) -> Part:
    """Find out by its size what the rows of a tensor outside the dictionaries are."""
    matching = [dim for dim, size in sizes.items() if part.value.shape[:1] == (size,)]
    if len(matching) > 1:
        raise ExportError(
            f"cannot tell what {name} counts, {' or '.join(matching)}: give an example with "
            "different numbers of them"
        )
    return Part(part.value, part.argument, None, dict(enumerate(matching)))


class Flat(torch.nn.Module):
    """A module that takes tensors, puts them into dictionaries for another one, and calls that.

    Args:
        module: What takes dictionaries.
        parts: Which tensor belongs where, in the order in which they come.
    """

    def __init__(self, module: torch.nn.Module, parts: Iterable[Part]) -> None:
        super().__init__()
        self.module, self.places = module, [(p.argument, p.key) for p in parts]

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return the answers, flat."""
        answers = flat_answers(self.module(**nest(self.places, tensors)))
        return tuple(part.value for part in answers.values())


def nest(places: Sequence[tuple[str, Key | None]], values: Sequence[Any]) -> dict[str, Any]:
    """Return arguments by name, dictionaries among them, from flat values."""
    arguments: dict[str, Any] = {}
    for (argument, key), value in zip(places, values, strict=True):
        if key is None:
            arguments[argument] = value
        else:
            arguments.setdefault(argument, {})[key] = value
    return arguments


def flat_answers(answer: object, types: Iterable[Key] = ()) -> dict[str, Part]:
    """Return the tensors of an answer by name: "logits", keys, or positions.

    A dictionary by type, which is one of types, is `logits__paper`; what a module has no answer
    for, which is None, is left out.

    Raises:
        ExportError: If there is something else than tensors in it.
    """
    if isinstance(answer, Tensor):
        return {"logits": Part(answer, "logits")}
    if isinstance(answer, Mapping) and answer.keys() & set(types):
        answer = {"logits": answer}
    if isinstance(answer, Mapping):
        named = {str(key): value for key, value in answer.items()}
    elif isinstance(answer, Sequence) and not isinstance(answer, str):
        named = {f"output_{i}": value for i, value in enumerate(answer)}
    else:
        raise ExportError(f"forward must return tensors, it returned {type(answer).__name__}")
    flat: dict[str, Part] = {}
    for argument, value in named.items():
        entries = value if isinstance(value, Mapping) else {None: value}
        for key, tensor in entries.items():
            if isinstance(tensor, Tensor):
                label = (
                    [] if key is None else map(identifier, [key] if isinstance(key, str) else key)
                )
                flat[_free("__".join([argument, *label]), flat)] = Part(tensor, argument, key)
            elif tensor is not None:
                raise ExportError(
                    f"forward must return tensors, {argument} holds a {type(tensor).__name__}"
                )
    return flat
