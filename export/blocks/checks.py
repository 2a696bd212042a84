"""What must hold of a bundle of blocks: seeds answer like the whole graph, each by itself.

On graphs whose nodes have no more in-neighbours than there are slots, answers are those of the
module in PyG for the whole graph. They stay the same whoever else is in the batch, whatever lies in
empty slots, and in whichever order neighbours come. Where neighbours are left out, a seed's answer
is the same in every batch.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...serve import Bundle, Session
from ...serve.blocks import batch_of, block_inputs, padded
from .trees import COUNTED

Array = NDArray[Any]
# expected answers of a module, from inputs of the whole graph
Reference = Callable[[dict[str, Array]], list[Array]]


def whole_inputs(
    bundle: Bundle, rng: np.random.Generator, num_nodes: int, edge_index: Array
) -> dict[str, Array]:
    """Return random inputs of a whole graph, edge_index among them, that blocks are cut from."""
    whole: dict[str, Array] = {}
    for spec in bundle.manifest.inputs:
        if spec.name in COUNTED:
            continue
        rows = edge_index.shape[1] if spec.name.startswith("edge_") else num_nodes
        shape = (rows, *(int(size) for size in spec.shape[2:]))
        if spec.dtype != "float32":
            whole[spec.name] = rng.integers(0, spec.below or 1, shape).astype(spec.dtype)
        elif spec.name == "edge_weight":
            whole[spec.name] = rng.random(shape).astype(np.float32)
        else:
            whole[spec.name] = rng.standard_normal(shape).astype(np.float32)
    return {**whole, "edge_index": edge_index}


def compare_blocks(
    session: Session, reference: Reference, seed: int
) -> Iterator[tuple[str, list[Array] | Exception, list[Array]]]:
    """Yield cases: what was checked, the answers or what was raised, and the answers expected."""
    for name, (num_nodes, edges) in _graphs(session.bundle, seed).items():
        rng = np.random.default_rng(seed)
        whole = whole_inputs(session.bundle, rng, num_nodes, edges)
        expected = reference(whole)
        feeds = _cut(session, whole, num_nodes, np.arange(num_nodes))
        yield name, _answers(session, feeds), expected
        if name == "usual":
            yield from _invariances(session, feeds, expected, rng)
    yield from _truncated(session, seed)


def _invariances(
    session: Session, feeds: Mapping[str, Array], expected: list[Array], rng: np.random.Generator
) -> Iterator[tuple[str, list[Array] | Exception, list[Array]]]:
    some = np.arange(5)
    alone = [_answers(session, {n: v[[i]] for n, v in feeds.items()}) for i in some]
    yield "seeds one by one", _joined(alone), [value[some] for value in expected]
    order = rng.integers(0, len(feeds["edge_count"]), 40)
    mixed = {name: value[order] for name, value in feeds.items()}
    yield "seeds mixed and repeated", _answers(session, mixed), [v[order] for v in expected]
    yield "anything in empty slots", _answers(session, _filled(session, feeds, rng)), expected
    slots = _permutation(session.bundle.manifest.fanouts or [], rng)
    moved = {name: value[:, slots] for name, value in feeds.items()}
    yield "neighbours in another order", _answers(session, moved), expected


def _truncated(
    session: Session, seed: int
) -> Iterator[tuple[str, list[Array] | Exception, list[Array]]]:
    """Compare seeds of a graph with too many neighbours in one batch and one by one."""
    rng, num_nodes = np.random.default_rng(seed), 50
    edges = rng.integers(0, num_nodes, (2, num_nodes * 3 * _most(session.bundle)))
    edges[1, : edges.shape[1] // 4] = 7
    whole = whole_inputs(session.bundle, rng, num_nodes, edges)
    together = _answers(session, _cut(session, whole, num_nodes, np.arange(10)))
    if isinstance(together, Exception):
        yield "neighbours left out", together, []
        return
    cuts = [_cut(session, whole, num_nodes, np.array([i])) for i in range(10)]
    yield "neighbours left out", _joined([_answers(session, cut) for cut in cuts]), together


def _cut(session: Session, whole: Mapping[str, Array], num_nodes: int, seeds: Array) -> Any:
    given = {name: value for name, value in whole.items() if name != "edge_index"}
    graph = session.prepare(whole["edge_index"], num_nodes)
    return block_inputs(session.bundle.manifest, graph, seeds, given)


def _answers(session: Session, feeds: Mapping[str, Array]) -> list[Array] | Exception:
    """Return the answers for all rows, call by call where a call has a fixed number of them."""
    fixed, rows = batch_of(session.bundle.manifest), len(feeds["edge_count"])
    parts = list[list[Array] | Exception]()
    for start in range(0, rows, fixed or rows):
        some = {name: value[start : start + (fixed or rows)] for name, value in feeds.items()}
        count = len(some["edge_count"])
        try:
            found = session(padded(some, fixed))
        except Exception as error:
            return error
        parts.append([value[:count] for value in found.values()])
    return _joined(parts)


def _joined(parts: list[list[Array] | Exception]) -> list[Array] | Exception:
    failed = [part for part in parts if isinstance(part, Exception)]
    if failed:
        return failed[0]
    return [np.concatenate(values) for values in zip(*parts, strict=True)]  # type: ignore[arg-type]


def _filled(
    session: Session, feeds: Mapping[str, Array], rng: np.random.Generator
) -> dict[str, Array]:
    """Return the same rows with something in every slot that is empty."""
    empty = feeds["edge_count"] == 0
    empty[:, 0] = False
    filled = {name: value.copy() for name, value in feeds.items()}
    below = {spec.name: spec.below for spec in session.inputs}
    for name, value in filled.items():
        if name == "edge_count":
            continue
        shape = value[empty].shape
        noise = rng.random(shape) if value.dtype == np.float32 else 0
        value[empty] = noise if below[name] is None else rng.integers(0, below[name], shape)
    return filled


def _permutation(fanouts: list[int], rng: np.random.Generator) -> Array:
    """Return slots in an order that gives every parent its neighbours in another one."""
    level, start, order = np.zeros(1, np.int64), 1, [np.zeros(1, np.int64)]
    for fan_out in fanouts:
        lanes = np.stack([rng.permutation(fan_out) for _ in level])
        level = (level[:, None] * fan_out + lanes).ravel()
        order.append(start + level)
        start += level.size
    return np.concatenate(order)


def _most(bundle: Bundle) -> int:
    return max(bundle.manifest.fanouts or [1])


def _graphs(bundle: Bundle, seed: int) -> dict[str, tuple[int, Array]]:
    """Return graphs of which no node has more in-edges than the smallest fan-out."""
    rng, most = np.random.default_rng(seed), min(bundle.manifest.fanouts or [1])

    def edges(num_nodes: int, degree: Array, spread: int) -> Array:
        target = np.repeat(np.arange(num_nodes), degree)
        pairs = np.stack([rng.integers(0, spread, target.size), target])
        return pairs[:, rng.permutation(target.size)]

    usual = rng.integers(0, most + 1, 60)
    isolated = np.concatenate([np.full(20, most), np.zeros(20, np.int64)])
    loop = np.zeros((2, 1), np.int64)
    looped = edges(30, np.full(30, most), 30)
    looped[0, : 20 * most] = looped[1, : 20 * most]
    return {
        "usual": (60, edges(60, usual, 60)),
        "every slot taken": (60, edges(60, np.full(60, most), 60)),
        "no edges": (7, loop[:, :0]),
        "one node": (1, loop[:, :0]),
        "one node, one loop": (1, loop),
        "isolated nodes": (40, edges(40, isolated, 20)),
        "a source of all": (30, edges(30, np.full(30, most), 1)),
        "duplicates and loops": (30, looped),
    }
