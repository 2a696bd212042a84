"""How graphs are built, and what is refused."""

import pytest
import torch
from torch import Tensor
from torch_geometric import EdgeIndex

from cases import GRAPHS, graphs
from graphstill.kernels import CSRGraph, GCNConv, reference


@graphs
def test_a_sorted_graph_is_taken_as_it_is(graph: str) -> None:
    edge_index, num_nodes = GRAPHS[graph]
    rowptr, col, _ = reference.csr(edge_index, num_nodes, num_nodes)
    csr = CSRGraph.from_csr(rowptr.int(), col.long())
    assert torch.equal(csr.rowptr, rowptr)
    assert torch.equal(csr.col, col)
    assert csr.perm.tolist() == list(range(col.numel()))
    assert (csr.num_nodes, csr.num_src, csr.num_edges) == (num_nodes, num_nodes, col.numel())


@pytest.mark.parametrize(
    ("rowptr", "col", "num_src", "error", "said"),
    [
        ([0, 2], [0, 3], None, ValueError, "edge 1 names source 3"),
        ([0, 2], [0, 3], 3, ValueError, "edge 1 names source 3"),
        ([0, 2], [-1, 0], 3, ValueError, "edge 0 names source -1"),
        ([0, 2, 1], [0], None, ValueError, "rise from 0"),
        ([1, 1], [0], None, ValueError, "rise from 0"),
        ([0, 1], [0, 0], None, ValueError, "number of edges, 2"),
        ([[0, 1]], [0], None, ValueError, "rowptr must have one dimension"),
        ([0.0, 1.0], [0], None, TypeError, "rowptr must hold integers"),
    ],
)
def test_what_is_no_csr_is_refused(
    rowptr: list[int], col: list[int], num_src: int | None, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        CSRGraph.from_csr(torch.tensor(rowptr), torch.tensor(col), num_src)


def test_pygs_edge_index_is_one() -> None:
    edge_index, num_nodes = GRAPHS["usual"]
    typed = EdgeIndex(edge_index, sparse_size=(num_nodes, num_nodes))
    graph = CSRGraph.from_edge_index(typed, num_nodes)
    assert type(graph.col) is Tensor
    layer, x = GCNConv(3, 2), torch.randn(num_nodes, 3)
    torch.testing.assert_close(layer(x, typed), layer(x, edge_index))


@pytest.mark.filterwarnings("ignore")
def test_a_sparse_adjacency_says_how_to_pass_it() -> None:
    adjacency = torch.eye(3).to_sparse_csr()
    with pytest.raises(TypeError, match=r"CSRGraph\.from_csr"):
        GCNConv(2, 2)(torch.randn(3, 2), adjacency)
    graph = CSRGraph.from_csr(adjacency.crow_indices(), adjacency.col_indices())
    assert graph.num_edges == 3
