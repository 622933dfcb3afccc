from __future__ import annotations

import gzip
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.datasets import ROOT, needs
from tests.helpers import close
from unstir.spaces import Tree

YELLOW_FEVER = ROOT / "phylo_yfv_tree" / "YFV_MCCtree.tree.gz"
BEAST = """#NEXUS
begin trees;
  translate 1 Rio|2017, 2 'Sao Paulo|2018', 3 Bahia;
  tree one = [&R] ((1[&location1=-22.9,host="NP",set={"a","b,c"}]:1.5,
  2[&hpd={1e-3,2}]:0.5)[&posterior=1.0]:1,3:2.5);
end;
"""


@st.composite
def parents(draw):
    """Parents of a random tree, in an order that hides the root."""
    n = draw(st.integers(2, 40))
    before = [-1] + [draw(st.integers(0, i - 1)) for i in range(1, n)]
    order = draw(st.permutations(range(n)))
    result = [0] * n
    for i, above in enumerate(before):
        result[order[i]] = -1 if above < 0 else order[above]
    return result


@given(parents(), st.integers(0, 100))
@settings(max_examples=30)
def test_levels_hold_every_node_once_below_its_parent_with_siblings_side_by_side(parent, seed):
    length = torch.rand(len(parent), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    tree = Tree(torch.tensor(parent), length)
    assert sorted(torch.cat(tree.levels).tolist()) == list(range(len(parent)))
    assert tree.levels[0].tolist() == [tree.root]
    for above, nodes in zip(tree.levels, tree.levels[1:], strict=False):
        assert set(tree.parent[nodes].tolist()) <= set(above.tolist())
        place = tree.places[tree.parent[nodes]]
        assert bool((place.diff() >= 0).all())
    inner = tree.parent >= 0
    close(tree.depth[inner], (tree.depth[tree.parent] + tree.length)[inner], atol=1e-12)
    assert set(tree.tips.tolist()) == set(range(len(parent))) - set(parent)


def test_newick_gives_parents_lengths_and_names():
    tree = Tree.from_newick("((A:1,B_x:2.5)inner:3,'C d':4)top;")
    at = {name: i for i, name in enumerate(tree.names)}
    assert set(at) == {"A", "B_x", "inner", "C d", "top"}
    assert tree.tip_names == ["A", "B_x", "C d"]
    assert tree.parent[at["A"]] == at["inner"]
    assert tree.root == at["top"]
    close(tree.depth[tree.tips], torch.tensor([4.0, 5.5, 4.0]))


def test_nexus_keeps_the_annotations_of_beast_even_with_commas_in_them(tmp_path):
    path = tmp_path / "one.tree.gz"
    path.write_bytes(gzip.compress(BEAST.encode()))
    tree = Tree.from_nexus(path)
    at = {name: i for i, name in enumerate(tree.names)}
    assert tree.tip_names == ["Rio|2017", "Sao Paulo|2018", "Bahia"]
    assert tree.annotations[at["Rio|2017"]] == {"location1": -22.9, "host": "NP", "set": ["a", "b,c"]}
    assert tree.annotations[at["Sao Paulo|2018"]] == {"hpd": [1e-3, 2.0]}
    inner = int(tree.parent[at["Rio|2017"]])
    assert tree.annotations[inner] == {"posterior": 1.0}
    same = Tree.from_file(path)
    assert same.names == tree.names


def test_a_ladder_deeper_than_the_recursion_limit_is_read():
    text = "A:1"
    for i in range(1500):
        text = f"({text},B{i}:1):1"
    tree = Tree.from_newick(text + ";")
    assert len(tree.levels) == 1501
    assert float(tree.depth.max()) == 1500.0


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("((A:1,B):3,C:4);", "edge above 'B' .* has no length"),
        ("((A:1,B:2),C:4);", "edge above 'clade of A' .* has no length"),
        ("((A:1,B:-2):3,C:4);", "'B' has length -2"),
        ("((A:1,B:2):3,A:4);", "two tips .* are named A"),
        ("((A:1,:2):3,C:4);", "tip of the tree has no name"),
        ("((A:1,B:2", "not a tree in newick format"),
    ],
)
def test_what_is_wrong_with_a_newick_tree_is_said_in_one_sentence(text, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        Tree.from_newick(text)
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_tree_is_said_to_be_none(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("nothing here\n")
    with pytest.raises(ValueError, match="no"):
        Tree.from_file(path)
    path.write_bytes(bytes(range(256)))
    with pytest.raises(ValueError, match="not a tree file"):
        Tree.from_file(path)
    path.write_text("#NEXUS\nbegin taxa;\nend;\n")
    with pytest.raises(ValueError, match="no tree"):
        Tree.from_file(path)


@pytest.mark.parametrize(
    ("parent", "length", "sentence"),
    [
        ([-1, 0, 3, 2], [0, 1, 1, 1], "circle"),
        ([-1, -1, 0], [0, 1, 1], "one root"),
        ([-1, 0, 7], [0, 1, 1], "node numbers"),
        ([-1, 0, 0], [0, 1], "needs 3 edge lengths"),
        ([-1, 0, 0], [0, 1, float("nan")], "finite"),
    ],
)
def test_arrays_that_are_no_tree_are_refused(parent, length, sentence):
    with pytest.raises(ValueError, match=sentence):
        Tree(torch.tensor(parent), torch.tensor(length, dtype=torch.float64))


def test_a_yule_tree_is_binary_ends_at_one_time_and_has_the_expected_height():
    heights = []
    for seed in range(100):
        tree = Tree.yule(20, 2.0, seed=seed)
        counts = tree.child_counts
        assert set(counts.tolist()) == {0, 2}
        assert len(tree.tips) == 20
        depth = tree.depth[tree.tips]
        close(depth, depth[:1].expand(20), atol=1e-12)
        heights.append(float(depth[0]))
    steps = 1.0 / (2.0 * torch.arange(2.0, 21.0))
    mean, deviation = float(steps.sum()), float(steps.square().sum().sqrt())
    assert abs(sum(heights) / 100 - mean) < 4 * deviation / 100**0.5


@given(st.integers(2, 30), st.integers(0, 50), st.integers(0, 9))
@settings(max_examples=20)
def test_cutting_a_tree_keeps_its_nodes_and_puts_one_on_every_edge_that_crosses_a_time(tips, seed, count):
    tree = Tree.yule(tips, seed=seed)
    times = torch.linspace(0.05, 0.95, count, dtype=torch.float64) * tree.depth.max()
    cut = tree.cut(times)
    n = len(tree)
    close(cut.depth[:n], tree.depth, atol=1e-12)
    assert cut.tip_names == tree.tip_names
    for time in times:
        crossing = (tree.depth > time) & (tree.depth[tree.parent.clamp(min=0)] < time) & (tree.parent >= 0)
        assert int(((cut.depth[n:] - time).abs() < 1e-12).sum()) == int(crossing.sum())
    for node in range(n):  # going up the new nodes leads to the same parent
        above = int(cut.parent[node])
        while above >= n:
            above = int(cut.parent[above])
        assert above == int(tree.parent[node])


@needs(YELLOW_FEVER)
def test_the_yellow_fever_tree_is_read_with_locations_at_every_node():
    tree = Tree.from_nexus(YELLOW_FEVER)
    assert (len(tree), len(tree.tips)) == (931, 466)
    assert all({"location1", "location2"} <= set(entry) for entry in tree.annotations)
    # A tip seen on a known day has one height: it and the length from the root are the same clock.
    dated = [i for i in tree.tips.tolist() if re.search(r"\|\d{4}-\d\d-\d\d$", tree.names[i])]
    assert len(dated) > 400
    end = (
        torch.tensor([tree.annotations[i]["height"] for i in dated], dtype=torch.float64) + tree.depth[dated]
    )
    close(end, end[:1].expand(len(end)), atol=1e-6)
