"""Relational data: node ids, relations, and everything that trains on them."""

import gzip
from pathlib import Path

import pytest
import torch
from torch_geometric.data import Data

from cases import DATA, needs_data
from graphstill.distill import (
    DataError,
    DistillSettings,
    LogitKD,
    NodeData,
    Pass,
    RelationalData,
    Split,
    TrainingError,
    TrainSettings,
    build,
    distill,
    fitting,
    hidden_layers,
    load,
    load_run,
    parameters_of,
    predict,
    train,
)
from graphstill.distill.methods.settings import (
    ABKDSetting,
    FitNetSetting,
    LSPSetting,
    R2Setting,
    STRIDESetting,
)
from graphstill.distill.relational import entities
from graphstill.distill.study.settings import StudySettings
from graphstill.export import check_parity, export_run, rebuild
from graphstill.kernels import RelationalGraph, RGCNConv

SETTINGS = TrainSettings(epochs=15, lr=0.05, weight_decay=0.0)


def small(*, features: bool = False) -> RelationalData:
    """Four classes; relation 0 joins nodes of one class, the others join any."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(120) % 4
    same = torch.randint(0, 30, (2, 300), generator=generator) * 4 + torch.arange(300) % 4
    other = torch.randint(0, 120, (2, 200), generator=generator)
    edge_type = torch.cat([torch.zeros(300), torch.arange(200) % 2 + 1]).long()
    x = torch.randn(120, 5, generator=generator) if features else torch.arange(120)
    split = Split.per_class(y, train=8, val=8, seed=0)
    edges = torch.cat([same, other], dim=1)
    return RelationalData("small", x, edges, y, split, edge_type=edge_type)


@pytest.fixture(scope="module")
def data() -> RelationalData:
    return small()


def test_relations_reach_the_network(data: RelationalData) -> None:
    assert isinstance(data.graph, RelationalGraph)
    assert data.graph is data.graph
    assert (data.num_relations, data.num_features) == (3, 120)
    architecture = fitting(data, "RGCN", 8, 3)
    assert architecture.arguments == {"num_relations": 3, "featureless": True}
    assert isinstance(build(architecture).convs[0], RGCNConv)  # type: ignore[index]


@pytest.mark.parametrize("arguments", [{}, {"num_bases": 2}, {"embedding": 6}])
@pytest.mark.parametrize("features", [False, True])
def test_fused_networks_are_pygs(arguments: dict[str, int], features: bool) -> None:
    data = small(features=features)
    if features and "embedding" in arguments:
        with pytest.raises(ValueError, match="for nodes without features"):
            build(fitting(data, "RGCN", 8, 2, arguments))
        return
    architecture = fitting(data, "RGCN", 8, 2, arguments)
    fused, plain = build(architecture), build(architecture, fused=False)
    plain.load_state_dict(fused.state_dict())
    expected = plain(data.x, data.edge_index, data.edge_type)
    torch.testing.assert_close(fused(data.x, data.graph), expected, atol=1e-5, rtol=1e-4)


def test_tables_with_a_row_per_node_are_counted_apart(data: RelationalData) -> None:
    embedded = build(fitting(data, "RGCN", 8, 2, {"embedding": 6}))
    assert parameters_of(embedded)[1] == 120 * 6
    featureless = build(fitting(data, "RGCN", 8, 2))
    assert parameters_of(featureless)[1] == 3 * 120 * 8 + 120 * 8
    assert parameters_of(build(fitting(small(features=True), "RGCN", 8, 2)))[1] == 0


@pytest.mark.parametrize(
    "term",
    [
        ABKDSetting(dim=4),
        STRIDESetting(dim=4, nodes=32),
        R2Setting(),
        FitNetSetting(),
        LSPSetting(),
    ],
    ids=lambda setting: setting.term,
)
def test_terms_work_over_relational_layers(data: RelationalData, term: ABKDSetting) -> None:
    teacher = train(fitting(data, "RGCN", 16, 3, {"embedding": 8}), data, SETTINGS, progress=False)
    assert hidden_layers(teacher.module) == ["act#0", "act#1"]
    student = fitting(data, "RGCN", 4, 2, {"embedding": 4})
    method = DistillSettings(terms=(term,))
    run = distill(teacher, student, data, SETTINGS, method, progress=False)
    assert predict(run.module, data).isfinite().all()
    assert run.provenance["teacher"] == "RGCN"


def test_a_relational_run_is_rebuilt_from_its_directory(
    data: RelationalData, tmp_path: Path
) -> None:
    run = train(fitting(data, "RGCN", 8, 2, {"num_bases": 2}), data, SETTINGS, directory=tmp_path)
    assert torch.equal(predict(load_run(tmp_path).module, data), predict(run.module, data))


def test_a_run_is_exported_right(data: RelationalData, tmp_path: Path) -> None:
    train(fitting(data, "RGCN", 4, 2), data, SETTINGS, directory=tmp_path / "run", progress=False)
    bundle = export_run(tmp_path / "run", tmp_path / "bundle")
    report = check_parity(rebuild(bundle), bundle)
    assert report.ok, report.failures
    assert "edge_type" in {spec.name for spec in bundle.manifest.inputs}


def test_networks_that_cannot_work_on_the_data_are_refused(data: RelationalData) -> None:
    with pytest.raises(DataError, match=r"GCN knows no .*num_relations.*networks for it are RGCN"):
        fitting(data, "GCN", 8, 2)
    with pytest.raises(DataError, match="MLP knows no"):
        fitting(data, "MLP", 8, 2)
    assert fitting(small(features=True), "MLP", 8, 2).in_channels == 5
    with pytest.raises(TrainingError, match="ids only"):
        train(
            fitting(data, "RGCN", 8, 2),
            data,
            TrainSettings(input_dropout=0.5),
            progress=False,
        )
    with pytest.raises(DataError, match="ids of all nodes"):
        RelationalData("own", data.x + 1, data.edge_index, data.y, data.split, edge_type=data.y)


def test_a_pyg_object_with_relations(data: RelationalData) -> None:
    masks = torch.eye(3, dtype=torch.bool).repeat(1, 40)
    named = dict(zip(("train_mask", "val_mask", "test_mask"), masks, strict=True))
    pyg = Data(edge_index=data.edge_index, edge_type=data.edge_type, y=data.y, **named)
    taken = RelationalData.from_pyg(pyg, name="own")
    assert isinstance(taken, RelationalData)
    assert torch.equal(taken.x, data.x)
    assert len(taken.split.val) == 40


def with_strangers(data: RelationalData) -> RelationalData:
    """Return the data with every fifth node without a class, and in none of the sets."""
    y = data.y.clone()
    y[::5] = -1
    parts = (data.split.train, data.split.val, data.split.test)
    split = Split(*(nodes[nodes % 5 != 0] for nodes in parts))
    return RelationalData("some", data.x, data.edge_index, y, split, edge_type=data.edge_type)


def test_logits_count_on_nodes_that_have_a_class(data: RelationalData) -> None:
    some = with_strangers(data)
    y = some.y
    assert data.observed().asked is None
    asked = some.observed().asked
    assert asked is not None
    assert (y[asked] >= 0).all()
    own, taught = torch.randn(120, 4), torch.randn(120, 4)
    loss = LogitKD(1.0)(Pass(own), Pass(taught), some.observed())
    rest = LogitKD(1.0)(Pass(own[asked]), Pass(taught[asked]), data.observed())
    torch.testing.assert_close(loss, rest)


def test_nodes_without_a_class_are_in_no_split(data: RelationalData) -> None:
    some = with_strangers(data)
    y = some.y
    for kind in ({"kind": "fractions"}, {"kind": "per-class", "train": 3, "val": 3}):
        study = StudySettings.model_validate(
            {
                "name": "some",
                "data": {"some": {}},
                "split": kind,
                "teacher": {"hidden_channels": 8, "num_layers": 2},
                "student": {"hidden_channels": 8, "num_layers": 2},
            }
        )
        divided = study.divided(some, 0)
        assert divided is not None
        drawn = divided[0]
        assert (y[torch.cat([drawn.train, drawn.val, drawn.test])] >= 0).all()


def test_validation_is_drawn_anew_and_test_nodes_stay(data: RelationalData) -> None:
    study = StudySettings.model_validate(
        {
            "name": "own-test",
            "data": {"small": {}},
            "split": {"kind": "own-test", "train": 0.8, "val": 0.2},
            "teacher": {"hidden_channels": 8, "num_layers": 2},
            "student": {"hidden_channels": 8, "num_layers": 2},
        }
    )
    first, second = (study.divided(data, seed) for seed in (0, 1))
    assert first is not None
    assert second is not None
    assert torch.equal(first[0].test, data.split.test)
    assert not torch.equal(first[0].val, second[0].val)
    assert len(first[0].val) == round(0.2 * 64)
    assert first[1] == "own test nodes, 0.8 / 0.2 of the others at random, seed 0"


def write_entities(folder: Path) -> None:
    """Write a few triples and labels in the format of AIFB."""
    people = [f"http://a/p{i}" for i in range(12)]
    lines = [f"<{p}> <http://a/in> <http://a/g{i % 2}> ." for i, p in enumerate(people)]
    lines += [f'<{people[0]}> <http://a/name> "Jo . K"@en .', "", lines[0]]
    with gzip.open(folder / "aifb_stripped.nt.gz", "wt") as file:
        file.write("\n".join(reversed(lines)))
    for part, some in (("training", people[:10]), ("test", people[10:])):
        rows = [f"{p}\t1\tgroup {int(p[-1]) % 2}" for p in some]
        text = "\n".join(["person\tid\tlabel_affiliation", *rows])
        (folder / f"{part}Set.tsv").write_text(text)


def test_entities_are_numbered_by_name(tmp_path: Path) -> None:
    write_entities(tmp_path)
    data = entities("aifb", tmp_path)
    assert (data.num_nodes, data.num_relations, data.edge_index.shape[1]) == (15, 4, 26)
    assert data.class_names == ["group 0", "group 1"]
    assert [len(part) for part in (data.split.train, data.split.val, data.split.test)] == [8, 2, 2]
    assert int((data.y >= 0).sum()) == 12
    back = data.edge_type == 1
    assert torch.equal(data.edge_index[:, back], data.edge_index[:, data.edge_type == 0].flip(0))
    (tmp_path / "testSet.tsv").write_text("person\tid\tlabel_affiliation\nhttp://a/p99\t1\tgroup 0")
    with pytest.raises(DataError, match=r"<http://a/p99> has a class in aifb"):
        entities("aifb", tmp_path)


@needs_data
@pytest.mark.parametrize(
    ("name", "sizes"),
    [("aifb", (8285, 58086, 90, 4, 140, 36)), ("mutag", (23644, 148454, 46, 2, 272, 68))],
)
def test_entity_sets_are_as_published(name: str, sizes: tuple[int, ...]) -> None:
    data: NodeData = load(name, DATA)
    assert isinstance(data, RelationalData)
    nodes, edges, relations, classes, fitted, test = sizes
    assert (data.num_nodes, data.edge_index.shape[1]) == (nodes, edges)
    assert (data.num_relations, data.num_classes) == (relations, classes)
    assert (len(data.split.train) + len(data.split.val), len(data.split.test)) == (fitted, test)
