"""Several types of nodes: data, networks, layers by type, and the sizes published for ogbn-mag."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.nn import SAGEConv as PyGSAGEConv, to_hetero

from cases import DATA, needs_data
from graphstill.distill import (
    Architecture,
    DataError,
    Distiller,
    DistillSettings,
    HeteroNodeData,
    LogitKD,
    Objective,
    Role,
    Split,
    Supervised,
    TrainSettings,
    build,
    distill,
    fitting,
    hidden_layers,
    load,
    load_run,
    observe,
    parameters_of,
    predict,
    train,
)
from graphstill.distill.heterogeneous import hgb
from graphstill.distill.methods import abkd
from graphstill.distill.methods.settings import ABKDSetting, LSPSetting, R2Setting
from graphstill.distill.sparse import SparseFeatures
from graphstill.kernels import SAGEConv

SETTINGS = TrainSettings(epochs=40, lr=0.02, weight_decay=0.0)
KINDS = [("author", "writes", "paper"), ("paper", "cites", "paper"), ("paper", "at", "venue")]
SIZES = {"paper": 60, "author": 25, "venue": 3}


def small(*, width: int = 6) -> HeteroNodeData:
    """Papers at venues, whose class is their venue's; venues have no features."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(SIZES["paper"]) % 3

    def edges(source: str, target: str, count: int = 150) -> Tensor:
        ends = (source, target)
        return torch.stack([torch.randint(SIZES[e], (count,), generator=generator) for e in ends])

    x = {
        "paper": torch.randn(SIZES["paper"], width, generator=generator),
        "author": torch.randn(SIZES["author"], 4, generator=generator),
        "venue": torch.arange(SIZES["venue"]),
    }
    graph = {kind: edges(kind[0], kind[2]) for kind in KINDS[:2]}
    graph[KINDS[2]] = torch.stack([torch.arange(SIZES["paper"]), y])
    split = Split.per_class(y, train=5, val=5, seed=0)
    return HeteroNodeData("small", x, graph, y, split, target="paper").with_reverses()


@pytest.fixture(scope="module")
def data() -> HeteroNodeData:
    return small()


def mag(hidden: int, layers: int) -> Architecture:
    """Return an R-GCN with ogbn-mag's types, features and numbers of nodes."""
    one_way = [
        ("author", "affiliated_with", "institution"),
        ("author", "writes", "paper"),
        ("paper", "has_topic", "field_of_study"),
    ]
    backwards = [(c, f"rev_{b}", a) for a, b, c in one_way]
    return Architecture(
        name="HeteroRGCN",
        in_channels=128,
        hidden_channels=hidden,
        num_layers=layers,
        out_channels=349,
        arguments={
            "target": "paper",
            "widths": {"paper": 128},
            "num_nodes": {"author": 1_134_649, "institution": 8_740, "field_of_study": 59_965},
            "edge_types": [*one_way, ("paper", "cites", "paper"), *backwards],
            "embedding": 128,
        },
    )


@pytest.mark.parametrize(("hidden", "layers", "published"), [(512, 3, 5_575_540), (32, 2, 169_428)])
def test_ogbn_mags_networks_have_the_published_sizes(
    hidden: int, layers: int, published: int
) -> None:
    with torch.device("meta"):
        total, tables = parameters_of(build(mag(hidden, layers)))
    assert total - tables == published
    assert tables == 154_029_312


def test_reverses_make_citations_undirected(data: HeteroNodeData) -> None:
    names = {relation for _, relation, _ in data.edge_index}
    assert names == {"writes", "rev_writes", "cites", "at", "rev_at"}
    pairs = set(map(tuple, data.edge_index["paper", "cites", "paper"].T.tolist()))
    assert all((b, a) in pairs for a, b in pairs)
    back = data.edge_index["paper", "rev_writes", "author"]
    assert torch.equal(back.flip(0), data.edge_index["author", "writes", "paper"])


def test_a_layer_is_what_its_formula_says(data: HeteroNodeData) -> None:
    module = build(fitting(data, "HeteroRGCN", 5, 1))
    conv = module.convs[0]  # type: ignore[index]
    assert all(isinstance(c, SAGEConv) for c in conv.convs.values())  # type: ignore[union-attr]
    x = {"paper": data.x["paper"], "author": data.x["author"]}
    x["venue"] = module.embeddings["venue"].weight  # type: ignore[index,union-attr]
    expected = conv.roots["paper"](x["paper"])  # type: ignore[union-attr,index]
    for kind, edge_index in data.edge_index.items():
        if kind[2] != "paper":
            continue
        adjacency = torch.zeros(SIZES["paper"], SIZES[kind[0]])
        adjacency.index_put_((edge_index[1], edge_index[0]), torch.ones(()), accumulate=True)
        mean = adjacency / adjacency.sum(dim=1, keepdim=True).clamp(min=1)
        matrix = conv.convs["__".join(kind)].lin_l.weight  # type: ignore[union-attr,index]
        expected = expected + mean @ x[kind[0]] @ matrix.T
    torch.testing.assert_close(module(data.x, data.graph), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["HeteroRGCN", "HGT"])
