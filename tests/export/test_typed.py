"""Graphs of several types: names, sizes, parity, and what a session accepts and refuses."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor
from torch_geometric import nn as pyg

from graphstill.distill import Architecture, Run, build
from graphstill.distill.graphs import HeteroGraph
from graphstill.export import ExportError, check_parity, export, export_run, rebuild, targets
from graphstill.export.bench import random_inputs
from graphstill.serve import Bundle, Graph, InputError, Session

KINDS = [("author", "writes", "paper"), ("paper", "cites", "paper"), ("paper", "of", "author")]
WIDTHS = {"author": 3, "paper": 5}


def example(author: int = 6, paper: int = 6, edges: int = 7) -> dict[str, Any]:
    """Sizes are the same on purpose: none may be taken for another."""
    sizes = {"author": author, "paper": paper}
    lists = {
        kind: torch.stack([torch.randint(0, sizes[end], (edges,)) for end in (kind[0], kind[2])])
        for kind in KINDS
    }
    return {
        "x_dict": {kind: torch.randn(sizes[kind], width) for kind, width in WIDTHS.items()},
        "edge_index_dict": lists,
        "edge_attr_dict": {KINDS[1]: torch.randn(edges, 2)},
    }


def arrays(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: arrays(entry) for key, entry in value.items()}
    return value.numpy()


class Own(torch.nn.Module):
    """A module of somebody's own: HeteroConv, features of edges, a bipartite layer, two answers."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = pyg.HeteroConv(
            {
                KINDS[0]: pyg.SAGEConv((3, 5), 4),
                KINDS[1]: pyg.GATv2Conv(5, 4, edge_dim=2),
                KINDS[2]: pyg.GATConv((5, 3), 4, add_self_loops=False),
            }
        )
        self.last = pyg.SAGEConv((4, 4), 2, aggr="max")

    def forward(
        self, x_dict: Any, edge_index_dict: Any, edge_attr_dict: Any
    ) -> tuple[dict[str, Tensor], Tensor]:
        h = self.convs(x_dict, edge_index_dict, edge_attr_dict=edge_attr_dict)
        out = self.last((h["author"].relu(), h["paper"].relu()), edge_index_dict[KINDS[0]])
        return h, out


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> tuple[Own, Bundle]:
    torch.manual_seed(0)
    module = Own()
    return module, export(module, example(), tmp_path_factory.mktemp("own") / "b")


def test_a_module_of_ones_own(own: tuple[Own, Bundle]) -> None:
    module, bundle = own
    report = check_parity(module, bundle)
    assert report.native_operators
    assert report.ok, report.failures
    cases = {difference.case for difference in report.differences}
    for kind in ("author→writes→paper", "paper→cites→paper", "paper→of→author"):
        assert {f"no edges {kind}", f"a hub of {kind}"} <= cases
    assert {"one author", "no author", "one paper", "2-hop subgraph of paper"} <= cases


def test_names_and_sizes_are_by_type(own: tuple[Own, Bundle]) -> None:
    manifest = Bundle.load(own[1].path).manifest  # from its JSON
    assert {spec.name: spec.shape for spec in manifest.inputs} == {
        "x__author": ("num_nodes__author", 3),
        "x__paper": ("num_nodes__paper", 5),
        "edge_index__author__writes__paper": (2, "num_edges__author__writes__paper"),
        "edge_index__paper__cites__paper": (2, "num_edges__paper__cites__paper"),
        "edge_index__paper__of__author": (2, "num_edges__paper__of__author"),
        "edge_attr__paper__cites__paper": ("num_edges__paper__cites__paper", 2),
    }
    assert {spec.name: spec.shape for spec in manifest.outputs} == {
        "output_0__paper": ("num_nodes__paper", 4),
        "output_0__author": ("num_nodes__author", 4),
        "output_1": ("num_nodes__paper", 2),
    }
    writes = manifest.inputs[2]
    assert (writes.argument, writes.key) == ("edge_index_dict", KINDS[0])
    assert writes.ends == ("num_nodes__author", "num_nodes__paper")
    assert (manifest.graph, manifest.hops, manifest.in_degree) == ("typed", 2, False)
    nodes = onnx.load(own[1].path / "model.onnx").graph.node
    assert [node.op_type for node in nodes].count("csr") == 3


def test_flat_inputs_and_dictionaries_give_the_same(own: tuple[Own, Bundle]) -> None:
    session, given = Session(own[1]), arrays(example(11, 4, 30))
    wanted = session(given)
    flat = session.flat(given)
    assert list(flat) == [spec.name for spec in session.inputs]
    short = {n: v.astype(np.int32) if v.dtype == np.int64 else v for n, v in flat.items()}
    for got in (session(flat), session(**given), session(short)):
        assert all(np.array_equal(got[name], value) for name, value in wanted.items())


