"""Sets of several graphs, on small copies of their formats, and on the real files if there are."""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import scipy.sparse
import torch

from cases import DATA, needs_data
from graphstill.distill import DataError, load
from graphstill.distill.graph_sets import CITATIONS, LANGUAGES


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHSTILL_CACHE", str(tmp_path / "cache"))


def write_ppi(raw: Path) -> dict[str, np.ndarray]:
    """Write two training graphs, one to validate on and two to test on, as GraphSAGE did."""
    raw.mkdir(parents=True)
    random, written = np.random.default_rng(0), {}
    first_graph = 1
    for part, sizes in (("train", (5, 7)), ("valid", (4,)), ("test", (6, 3))):
        graph = np.repeat(np.arange(len(sizes)), sizes)
        links, start = [], 0
        for size in sizes:
            around = [(start + i, start + (i + 1) % size) for i in range(size)]
            links += [{"source": a, "target": b} for a, b in [*around, (start, start)]]
            start += size
        nodes = [{"id": node} for node in range(start)]
        text = {"directed": False, "multigraph": False, "graph": {}, "nodes": nodes, "links": links}
        (raw / f"{part}_graph.json").write_text(json.dumps({**text, "directed": True}))
        written[part] = random.standard_normal((start, 50))
        written[f"{part} labels"] = random.integers(0, 2, (start, 121))
        np.save(raw / f"{part}_feats.npy", written[part])
        np.save(raw / f"{part}_labels.npy", written[f"{part} labels"])
        np.save(raw / f"{part}_graph_id.npy", graph + first_graph)
        first_graph += len(sizes)
    return written


def test_ppi_is_read_by_pyg(tmp_path: Path) -> None:
    written = write_ppi(tmp_path / "root" / "ppi" / "raw")
    data = load("ppi", tmp_path / "root")
    assert (data.num_nodes, data.num_features, data.num_classes) == (25, 50, 121)
    assert data.split_name == "by graph, 2 / 1 / 2"
    assert data.metric_name == "micro-f1"
    assert data.batch is not None
    assert data.batch.bincount().tolist() == [5, 7, 4, 6, 3]
    for name, nodes in (("train", data.split.train), ("test", data.split.test)):
        torch.testing.assert_close(data.x[nodes], torch.from_numpy(written[name]).float())
        assert torch.equal(data.y[nodes], torch.from_numpy(written[f"{name} labels"]).float())
    assert data.observed().graph.num_edges == 12  # self loops are left out by PyG


def test_ppi_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no raw files of ppi"):
        load("ppi", tmp_path)


def write_citations(raw: Path) -> None:
    raw.mkdir(parents=True)
    for number, name in enumerate(CITATIONS):
        nodes = 4 + number
        ring = scipy.sparse.coo_matrix(
            np.roll(np.eye(nodes), 1, axis=1) + np.roll(np.eye(nodes), -1, axis=1)
        )
        words = np.zeros((nodes, 6))
        words[1:, 0], words[1:, 2 + number] = 1, 3
        areas = np.eye(nodes, 5)
        areas[:, 1] = 1
        parts = {"network": ring, "attrb": scipy.sparse.csc_matrix(words), "group": areas}
        scipy.io.savemat(raw / f"{name}.mat", parts)


def test_citation_graphs_are_read(tmp_path: Path) -> None:
    write_citations(tmp_path / "citation_multilabel" / "raw")
    data = load("citation-multilabel", tmp_path)
    assert [len(part) for part in (data.split.train, data.split.val, data.split.test)] == [4, 5, 6]
    assert data.x[1].tolist() == [0.25, 0, 0.75, 0, 0, 0]
    assert data.x[0].tolist() == [0.0] * 6
    assert data.y[2].tolist() == [0, 1, 1, 0, 0]
    assert data.observed().graph.num_edges == 8
    (tmp_path / "citation_multilabel" / "raw" / "acmv9.mat").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"acmv9\.mat is not a citation graph"):
        load("citation-multilabel", tmp_path)


def test_what_nobody_offers_for_download_needs_a_root() -> None:
    for name in ("citation-multilabel", "twitch"):
        with pytest.raises(DataError, match="is not downloaded: give a root folder"):
            load(name)


def write_twitch(raw: Path) -> None:
    for number, language in enumerate(LANGUAGES):
        (raw / language).mkdir(parents=True)
        start, nodes = f"{raw / language}/musae_{language}_", 4 + number
        rows = [f"{100 + i},7,{i % 2 == 0},3,False,{i}" for i in reversed(range(nodes))]
        text = "\n".join(["id,days,mature,views,partner,new_id", *rows, rows[0]]) + "\n"
        Path(f"{start}target.csv").write_text(text)
        Path(f"{start}edges.csv").write_text("from,to\n0,1\n2,3\n")
        Path(f"{start}features.json").write_text(
            json.dumps({str(i): [i, 3169] for i in range(nodes)})
        )


def test_twitch_graphs_are_read(tmp_path: Path) -> None:
    write_twitch(tmp_path / "twitch" / "raw")
    data = load("twitch", tmp_path)
    assert data.num_nodes == sum(range(4, 11))
    assert (data.num_features, data.num_classes, data.metric_name) == (3170, 2, "roc-auc")
    assert data.split_name == "by graph, 1 / 1 / 5"
    assert data.y[:4].tolist() == [1, 0, 1, 0]
    assert data.x[3].nonzero().squeeze(1).tolist() == [3, 3169]
    assert data.observed().graph.num_edges == 4
    (tmp_path / "twitch/raw/TW/musae_TW_edges.csv").unlink()
    with pytest.raises(DataError, match="musae_TW_… is not a Twitch graph"):
        load("twitch", tmp_path)


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "nodes", "edges", "features", "classes"),
    [
        ("citation-multilabel", 23_779, 77_616, 6_775, 5),
        ("twitch", 36_890, 985_150, 3_170, 2),
    ],
)
def test_the_real_ones_are_as_large_as_published(
    name: str, nodes: int, edges: int, features: int, classes: int
) -> None:
    data = load(name, DATA)
    assert (data.num_nodes, data.edge_index.shape[1]) == (nodes, edges)
    assert (data.num_features, data.num_classes) == (features, classes)
