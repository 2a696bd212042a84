"""Data: splits that keep test labels apart, PyG objects, folders that are only read."""

import shutil
import stat
from pathlib import Path

import pytest
import torch
from torch_geometric.data import Data

from cases import DATA, needs_data
from graphstill.distill import DataError, NodeData, Split, digits, load


def small(**changes: object) -> Data:
    torch.manual_seed(0)
    fields = {
        "x": torch.randn(200, 4),
        "edge_index": torch.randint(0, 200, (2, 600)),
        "y": torch.arange(200) % 2,
    }
    return Data(**{**fields, **changes})


def test_training_does_not_see_test_labels() -> None:
    data = digits()
    seen = data.observed()
    assert set(seen.y[data.split.test].tolist()) == {-1}
    for nodes in (data.split.train, data.split.val):
        assert torch.equal(seen.y[nodes], data.y[nodes])
    assert not hasattr(seen, "split")


def test_digits_are_what_they_say() -> None:
    data = digits()
    assert (data.num_nodes, data.num_features, data.num_classes) == (1797, 64, 10)
    pairs = set(map(tuple, data.edge_index.T.tolist()))
    assert all((b, a) in pairs for a, b in pairs)
    assert [len(part) for part in (data.split.train, data.split.val)] == [200, 300]
    assert torch.equal(digits().split.train, data.split.train)
    assert not torch.equal(digits(seed=1).split.train, data.split.train)


def test_a_split_takes_the_same_number_of_each_class() -> None:
    y = torch.arange(300) % 3
    split = Split.per_class(y, train=5, val=7, seed=0)
    assert y[split.train].bincount().tolist() == [5, 5, 5]
    assert y[split.val].bincount().tolist() == [7, 7, 7]
    assert len(split.test) == 300 - 36


def test_overlapping_sets_are_refused() -> None:
    with pytest.raises(DataError, match="overlap"):
        Split(torch.tensor([0, 1]), torch.tensor([1]), torch.tensor([2]))


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (([0, 1], [2], []), "test must not be empty"),
        (([], [2], [3]), "train must not be empty"),
        (([0, 0], [2], [3]), "in train twice"),
        (([0], [1], [2000]), r"test must hold ids in \[0, 1797\), got 2000"),
        (([0], [-1], [3]), r"val must hold ids in \[0, 1797\), got -1"),
    ],
)
def test_splits_that_do_not_fit(parts: tuple[list[int], ...], said: str) -> None:
    nodes = (torch.tensor(part, dtype=torch.int64) for part in parts)
    with pytest.raises(DataError, match=said):
        digits().with_split(Split(*nodes), "mine")


def test_a_mask_is_no_split() -> None:
    with pytest.raises(DataError, match="of a mask take"):
        Split(torch.ones(4, dtype=torch.bool), torch.tensor([1]), torch.tensor([2]))


def test_labels_must_be_classes_where_a_split_needs_them() -> None:
    split = Split(torch.tensor([0]), torch.tensor([1]), torch.tensor([2]))
    pyg = small()
    y = pyg.y.clone()
    y[7] = -1  # without a label, and in no set
    assert NodeData("mine", pyg.x, pyg.edge_index, y, split).num_classes == 2
    y[2] = -1
    with pytest.raises(DataError, match=r"labels must be in \[0, 2\), got -1 to -1"):
        NodeData("mine", pyg.x, pyg.edge_index, y, split)
    y[2] = 3
    with pytest.raises(DataError, match=r"labels must be in \[0, 2\), got 3 to 3"):
        NodeData("mine", pyg.x, pyg.edge_index, y, split, class_names=["a", "b"])


def test_a_class_too_small_for_the_split_is_named() -> None:
    with pytest.raises(DataError, match="class 1 has 10 nodes"):
        Split.per_class(torch.tensor([0] * 100 + [1] * 10), train=20, val=30, seed=0)


def test_a_pyg_object_with_masks() -> None:
    masks = torch.eye(3, dtype=torch.bool).repeat(1, 67)[:, :200]
    pyg = small(train_mask=masks[0], val_mask=masks[1], test_mask=masks[2])
    data = NodeData.from_pyg(pyg)
    assert torch.equal(data.split.val, masks[1].nonzero().squeeze(1))
    assert data.graph.num_edges == 600


def test_a_pyg_object_without_masks_gets_a_split() -> None:
    assert NodeData.from_pyg(small()).split_name == "20 + 30 per class, seed 0"


@pytest.mark.parametrize(
    ("pyg", "said"),
    [
        (small(x=None), "has no x"),
        (small(y=None), "has no y"),
        (small(y=torch.zeros(200, 3)), "nodes with several labels cannot be drawn by class"),
        (small(y=torch.zeros(200, 3, 2)), "y must be"),
        (small(y=torch.arange(100) % 2), "y must be classes .200."),
        (small(x=torch.full((200, 4), torch.nan)), "node 0 hold NaN"),
        (small(train_mask=torch.ones(200, dtype=torch.bool)), "all of train_mask"),
    ],
)
def test_what_does_not_fit_is_said(pyg: Data, said: str) -> None:
    with pytest.raises(DataError, match=said):
        NodeData.from_pyg(pyg)


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(DataError, match="digits, cora"):
        load("coral")
    with pytest.raises(DataError, match=r"cannot load no\.such:thing"):
        load("no.such:thing")


def test_a_function_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\nfrom torch_geometric.data import Data\n"
        "def graph():\n"
        "    return Data(x=torch.ones(200, 3), edge_index=torch.zeros(2, 0).long(),\n"
        "                y=torch.arange(200) % 2)\n"
        "def number():\n    return 3\n"
    )
    monkeypatch.chdir(tmp_path)
    assert load("mine:graph").num_features == 3
    with pytest.raises(DataError, match="returned int"):
        load("mine:number")


@needs_data
@pytest.mark.parametrize(
    ("name", "nodes", "classes"), [("cora", 2708, 7), ("amazon-photo", 7650, 8)]
)
def test_a_root_that_is_only_read(
    name: str, nodes: int, classes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAPHSTILL_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "root"
    folder = {"cora": "planetoid/Cora", "amazon-photo": "amazon/Photo"}[name]
    shutil.copytree(DATA / folder / "raw", root / folder / "raw")
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*")}
    for path in [root, *before]:
        path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    for place in (root, root / folder):
        data = load(name, place)
        assert (data.num_nodes, data.num_classes) == (nodes, classes)
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*")} == before
    if name == "cora":
        assert data.feature_transform == "torch_geometric.transforms.NormalizeFeatures()"
        torch.testing.assert_close(data.x.sum(dim=1).max(), torch.tensor(1.0))
    else:  # words that an item has or has not, as PyG gives them
        assert data.feature_transform is None
        assert set(data.x.unique().tolist()) == {0.0, 1.0}
    for path in [root, *before]:
        path.chmod(stat.S_IRWXU)


def test_a_root_without_the_files_says_where_it_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAPHSTILL_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DataError, match="planetoid/Cora/raw"):
        load("cora", tmp_path)