def wrong_inputs() -> list[Any]:
    edges, x = "edge_index__author__writes__paper", "x__author"
    bad = np.zeros((2, 30), np.int64)
    bad[0, 7] = 11
    backwards = np.zeros((2, 30), np.int64)
    backwards[1, 3] = 4  # there are 4 papers, and 11 authors
    return [
        ({edges: bad}, rf"edge 7 of {edges} names source 11, ids must lie in \[0, 11\)"),
        ({edges: backwards}, rf"edge 3 of {edges} names destination 4, .* \[0, 4\)"),
        ({edges: bad - 1}, "names source -1"),
        ({edges: np.zeros((2, 30))}, f"{edges} must be int64 or int32"),
        ({edges: np.zeros((3, 30), np.int64)}, f"{edges} must have shape"),
        ({x: np.zeros((11, 4), np.float32)}, r"x__author must have shape \[num_nodes__author, 3\]"),
        ({"edge_attr__paper__cites__paper": np.zeros((29, 2), np.float32)}, r"shape \[30, 2\]"),
        ({"x_dict": {"venue": np.zeros(3)}}, "x_dict has no entry 'venue'.*author, paper"),
        ({"output": {"paper": np.zeros(3)}}, "output has no entry.*must be an array"),
        ({"x__venue": np.zeros(3)}, "unknown x__venue"),
    ]


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize(("changed", "said"), wrong_inputs(), ids=lambda v: str(v)[:30])
def test_wrong_inputs_are_refused(
    changed: dict[str, Any], said: str, native: bool, own: tuple[Own, Bundle]
) -> None:
    session = Session(own[1], native=native, threads=1)
    given = session.flat(arrays(example(11, 4, 30)))
    with pytest.raises(InputError, match=said):
        session({**given, **changed})
    with pytest.raises(InputError, match="missing x__paper"):
        session({name: value for name, value in given.items() if name != "x__paper"})
    graph = session.prepare(np.zeros((2, 30), np.int64), 5)
    with pytest.raises(InputError, match=r"5 sources and 5 destinations, the other .* 4 and 4"):
        session({**given, "edge_index__paper__cites__paper": graph})


