from __future__ import annotations

import numpy as np
import pytest
import torch

from unstir.spaces import Graph

PATH = torch.tensor([[0.0, 1, 0], [1, 0, 2], [0, 2, 0]])


def test_a_graph_is_the_same_from_any_container(tmp_path):
    scipy_sparse = pytest.importorskip("scipy.sparse")
    file = tmp_path / "edges.txt"
    file.write_text("# a path\n0 1 1.0\n1,2,2\n\n")
    graphs = [
        Graph(PATH),
        Graph(PATH.to_sparse()),
        Graph(PATH.numpy()),
        Graph(scipy_sparse.csr_matrix(PATH.numpy())),
        Graph.from_edge_list(file),
    ]
    for graph in graphs:
        assert torch.equal(graph.adjacency.to_dense(), PATH.double())
        assert graph.degrees.tolist() == [1.0, 3.0, 2.0]


def test_networkx_brings_its_names_and_weights():
    networkx = pytest.importorskip("networkx")
    source = networkx.Graph()
    source.add_edge("liver", "blood", weight=3.0)
    source.add_edge("blood", "brain")
    graph = Graph(source)
    assert graph.names == ["liver", "blood", "brain"]
    assert graph.degrees.tolist() == [3.0, 4.0, 1.0]


def test_self_loops_carry_nothing():
    assert Graph(np.array([[5.0, 1.0], [1.0, 0.0]])).degrees.tolist() == [1.0, 1.0]


def test_disconnected_graphs_are_allowed_and_counted():
    graph = Graph(torch.block_diag(torch.ones(2, 2), torch.ones(3, 3)))
    assert graph.components == 2
    assert graph.component.tolist() == [0, 0, 1, 1, 1]


def test_directed_edges_need_to_be_declared():
    one_way = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    with pytest.raises(ValueError, match=r"asymmetric: \[0, 1\] and \[1, 0\]"):
        Graph(one_way)
    assert Graph(one_way, directed=True).degrees.tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (torch.ones(2, 3), "square"),
        (torch.tensor([[0.0, -1.0], [-1.0, 0.0]]), r"\[0, 1\] is -1"),
        (torch.tensor([[0.0, float("nan")], [float("nan"), 0.0]]), "finite"),
        (torch.ones(3), "square"),
    ],
)
def test_matrices_that_are_no_adjacency_are_refused(matrix, message):
    with pytest.raises(ValueError, match=message):
        Graph(matrix)


def test_a_line_that_is_no_edge_is_named(tmp_path):
    file = tmp_path / "edges.csv"
    file.write_text("a,b,1\na,c,heavy\n")
    with pytest.raises(ValueError, match="line 2"):
        Graph.from_edge_list(file)
    file.write_text("# nothing\n")
    with pytest.raises(ValueError, match="no edge"):
        Graph.from_edge_list(file)


def test_names_match_the_nodes():
    with pytest.raises(ValueError, match="3 names"):
        Graph(PATH, names=["a", "b"])
