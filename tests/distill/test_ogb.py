"""Sets of the Open Graph Benchmark, on small copies of their formats."""

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cases import DATA, needs_data
from graphstill.distill import (
    DataError,
    HeteroNodeData,
    TrainSettings,
    fitting,
    load,
    ogb,
    train,
)

# as published, but small
NODES = {"author": 4, "field_of_study": 3, "institution": 2, "paper": 6}
RELATIONS = {
    ("author", "affiliated_with", "institution"): [[0, 1, 3], [0, 1, 1]],
    ("author", "writes", "paper"): [[0, 1, 2, 3], [0, 5, 2, 1]],
    ("paper", "cites", "paper"): [[0, 5], [1, 0]],
    ("paper", "has_topic", "field_of_study"): [[0, 1, 2], [2, 1, 0]],
}


def write(path: Path, rows: object, header: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [",".join(map(str, row)) for row in np.asarray(rows).tolist()]
    with gzip.open(path, "wt") as file:
        file.write("\n".join([*([header] if header else []), *lines]) + "\n")


def write_parts(folder: Path) -> None:
    for part, nodes in (("train", [0, 2, 3]), ("valid", [1]), ("test", [4, 5])):
        write(folder / f"{part}.csv.gz", [[node] for node in nodes])


def write_one_graph(folder: Path, split: str) -> np.ndarray:
    features = np.random.default_rng(0).standard_normal((6, 3)).round(4)
    write(folder / "raw/edge.csv.gz", [[0, 1], [1, 0], [2, 3], [4, 5], [5, 1]])
    write(folder / "raw/node-feat.csv.gz", features)
    write(folder / "raw/node-label.csv.gz", [[i % 3] for i in range(6)])
    write(folder / "raw/num-node-list.csv.gz", [[6]])
    write(folder / "raw/num-edge-list.csv.gz", [[5]])
    write_parts(folder / "split" / split)
    return features


def write_mag(folder: Path) -> np.ndarray:
    raw, features = folder / "raw", np.random.default_rng(1).standard_normal((6, 3)).round(4)
    write(raw / "num-node-dict.csv.gz", [list(NODES.values())], ",".join(NODES))
    triplets = "\n".join(",".join(triplet) for triplet in RELATIONS) + "\n"
    (raw / "triplet-type-list.csv.gz").write_bytes(gzip.compress(triplets.encode()))
    for triplet, edges in RELATIONS.items():
        write(raw / "relations" / "___".join(triplet) / "edge.csv.gz", np.transpose(edges))
        write(raw / "relations" / "___".join(triplet) / "num-edge-list.csv.gz", [[len(edges[0])]])
        write(
            raw / "relations" / "___".join(triplet) / "edge_reltype.csv.gz", [[0]] * len(edges[0])
        )
    write(raw / "node-feat/paper/node-feat.csv.gz", features)
    write(raw / "node-feat/paper/node_year.csv.gz", [[2010 + i] for i in range(6)])
    write(raw / "node-label/paper/node-label.csv.gz", [[i % 3] for i in range(6)])
    write(raw / "nodetype-has-label.csv.gz", [[kind == "paper" for kind in NODES]], ",".join(NODES))
    split = folder / "split/time"
    write(
        split / "nodetype-has-split.csv.gz", [[kind == "paper" for kind in NODES]], ",".join(NODES)
    )
    write_parts(split / "paper")
    return features


@pytest.mark.parametrize(
    ("name", "folder", "split"),
    [("ogbn-arxiv", "ogbn_arxiv", "time"), ("ogbn-products", "ogbn_products", "sales_ranking")],
)
def test_one_graph(name: str, folder: str, split: str, tmp_path: Path) -> None:
    features = write_one_graph(tmp_path / folder, split)
    data = load(name, tmp_path)
    torch.testing.assert_close(data.x, torch.from_numpy(features).float())
    assert data.y.tolist() == [0, 1, 2, 0, 1, 2]
    pairs = {(0, 1), (1, 0), (2, 3), (3, 2), (4, 5), (5, 4), (5, 1), (1, 5)}
    assert set(zip(*data.edge_index.tolist(), strict=True)) == pairs
    assert data.edge_index.shape[1] == len(pairs)
    assert [p.tolist() for p in (data.split.train, data.split.val, data.split.test)] == [
        [0, 2, 3],
        [1],
        [4, 5],
    ]
    assert data.feature_transform is None
    (tmp_path / folder / "raw/node-feat.csv.gz").unlink()
    with pytest.raises(DataError, match=r"node-feat\.csv\.gz cannot be read"):
        load(name, tmp_path)


def test_substitute_features_are_called_that(tmp_path: Path) -> None:
    folder = tmp_path / "ogbn_arxiv"
    write_one_graph(folder, "time")
    (folder / "raw/node-feat.csv.gz").unlink()
    text = "4,0\n\n39\n1,2,3,5,6\n0\n0\n"
    (folder / "extra").mkdir()
    (folder / "extra/gpt_preds.csv.gz").write_bytes(gzip.compress(text.encode()))
    data = load("ogbn-arxiv", tmp_path)
    assert (data.x[0, 4], data.x[0, 0], data.x[1].sum(), data.x[3, 6]) == (1, 0.5, 0, 0.2)
    assert "not comparable with published scores" in str(data.feature_transform)
    write(folder / "raw/node-feat.csv.gz", np.ones((6, 2)))
    assert load("ogbn-arxiv", tmp_path).feature_transform is None


def test_mag(tmp_path: Path) -> None:
    features = write_mag(tmp_path / "ogbn_mag")
    data = ogb.mag(tmp_path)
    assert {kind: data[kind].num_nodes for kind in data.node_types} == NODES
    for triplet, edges in RELATIONS.items():
        assert data[triplet].edge_index.tolist() == edges
    torch.testing.assert_close(data["paper"].x, torch.from_numpy(features).float())
    assert data["paper"].y.tolist() == [0, 1, 2, 0, 1, 2]
    assert data["paper"].val_mask.nonzero().tolist() == [[1]]
    assert "x" not in data["author"]
    loaded = load("ogbn-mag", tmp_path)
    assert isinstance(loaded, HeteroNodeData)
    assert (loaded.target, loaded.num_classes) == ("paper", 3)
    assert len(loaded.edge_index) == 2 * len(RELATIONS) - 1  # citations are undirected
    assert loaded.split.val.tolist() == [1]
    run = train(
        fitting(loaded, "HeteroRGCN", 4, 2, {"embedding": 3}),
        loaded,
        TrainSettings(epochs=2),
        progress=False,
    )
    assert run.architecture.arguments["num_nodes"].keys() == NODES.keys() - {"paper"}


def test_without_a_root_it_is_downloaded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAPHSTILL_CACHE", str(tmp_path / "cache"))
    write_one_graph(tmp_path / "server" / "products", "sales_ranking")
    asked = []

    def download(url: str, folder: str) -> str:
        asked.append(url)
        Path(folder).mkdir(parents=True)
        return shutil.make_archive(f"{folder}/products", "zip", tmp_path / "server", "products")

    monkeypatch.setattr(ogb, "download_url", download)
    assert load("ogbn-products").num_nodes == 6
    assert load("ogbn-products").num_nodes == 6
    assert asked == ["http://snap.stanford.edu/ogb/data/nodeproppred/products.zip"]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["ogbn_products"]


def test_a_failed_download_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHSTILL_CACHE", str(tmp_path / "cache"))

    def fail(url: str, folder: str) -> str:
        raise OSError("no network")

    monkeypatch.setattr(ogb, "download_url", fail)
    with pytest.raises(DataError, match="no network; unpack it elsewhere and give a root folder"):
        load("ogbn-arxiv")


@pytest.mark.filterwarnings("ignore")
def test_what_the_package_ogb_reads_is_the_same(tmp_path: Path) -> None:
    package = pytest.importorskip("ogb.nodeproppred", reason="the package ogb is not installed")
    for name, folder in (("ogbn-products", "ogbn_products"), ("ogbn-mag", "ogbn_mag")):
        place = tmp_path / folder
        write_mag(place) if name == "ogbn-mag" else write_one_graph(place, "sales_ranking")
        (place / "processed").mkdir()
        (place / ("RELEASE_v2.txt" if name == "ogbn-mag" else "RELEASE_v1.txt")).touch()
        theirs = package.NodePropPredDataset(name, root=str(tmp_path))
        graph, y = theirs[0]
        if name == "ogbn-mag":
            ours = ogb.mag(tmp_path)
            for triplet, edges in graph["edge_index_dict"].items():
                assert torch.equal(ours[triplet].edge_index, torch.from_numpy(edges))
            assert torch.equal(ours["paper"].x, torch.from_numpy(graph["node_feat_dict"]["paper"]))
            assert torch.equal(ours["paper"].y, torch.from_numpy(y["paper"]).squeeze(1))
            assert graph["num_nodes_dict"] == NODES
        else:
            data = ogb.products(tmp_path)
            assert pairs_of(data.edge_index) == pairs_of(torch.from_numpy(graph["edge_index"]))
            assert torch.equal(data.x, torch.from_numpy(graph["node_feat"]))
            assert torch.equal(data.y, torch.from_numpy(y).squeeze(1))
            parts = theirs.get_idx_split()
            assert data.split.val.tolist() == parts["valid"].tolist()


def pairs_of(edge_index: Tensor) -> set[tuple[int, int]]:
    return set(map(tuple, edge_index.T.tolist()))


@needs_data
@pytest.mark.slow
def test_the_real_arxiv_graph() -> None:
    data = load("ogbn-arxiv", DATA)
    assert (data.num_nodes, data.edge_index.shape[1]) == (169_343, 2_315_598)
    assert (data.num_features, data.num_classes) == (40, 40)
    assert [len(part) for part in (data.split.train, data.split.val, data.split.test)] == [
        90_941,
        29_799,
        48_603,
    ]
    named = data.x.argmax(dim=1)[data.split.test] == data.y[data.split.test]
    assert 0.73 < float(named.double().mean()) < 0.75