@pytest.fixture(scope="module")
def by_row(own: tuple[Own, Bundle], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The same module, the edges of each type sorted by destination."""
    bundle = export(own[0], example(), tmp_path_factory.mktemp("csr") / "b", graph="csr")
    assert isinstance(bundle, Bundle)
    return bundle


def test_edges_of_each_type_may_be_sorted_once(own: tuple[Own, Bundle], by_row: Bundle) -> None:
    report = check_parity(own[0], by_row)
    assert report.ok, report.failures
    manifest = Bundle.load(by_row.path).manifest  # from its JSON
    assert manifest.hops == own[1].manifest.hops
    specs = {spec.name: spec for spec in manifest.inputs}
    assert not any(spec.is_edge_list for spec in specs.values())
    writes = "author__writes__paper"
    assert specs[f"rowptr__{writes}"].shape == ("num_nodes__paper + 1",)
    assert specs[f"col__{writes}"].shape == (f"num_edges__{writes}",)
    assert specs[f"col__{writes}"].ends == ("num_nodes__author", "num_nodes__paper")
    kinds = [node.op_type for node in onnx.load(by_row.path / "model.onnx").graph.node]
    assert "csr" not in kinds


def test_all_forms_of_typed_edges_give_the_same(own: tuple[Own, Bundle], by_row: Bundle) -> None:
    given = arrays(example(11, 4, 30))
    wanted = Session(own[1])(given)
    for session in (Session(own[1]), Session(by_row)):
        graphs = session.prepare(given["edge_index_dict"], {"author": 11, "paper": 4})
        for got in (session(given), session({**given, "edge_index_dict": graphs})):
            assert all(np.array_equal(got[name], value) for name, value in wanted.items())
    got = session(raw(given, graphs))
    assert all(np.array_equal(got[name], value) for name, value in wanted.items())


def raw(given: Any, graphs: dict[Any, Graph]) -> dict[str, Any]:
    """The arrays of the file themselves."""
    flat = {f"x__{kind}": x for kind, x in given["x_dict"].items()}
    for kind, graph in graphs.items():
        flat["rowptr__" + "__".join(kind)] = graph.rowptr
        flat["col__" + "__".join(kind)] = graph.col
    weights = given["edge_attr_dict"][KINDS[1]][graphs[KINDS[1]].perm]
    return {**flat, "edge_attr__paper__cites__paper": weights}


def test_wrong_sorted_edges_are_refused(by_row: Bundle) -> None:
    session, given = Session(by_row), arrays(example(11, 4, 30))
    edges = given["edge_index_dict"]
    graphs = session.prepare(edges, {"author": 11, "paper": 4})
    col = "col__author__writes__paper"
    bad = graphs[KINDS[0]].col.copy()
    bad[2] = 11
    for changed, said in (
        ({col: bad}, rf"{col}\[2\] is 11, ids must lie in \[0, 11\)"),
        ({col: bad[1:]}, "rowptr__author__writes__paper must rise from 0 to num_edges = 29"),
        ({"edge_index__author__writes__paper": graphs[KINDS[0]]}, "give one or the other"),
    ):
        with pytest.raises(InputError, match=said):
            session({**raw(given, graphs), **changed})
    wrong = {**edges, KINDS[0]: edges[KINDS[0]] + 11}
    with pytest.raises(InputError, match="edge_index__author__writes__paper names source"):
        session({**given, "edge_index_dict": wrong})
    for counts, said in (
        ({"paper": 4}, "how many nodes of type 'author'"),
        ({"author": 3, "paper": 4}, "names source"),
    ):
        with pytest.raises(InputError, match=said):
            session.prepare(edges, counts)
    with pytest.raises(InputError, match=r"no edges .*'likes'.*; it has .*'writes'"):
        session.prepare({("paper", "likes", "paper"): edges[KINDS[1]]}, {"paper": 4})
    turned = session.prepare({KINDS[0]: edges[KINDS[0]]}, {"author": 12, "paper": 4})
    with pytest.raises(InputError, match=r"12 sources and 4 destinations, the other .* 11 and 4"):
        session({**given, "edge_index_dict": {**edges, **turned}})
    del given["x_dict"]["author"]
    with pytest.raises(InputError, match="an input of num_nodes__author is missing"):
        session(given)


class Plain(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = pyg.GATConv((-1, -1), 4, heads=2, add_self_loops=False)
        self.lin = torch.nn.Linear(8, 3)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.lin(self.conv(x, edge_index).relu())


def test_what_to_hetero_made(tmp_path: Path) -> None:
    given = example()
    x, edges = given["x_dict"], given["edge_index_dict"]
    module = pyg.to_hetero(Plain(), (list(x), list(edges)))
    module(x, edges)  # finds the widths out
    graph = HeteroGraph(edges, {kind: len(value) for kind, value in x.items()}, "paper")
    bundle = export(module, (x, graph), tmp_path / "b")
    assert [spec.name for spec in bundle.manifest.outputs] == ["logits__author", "logits__paper"]
    report = check_parity(module, bundle)
    assert report.ok, report.failures


@pytest.mark.parametrize(
    ("name", "layers", "graph"),
    [("HeteroRGCN", 2, "edge_index"), ("HeteroRGCN", 2, "csr"), ("HGT", 1, "edge_index")],
)
def test_networks_of_graphstill(name: str, layers: int, graph: str, tmp_path: Path) -> None:
    kinds = [["paper", "at", "venue"], ["venue", "of", "paper"], ["paper", "cites", "paper"]]
    architecture = Architecture(
        name=name,
        in_channels=5,
        hidden_channels=8,
        num_layers=layers,
        out_channels=3,
        arguments={
            "target": "paper",
            "widths": {"paper": 5},
            "num_nodes": {"venue": 4},
            "edge_types": kinds,
            "embedding": 6,
        },
    )
    module = build(architecture)
    run = Run(module=module.eval(), architecture=architecture, accuracy={}, provenance={})
    bundle = export_run(run, tmp_path / "b", graph=graph)
    report = check_parity(rebuild(bundle), bundle)
    assert report.ok, report.failures
    assert (bundle.manifest.hops, bundle.manifest.embedding_parameters) == (layers, 24)
    given, threads = random_inputs(bundle, 30, 90), torch.get_num_threads()
    fused, plain = (t(given, threads, path=str(bundle.path)) for t in (targets.bundle, targets.pyg))
    np.testing.assert_allclose(fused()["logits"], plain(), atol=1e-5)
    prepared = targets.bundle(given, threads, path=str(bundle.path), prepared=True)
    np.testing.assert_array_equal(prepared()["logits"], fused()["logits"])
    session, rng = Session(bundle), np.random.default_rng(0)
    edges = {tuple(kind): rng.integers(0, 4, (2, 9)) for kind in kinds}
    paper = rng.random((4, 5), np.float32)
    session(x={"paper": paper, "venue": np.array([3, 2, 1, 0])}, edge_index=edges)
    for venue in (4, -1):
        x = {"paper": paper, "venue": np.array([0, 1, 2, venue])}
        with pytest.raises(InputError, match=rf"x__venue\[3\] is {venue}, ids must lie in \[0, 4"):
            session(x=x, edge_index=edges)


class Sums(torch.nn.Module):
    """Sums of all features, without a layer; types with names that are no identifiers."""

    def forward(self, x: Any, edge_index: Any, weight: Tensor | None = None) -> dict[str, Tensor]:
        out = {kind: value.sum(dim=1) for kind, value in x.items()}
        return out if weight is None else {**out, "weight": weight}


def test_names_are_made_identifiers_and_stay_apart(tmp_path: Path) -> None:
    x = {"a b": torch.randn(5, 2), "a-b": torch.randn(6, 3), "größe": torch.randn(7, 2)}
    edges = {("a b", "is/of", "a-b"): torch.zeros(2, 8, dtype=torch.int64)}
    bundle = export(Sums(), (x, edges, torch.rand(7)), tmp_path / "b")
    names = [spec.name for spec in bundle.manifest.inputs]
    assert names == ["x__a_b", "x__a_b_2", "x__gr__e", "edge_index__a_b__is_of__a_b", "weight"]
    assert bundle.manifest.inputs[-1].shape == ("num_nodes__gr__e",)
    got = Session(bundle)(x=arrays(x), edge_index=arrays(edges), weight=np.ones(7, np.float32))
    for value, name in zip(x.values(), ["a_b", "a_b_2", "gr__e"], strict=True):
        np.testing.assert_allclose(got[f"logits__{name}"], value.sum(dim=1), rtol=1e-5)


class Branching(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Factors(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.svdvals(x)


class Outer(torch.nn.Module):
    """A module of which one part cannot be exported."""

    def __init__(self, part: torch.nn.Module) -> None:
        super().__init__()
        self.parts = torch.nn.ModuleDict({"first": torch.nn.Linear(3, 4), "odd": part})

    def forward(self, x_dict: Any, edge_index_dict: Any) -> Tensor:
        return self.parts["odd"](self.parts["first"](x_dict["author"]))


class Numbered(torch.nn.Module):
    """A module that works for six authors only."""

    def __init__(self) -> None:
        super().__init__()
        self.each = torch.nn.Parameter(torch.ones(6, 3))

    def forward(self, x_dict: Any, edge_index_dict: Any) -> Tensor:
        return x_dict["author"] + self.each


def bad_exports() -> list[Any]:
    given = example()
    x, edges = given["x_dict"], given["edge_index_dict"]
    kind = KINDS[0]
    heads = torch.zeros(2, 1, dtype=torch.int64)
    conv = pyg.HeteroConv({KINDS[1]: pyg.ChebConv(5, 4, 2)})
    return [
        pytest.param(Sums(), (x, {"writes": edges[kind]}), {}, "keys must be types of edges"),
        pytest.param(Sums(), (x, {kind[:2]: edges[kind]}), {}, "keys must be types of edges"),
        pytest.param(Sums(), ({"author": x["author"]}, edges), {}, "'paper', of which there is no"),
        pytest.param(Sums(), (x, {kind: heads}), {}, "two of num_edges__author__writes__paper"),
        pytest.param(Sums(), (x, {kind: edges[kind].int()}), {}, r"must be \[2, E\] int64"),
        pytest.param(Sums(), ({**x, "author": 3}, edges), {}, "x__author is int"),
        pytest.param(Sums(), (x, edges, torch.rand(6)), {}, "cannot tell what weight counts"),
        pytest.param(Sums(), (x, edges), {"graph": "csr"}, "this one sorts 0 graphs"),
        pytest.param(conv, (x, edges), {}, r"takes \*args_dict: give the example by name"),
        pytest.param(conv, {"x_dict": x, "edge_index_dict": edges}, {}, "paper.*: ChebConv: no"),
        pytest.param(Outer(Branching()), (x, edges), {}, r"parts.odd \(Branching\): what it does"),
        pytest.param(Outer(Factors()), (x, edges), {}, r"parts.odd \(Factors\): No ONNX .*_svd"),
        pytest.param(Numbered(), (x, edges), {}, "works for num_nodes__author = 6 only"),
    ]


@pytest.mark.parametrize(("module", "inputs", "settings", "said"), bad_exports())
def test_what_cannot_be_exported_says_why(
    module: torch.nn.Module, inputs: Any, settings: dict[str, str], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=said):
        export(module, inputs, tmp_path / "b", **settings)
    assert not list(tmp_path.iterdir())


def test_hgt_sorts_all_types_together_and_says_so(tmp_path: Path) -> None:
    given = example()
    x, edges = given["x_dict"], given["edge_index_dict"]
    module = pyg.HGTConv(WIDTHS, 8, (list(x), list(edges)), heads=2)
    with pytest.raises(ExportError, match="sorts each edge list that it is given once"):
        export(module, (x, edges), tmp_path / "b", graph="csr")
