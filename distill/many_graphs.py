"""Several graphs as one `NodeData`, for training that is inductive by graph.

Graphs are joined without edges between them; which are trained on, validated on and tested on is
said once and holds from there: `NodeData.observed` has the training graphs, validation runs on its
own, and nothing of a test graph is in what training sees.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor
from torch_geometric.data import Data

from .data import NodeData
from .errors import DataError
from .labels import Metric, as_labels
from .parts import largest_component, positions, subgraph
from .splits import Split


def join(
    train: Sequence[Data],
    val: Sequence[Data],
    test: Sequence[Data],
    *,
    name: str = "data",
    class_names: Sequence[str] | None = None,
    feature_transform: str | None = None,
    metric: Metric | None = None,
    graph_names: Sequence[str] | None = None,
) -> NodeData:
    """Join graphs to train on, to validate on and to test on.

    Args:
        train: PyG `Data` objects with x, edge_index and y, all with the same features and labels.
        val: The same, to validate on.
        test: The same, to report.
        name: What the data is called.
        class_names: Names of the classes.
        feature_transform: What was done to raw features.
        metric: What answers are measured by; None means the usual metric of such labels.
        graph_names: Names of all graphs: of train, then val, then test.

    Raises:
        DataError: If a graph lacks something, or they do not fit together.
    """
    graphs = [_taken(graph, number) for number, graph in enumerate([*train, *val, *test])]
    xs, edges, ys = zip(*graphs, strict=True)
    forms = {
        f"{list(x.shape[1:])}, {list(y.shape[1:])} {y.dtype}" for x, y in zip(xs, ys, strict=True)
    }
    if len(forms) > 1:
        raise DataError(
            f"graphs must have the same features and labels: {', '.join(sorted(forms))}"
        )
    if graph_names is not None and len(graph_names) != len(graphs):
        raise DataError(f"{len(graphs)} graphs need as many names, got {len(graph_names)}")
    sizes = torch.tensor([x.shape[0] for x in xs])
    starts = (sizes.cumsum(0) - sizes).tolist()
    ends = [0, len(train), len(train) + len(val), len(graphs)]
    batch = torch.arange(len(graphs)).repeat_interleave(sizes)
    roles = [(batch >= low) & (batch < high) for low, high in pairwise(ends)]
    return NodeData(
        name,
        torch.cat(xs),
        torch.cat([pairs + start for pairs, start in zip(edges, starts, strict=True)], dim=1),
        torch.cat(ys),
        Split(*(role.nonzero().squeeze(1) for role in roles)),
        f"by graph, {len(train)} / {len(val)} / {len(test)}",
        class_names,
        feature_transform,
        metric,
        batch=batch,
        graph_names=graph_names,
    )


def largest_component_of(data: NodeData) -> NodeData:
    """Return a graph's largest connected component, as in Shchur et al. 2018.

    Its split is what is left of the old one.

    Raises:
        DataError: If one of its sets is empty then.
    """
    nodes = largest_component(data.edge_index, data.num_nodes)
    place = positions(nodes, data.num_nodes)
    parts = (place[part] for part in (data.split.train, data.split.val, data.split.test))
    return replace(
        data,
        x=data.x[nodes],
        edge_index=subgraph(data.edge_index, place),
        y=data.y[nodes],
        split=Split(*(part[part >= 0] for part in parts)),
        split_name=f"{data.split_name}, largest component",
        unseen=None,
        batch=None,
        graph_names=None,
    )


def _taken(graph: Data, number: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return features, edges and labels of one graph."""
    x, edges, y = graph.x, graph.edge_index, graph.y
    if x is None or edges is None or not isinstance(y, Tensor):
        raise DataError(f"graph {number} needs x, edge_index and y, it has {graph.keys()}")
    return x.float(), edges, as_labels(y)
