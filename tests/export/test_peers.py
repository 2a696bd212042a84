"""PyG's ways beside a bundle: they answer the same, and what cannot be measured says why."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from graphstill.distill import Architecture, build
from graphstill.export import Report, Row, Settings, export
from graphstill.export.bench import bundle_rows, differences, verdicts
from graphstill.export.energy import Meter, counters
from graphstill.export.exporter import About
from graphstill.export.loads import expected_answers, request_inputs, request_rows
from graphstill.export.peer_files import peer_rows, with_peers
from graphstill.export.peer_requests import load
from graphstill.export.peers import on_csr
from graphstill.export.report import Measured
from graphstill.export.requests import Requests

FEATURES, CLASSES = 5, 3
RNG = np.random.default_rng(0)
INPUTS = {
    "x": RNG.standard_normal((40, FEATURES)).astype(np.float32),
    # no edge twice: a sparse adjacency would count it once in a mean
    "edge_index": np.stack(np.divmod(RNG.choice(1600, 160, replace=False), 40)),
}


def make(name: str, folder: Path, **arguments: object) -> Path:
    torch.manual_seed(0)
    shape = {"in_channels": FEATURES, "hidden_channels": 4, "num_layers": 2}
    architecture = Architecture(name=name, out_channels=CLASSES, arguments=arguments, **shape)
    module = build(architecture, fused=False).eval()
    example = {"x": torch.randn(5, FEATURES), "edge_index": torch.randint(0, 5, (2, 9))}
    if name == "MLP":
        example.pop("edge_index")
    export(module, example, folder / name, about=About(architecture=architecture.model_dump()))
    return folder / name


@pytest.mark.parametrize("name", ["GCN", "GraphSAGE", "GCNII"])
def test_a_csr_adjacency_answers_as_the_edge_list(name: str) -> None:
    torch.manual_seed(0)
    module = build(
        Architecture(
            name=name, in_channels=FEATURES, hidden_channels=4, num_layers=2, out_channels=CLASSES
        ),
        fused=False,
    ).eval()
    with torch.no_grad():
        wanted = module(*(torch.from_numpy(INPUTS[key]) for key in ("x", "edge_index")))
    torch.testing.assert_close(on_csr(module, INPUTS, 1)(), wanted)


def test_peers_stand_behind_their_bundle(tmp_path: Path) -> None:
    rows = bundle_rows([make("GCN", tmp_path)])
    steps: list[str] = []
    found, facts = with_peers(
        rows, ["pyg", "pyg-csr", "plain-onnx"], INPUTS, 1, tmp_path / "peers", steps.append
    )
    assert facts["left_out"] == {}
    assert [row.label for row in found] == ["GCN", "GCN, PyG", "GCN, PyG CSR", "GCN, plain ONNX"]
    assert facts["left_out"] == {}
    assert all(error < 1e-5 for error in facts["peers_differ_by"].values())
    assert steps == ["GCN, its peers"]
    assert dict(differences(found, INPUTS, 1))["GCN, plain ONNX"] < 1e-5  # type: ignore[operator]


def test_what_a_peer_cannot_do_is_said(tmp_path: Path) -> None:
    rows = bundle_rows([make("GAT", tmp_path)])
    found, facts = with_peers(rows, ["pyg-csr"], INPUTS, 1, tmp_path / "peers", lambda _: None)
    assert [row.label for row in found] == ["GAT"]
    assert facts["left_out"] == {"GAT, PyG CSR": "PyG's GATConv takes no CSR adjacency"}
    rows = [Measured(rows[0], [{"samples": [1.0]}], {})]
    said = verdicts(Report(rows, Settings(threads=1), {}, facts))
    assert said == ["left out: GAT, PyG CSR: PyG's GATConv takes no CSR adjacency"]
    with pytest.raises(ValueError, match="no peer 'dgl'; there are pyg, pyg-csr"):
        peer_rows(tmp_path / "GAT", "GAT", ["dgl"], 1, tmp_path)


def test_a_peer_that_answers_otherwise_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wrong_peers.py").write_text(
        "import numpy as np\n"
        "def shifted(inputs, threads, *, by):\n    return lambda: inputs['x'] + by\n"
        "def narrow(inputs, threads):\n    return lambda: inputs['x'][:, :1]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "wrong_peers" not in sys.modules
    rows = [
        Row("right", "wrong_peers:shifted", {"by": 0.0}),
        Row("off", "wrong_peers:shifted", {"by": 1.0}),
        Row("narrow", "wrong_peers:narrow"),
        Row("broken", "wrong_peers:narrow", {"no": "such"}),
    ]
    found = dict(differences(rows, INPUTS, 1))
    assert found["right"] == 0.0
    assert found["off"] == pytest.approx(1 / float(np.abs(INPUTS["x"]).max()), rel=1e-6)
    assert found["narrow"] == "answers [40, 1], not [40, 5]"
    assert "unexpected keyword" in str(found["broken"])


@pytest.mark.filterwarnings("ignore:Sparse")  # torch says that CSR tensors are new
@pytest.mark.parametrize(
    ("name", "forms"), [("GCN", (False, True)), ("GraphSAGE", (True,)), ("GAT", (False,))]
)
def test_a_peer_answers_requests_as_the_bundle_does(
    name: str, forms: tuple[bool, ...], tmp_path: Path
) -> None:
    path = make(name, tmp_path)
    inputs = request_inputs(INPUTS, Requests(count=6, nodes=2))
    row = request_rows([path], Requests())[0]
    expected = expected_answers(row, inputs, range(6))
    for csr in forms:
        system = load(inputs, 1, path=str(path), csr=csr)
        system()
        for requests in ([0], [4, 2]):
            for request, got in zip(requests, system.answer(requests), strict=True):
                np.testing.assert_allclose(got, expected[request], atol=1e-5)


def test_peers_of_requests_answer_the_same_or_not_at_all(tmp_path: Path) -> None:
    path = make("GCNII", tmp_path)
    inputs = request_inputs(INPUTS, Requests(count=2))
    with pytest.raises(ValueError, match="its peer is pyg-csr"):
        load(inputs, 1, path=str(path))
    rows = request_rows([path], Requests(), peers=["pyg", "pyg-csr"])
    assert [row.label for row in rows] == ["GCNII", "GCNII, PyG", "GCNII, PyG CSR"]
    with pytest.raises(ValueError, match="whole neighbourhoods"):
        request_rows([path], Requests(num_neighbors=(3, 3)), peers=["pyg"])
    with pytest.raises(ValueError, match="peers of requests are pyg, pyg-csr"):
        request_rows([path], Requests(), peers=["aoti"])


def test_an_edge_that_is_there_twice_is_noticed(tmp_path: Path) -> None:
    rows = bundle_rows([make("GraphSAGE", tmp_path)])
    twice = {**INPUTS, "edge_index": np.tile(INPUTS["edge_index"][:, :30], 2)}
    twice["edge_index"][1, 45:] = 0
    found, facts = with_peers(rows, ["pyg-csr"], twice, 1, tmp_path / "peers", lambda _: None)
    assert [row.label for row in found] == ["GraphSAGE"]
    assert "answers otherwise than PyG" in facts["left_out"]["GraphSAGE, PyG CSR"]


@pytest.mark.slow
def test_compiled_peers(tmp_path: Path) -> None:
    rows = bundle_rows([make("GCN", tmp_path), make("MLP", tmp_path)])
    names = ["compile", "aoti"]
    found, facts = with_peers(rows, names, INPUTS, 1, tmp_path / "peers", lambda _: None)
    assert facts["left_out"] == {}
    assert len(found) == 6
    assert all(error < 1e-5 for error in facts["peers_differ_by"].values())


def rapl(folder: Path, name: str, joules: float, limit: float = 100.0) -> Path:
    zone = folder / name
    zone.mkdir(parents=True, exist_ok=True)
    (zone / "energy_uj").write_text(f"{int(1e6 * joules)}\n")
    (zone / "max_energy_range_uj").write_text(f"{int(1e6 * limit)}\n")
    return zone


def test_energy_is_that_of_all_packages(tmp_path: Path) -> None:
    rapl(tmp_path, "intel-rapl:0", 10.0)
    rapl(tmp_path, "intel-rapl:0:0", 5.0)  # cores, part of the package
    rapl(tmp_path, "intel-rapl:1", 99.0)
    meter = Meter(tmp_path)
    assert "intel-rapl:0, intel-rapl:1" in meter.said
    rapl(tmp_path, "intel-rapl:0", 12.5)
    rapl(tmp_path, "intel-rapl:1", 1.0)  # went past its limit and began anew
    assert meter.joules() == pytest.approx(2.5 + 2.0)


def test_why_there_is_no_energy(tmp_path: Path) -> None:
    assert Meter(tmp_path).joules() is None
    assert f"no RAPL counters in {tmp_path}" in counters(tmp_path)[1]
    (rapl(tmp_path, "intel-rapl:0", 1.0) / "energy_uj").unlink()
    assert "cannot be read: No such file" in counters(tmp_path)[1]
