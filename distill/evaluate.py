"""What a network's answers are worth: the metric on each set, agreement with another network."""

import torch
from torch import Tensor

from ..kernels import CSRGraph
from .batches import BatchSettings
from .data import NodeData
from .distiller import Role
from .inference import answers
from .labels import score
from .models import call
from .parts import positions, subgraph


def predict(
    module: torch.nn.Module, data: NodeData, batches: BatchSettings | None = None
) -> Tensor:
    """Return the logits of all nodes, [N, C], in evaluation mode.

    Each of several graphs is answered alone. Where some nodes were kept from training, the others
    are answered in the graph without them.

    Args:
        module: The network.
        data: The data.
        batches: How it was trained on parts of the graph; with an `eval_batch_size` it answers for
            that many nodes at a time.
    """
    whole = data.batch is None and data.unseen is None
    if batches is not None and batches.eval_batch_size is not None and whole:
        nodes, size = torch.arange(data.num_nodes), batches.eval_batch_size
        found = answers(Role(module), data.observed(), nodes, batches.hops, size)
        return torch.cat([answer.logits for _, answer in found])
    module.eval()
    with torch.no_grad():
        if data.batch is not None:
            return _graph_by_graph(module, data, data.batch)
        logits = call(module, data.x, data.graph)
        if data.unseen is not None:
            seen = data.observed()
            logits[seen.n_id] = call(module, seen.x, seen.graph)
    return logits


def _graph_by_graph(module: torch.nn.Module, data: NodeData, batch: Tensor) -> Tensor:
    nodes = [(batch == number).nonzero().squeeze(1) for number in batch.unique()]
    answers = []
    for some in nodes:
        edges = subgraph(data.edge_index, positions(some, data.num_nodes))
        answers.append(call(module, data.x[some], CSRGraph.from_edge_index(edges, some.numel())))
    return torch.cat(answers)[torch.cat(nodes).argsort()]


def accuracies(logits: Tensor, data: NodeData) -> dict[str, float]:
    """Return the accuracy, or what else the data is measured by, 0-1. Reads the test labels.

    Returns:
        "train", "val" and "test". Where test nodes were kept from training also "test_observed",
        those that were not; "test_inductive", those that were; and "production", the mean of both
        by their shares of the test nodes. Of several named graphs to test on also each.
    """

    def measured(nodes: Tensor) -> float:
        return score(logits[nodes], data.y[nodes], data.metric_name)

    split = data.split
    found = {name: measured(getattr(split, name)) for name in ("train", "val", "test")}
    if data.unseen is not None:
        observed = split.test[~torch.isin(split.test, data.unseen)]
        share = data.unseen.numel() / split.test.numel()
        found["test_observed"], found["test_inductive"] = measured(observed), measured(data.unseen)
        parts = (1 - share) * found["test_observed"], share * found["test_inductive"]
        found["production"] = sum(parts)
    return found | {f"test_{name}": measured(nodes) for name, nodes in _test_graphs(data).items()}


def _test_graphs(data: NodeData) -> dict[str, Tensor]:
    """Return the test nodes of each named graph, where there is more than one."""
    if data.batch is None or data.graph_names is None:
        return {}
    graph, names = data.batch[data.split.test], list(data.graph_names)
    numbers: list[int] = graph.unique().tolist()
    if len(numbers) < 2:
        return {}
    return {names[number]: data.split.test[graph == number] for number in numbers}


def agreement(a: Tensor, b: Tensor) -> float:
    """Return the fraction of nodes for which two networks name the same class."""
    return float((a.argmax(dim=-1) == b.argmax(dim=-1)).double().mean())