def test_heterogeneous_networks_train_and_teach(
    data: HeteroNodeData, tmp_path: Path, name: str
) -> None:
    teacher = train(fitting(data, name, 16, 3), data, SETTINGS, directory=tmp_path)
    assert teacher.accuracy["test"] > 0.8
    assert torch.equal(predict(load_run(tmp_path).module, data), predict(teacher.module, data))
    layers = hidden_layers(teacher.module)
    assert layers == [f"act#{i}[paper]" for i in range(3 if name == "HGT" else 2)]
    for terms in ((ABKDSetting(dim=4), LSPSetting()), (R2Setting(),)):
        method = DistillSettings(terms=terms)
        student = fitting(data, "HeteroRGCN", 4, 2)
        run = distill(teacher, student, data, SETTINGS, method, progress=False)
        assert run.accuracy["test"] > 0.5


def test_only_what_reaches_the_answer_is_computed(data: HeteroNodeData) -> None:
    module = build(fitting(data, "HeteroRGCN", 4, 2))
    module(data.x, data.graph).sum().backward()
    without = {n for n, p in module.named_parameters() if p.grad is None}
    # of the last layer, papers alone are asked for
    assert "convs.1.roots.author.weight" in without
    assert "convs.1.convs.paper__at__venue.lin_l.weight" in without
    assert not any(name.startswith("convs.0") for name in without)


def test_a_to_hetero_teacher_teaches_through_the_distiller(data: HeteroNodeData) -> None:
    class Plain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = PyGSAGEConv((-1, -1), 8), PyGSAGEConv((-1, -1), 3)

        def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
            return self.conv2(self.conv1(x, edge_index).relu(), edge_index)

    x = {**data.x, "venue": torch.eye(SIZES["venue"])}
    plain = to_hetero(Plain(), (list(x), list(data.edge_index)))
    plain(x, data.edge_index)

    def papers(module: torch.nn.Module, batch: HeteroData) -> Tensor:
        return module(batch.x_dict, batch.edge_index_dict)["paper"]

    def typed(module: torch.nn.Module, batch: HeteroData) -> Tensor:
        return module({**batch.x_dict, "venue": batch["venue"].n_id}, batch.edge_index_dict)

    batch = HeteroData()
    for kind, features in x.items():
        batch[kind].x = features
    for kind, edge_index in data.edge_index.items():
        batch[kind].edge_index = edge_index
    batch["venue"].n_id = data.x["venue"]
    batch["paper"].y = data.y
    batch["paper"].train_mask = torch.arange(SIZES["paper"]) < 15
    student = build(fitting(data, "HeteroRGCN", 4, 2))
    terms = {
        "labels": (1.0, Supervised()),
        "logits": (1.0, LogitKD()),
        "pairs": (0.1, abkd([8, 3], [4, 3], 4)),
    }
    distiller = Distiller(
        Role(student, ["act#0[paper]", ""], typed),
        Objective(terms),
        Role(plain, ["conv1[paper]", "conv2[paper]"], papers),
        node_type="paper",
    )
    losses = distiller(batch)
    losses["total"].backward()
    assert losses["total"].isfinite()


def test_wide_sparse_features_stay_sparse() -> None:
    data = small(width=1024)
    data.x["paper"][:, 5:] = 0
    seen = data.observed(sparse=True)
    assert isinstance(seen.x, dict)
    assert isinstance(seen.x["paper"], SparseFeatures)
    assert seen.x["author"] is data.x["author"]
    module = build(fitting(data, "HeteroRGCN", 4, 2)).eval()
    torch.testing.assert_close(module(seen.x, seen.graph), module(data.x, data.graph))


def test_bad_data_is_refused(data: HeteroNodeData) -> None:
    both = {"edge_index": data.edge_index, "y": data.y, "split": data.split}
    with pytest.raises(DataError, match=r"node types are paper, author, venue; no 'field'"):
        HeteroNodeData("own", data.x, **both, target="field")  # type: ignore[arg-type]
    x = {**data.x, "author": torch.full((25, 4), torch.nan)}
    with pytest.raises(DataError, match="features of author 0 hold NaN"):
        HeteroNodeData("own", x, **both, target="paper")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"GCN knows no .*target"):
        fitting(data, "GCN", 4, 2)
    with pytest.raises(DataError, match="say which type is classified"):
        HeteroNodeData.from_pyg(HeteroData(), name="own")


