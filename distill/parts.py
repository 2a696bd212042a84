"""Parts of a graph: the edges among some of its nodes, and its largest component."""

import torch
from torch import Tensor


def positions(nodes: Tensor, num_nodes: int) -> Tensor:
    """Return where each node of a graph is among some of them, [num_nodes]; -1 for the others."""
    place = nodes.new_full((num_nodes,), -1)
    place[nodes] = torch.arange(nodes.numel(), device=nodes.device)
    return place


def subgraph(edge_index: Tensor, place: Tensor) -> Tensor:
    """Return the edges among some nodes, numbered by `positions`, in the order they had."""
    edges = place[edge_index]
    return edges[:, (edges >= 0).all(dim=0)]


def largest_component(edge_index: Tensor, num_nodes: int) -> Tensor:
    """Return the ids of the nodes of the largest weakly connected component, in order.

    Of components of one size it is the one whose first node comes first.
    """
    import scipy.sparse
    from scipy.sparse.csgraph import connected_components

    ones = torch.ones(edge_index.shape[1], dtype=torch.int8)
    pairs = (edge_index[0].numpy(), edge_index[1].numpy())
    adjacency = scipy.sparse.coo_matrix((ones.numpy(), pairs), shape=(num_nodes, num_nodes))
    _, component = connected_components(adjacency, directed=False)
    component = torch.from_numpy(component).long()
    return (component == component.bincount().argmax()).nonzero().squeeze(1)