def test_a_pyg_object_with_types(data: HeteroNodeData) -> None:
    pyg = HeteroData()
    for kind, x in data.x.items():
        pyg[kind].num_nodes = len(x)
        if kind != "venue":
            pyg[kind].x = x
    for kind, edge_index in data.edge_index.items():
        pyg[kind].edge_index = edge_index
    pyg["paper"].y = data.y
    for part in ("train", "val", "test"):
        mask = torch.zeros(len(data.y), dtype=torch.bool)
        mask[getattr(data.split, part)] = True
        pyg["paper"][f"{part}_mask"] = mask
    taken = HeteroNodeData.from_pyg(pyg, name="own")
    assert taken.target == "paper"
    assert torch.equal(taken.x["venue"], torch.arange(3))
    assert torch.equal(taken.split.val, data.split.val)


def write_hgb(raw: Path, target: str = "author", *, several: bool = False) -> None:
    """Write a few nodes in HGB's format, as DBLP or, with several labels for some, IMDB."""
    raw.mkdir(parents=True)
    info = {
        "node.dat": {"node type": {"0": target, "1": "paper"}},
        "link.dat": {
            "link type": {
                "0": {"start": 0, "end": 1, "meaning": f"{target}-paper"},
                "1": {"start": 1, "end": 0, "meaning": f"paper-{target}"},
            }
        },
        "label.dat": {"node type": {"0": {"0": "A", "1": "B"}}},
    }
    (raw / "info.dat").write_text(json.dumps(info))
    authors = [f"{i}\tname\t0\t{i % 2},1.5" for i in range(12)]
    papers = [f"{i}\ttitle\t1" for i in range(12, 18)]
    (raw / "node.dat").write_text("\n".join([*authors, *papers]) + "\n")
    pairs = [(i, 12 + i % 6) for i in range(12)]
    links = [f"{a}\t{p}\t0\t1.0" for a, p in pairs] + [f"{p}\t{a}\t1\t1.0" for a, p in pairs]
    (raw / "link.dat").write_text("\n".join(links) + "\n")
    classes = [f"{i % 2},1" if several and i % 3 == 0 else f"{i % 2}" for i in range(11)]
    labels = [f"{i}\tname\t0\t{label}" for i, label in enumerate(classes)]
    (raw / "label.dat").write_text("\n".join(labels[:8]) + "\n")
    (raw / "label.dat.test").write_text("\n".join(labels[8:]) + "\n")


def test_hgb_files_are_read(tmp_path: Path) -> None:
    write_hgb(tmp_path / "given" / "DBLP")
    data = hgb("hgb-dblp", tmp_path / "given", tmp_path / "cache")
    assert {kind: tuple(x.shape) for kind, x in data.x.items()} == {
        "author": (12, 2),
        "paper": (6,),
    }
    assert [len(part) for part in (data.split.train, data.split.val, data.split.test)] == [6, 2, 3]
    assert data.y[11] == -1
    assert set(data.edge_index) == {("author", "to", "paper"), ("paper", "to", "author")}
    with pytest.raises(DataError, match="PyG cannot load DBLP"):
        hgb("hgb-dblp", tmp_path / "nothing", tmp_path / "other")


def test_imdb_has_several_labels_per_movie(tmp_path: Path) -> None:
    write_hgb(tmp_path / "given" / "IMDB", "movie", several=True)
    data = hgb("hgb-imdb", tmp_path / "given", tmp_path / "cache")
    assert (data.target, data.num_classes, data.metric_name) == ("movie", 2, "micro-f1")
    assert data.y[0].tolist() == [1, 1]
    run = train(fitting(data, "HeteroRGCN", 4, 2), data, SETTINGS, progress=False)
    assert 0 <= run.accuracy["test"] <= 1


@needs_data
@pytest.mark.slow
def test_dblp_is_as_published() -> None:
    data = load("hgb-dblp", DATA)
    assert isinstance(data, HeteroNodeData)
    sizes = {"author": 4057, "paper": 14328, "term": 7723, "venue": 20}
    assert {kind: len(x) for kind, x in data.x.items()} == sizes
    assert sum(e.shape[1] for e in data.edge_index.values()) == 239_566
    assert len(data.split.test) == 1420
    run = train(
        fitting(data, "HeteroRGCN", 64, 2, {"dropout": 0.5}),
        data,
        TrainSettings(epochs=10, lr=0.005),
        progress=False,
    )
    assert run.accuracy["test"] > 0.9
    assert observe(Role(run.module), data.observed()).logits.shape == (4057, 4)
