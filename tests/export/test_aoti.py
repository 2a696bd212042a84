"""Packages of AOTInductor: what is compiled, what runs it, and what is refused beforehand."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric import nn as pyg
from typer.testing import CliRunner

from graphstill.cli import app
from graphstill.distill import Architecture, build
from graphstill.export import (
    About,
    ExportError,
    check_parity,
    export,
    export_aoti,
    open_session,
)
from graphstill.export.formats import target
from graphstill.export.formats.program import operators_of, traced
from graphstill.kernels.aot import with_twins
from graphstill.serve import Bundle, BundleError, InputError, ProviderError, Session

WIDTH, CLASSES = 8, 3
GCN = Architecture(
    name="GCN", in_channels=WIDTH, hidden_channels=4, num_layers=2, out_channels=CLASSES
)
EXAMPLE = {"x": torch.randn(6, WIDTH), "edge_index": torch.randint(0, 6, (2, 11))}


def network() -> torch.nn.Module:
    torch.manual_seed(3)
    return build(GCN, fused=False).eval()


@pytest.fixture(scope="module")
def onnx_bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    place = tmp_path_factory.mktemp("onnx")
    return {
        form: export(network(), EXAMPLE, place / form, graph=form) for form in ("edge_index", "csr")
    }


@pytest.fixture
def package(onnx_bundles: dict[str, Bundle], tmp_path: Path) -> Bundle:
    """A bundle whose package is none: for what is refused before it is read."""
    return written(onnx_bundles["edge_index"], tmp_path / "package", {})


def written(made: Bundle, path: Path, facts: dict[str, Any]) -> Bundle:
    described = {**target.describe("cpu"), **facts}
    manifest = replace(made.manifest, target=described, files={"model.pt2": None})
    return Bundle.write(path, manifest, {"model.pt2": b"no package"})


@pytest.mark.parametrize("form", ["edge_index", "csr"])
def test_a_program_sorts_once_or_never_and_computes_the_same(
    onnx_bundles: dict[str, Bundle], form: str
) -> None:
    with torch.no_grad():
        program = traced(network(), EXAMPLE, onnx_bundles[form].manifest, "cpu")
    names = [str(node.target).split(".")[1] for node in operators_of(program.graph)]
    sorting = ["csr"] if form == "edge_index" else []
    assert names == [*sorting, "gcn_norm", "spmm", "spmm"]
    bounds = {str(bound) for bound in program.range_constraints.values()}
    assert bounds <= {"VR[0, int_oo]", "VR[1, int_oo]"}  # any number, and one more in rowptr
    x, edge_index = torch.randn(40, WIDTH), torch.randint(0, 40, (2, 170))
    graph = Session(onnx_bundles["csr"]).prepare(edge_index.numpy(), 40)
    given = {
        "edge_index": (x, edge_index),
        "csr": (x, torch.from_numpy(graph.rowptr), torch.from_numpy(graph.col)),
    }
    answer = program.module()(*given[form], torch.ones(0))[0]
    torch.testing.assert_close(answer, network()(x, edge_index))


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's own, about itself
@pytest.mark.parametrize("form", ["edge_index", "csr"])
def test_on_a_gpu_nothing_but_triton_kernels_is_left(
    onnx_bundles: dict[str, Bundle], form: str
) -> None:
    pytest.importorskip("triton", reason="needs triton")
    with torch.no_grad():
        program = with_twins(traced(network(), EXAMPLE, onnx_bundles[form].manifest, "cpu"))
    names = [str(node.target).split(".")[1] for node in operators_of(program.graph)]
    assert names == ["spmm_triton", "spmm_triton"]
    bounds = {str(bound) for bound in program.range_constraints.values()}
    assert bounds <= {"VR[0, int_oo]", "VR[1, int_oo]"}  # degrees may be given, and need not


def test_a_missing_compiler_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ExportError, match=r"needs a C\+\+ compiler.*no-such-compiler"):
        export_aoti(network(), EXAMPLE, tmp_path / "p")
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize("device", ["tpu", "cuda"])
def test_a_device_that_is_not_there_is_named(
    device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ExportError, match=device):
        export_aoti(network(), EXAMPLE, tmp_path / "p", device=device)


@pytest.mark.parametrize(
    ("facts", "error", "said"),
    [
        ({"torch": "2.11.0"}, BundleError, "compiled with torch 2.11.0, this is torch"),
        ({"machine": "riscv64"}, BundleError, "processor .riscv64. that this one is not"),
        ({"instructions": ["avx9000"]}, BundleError, "lacks avx9000"),
        ({"instructions": 5}, BundleError, "does not say what processor"),
        ({"format": "other"}, BundleError, "no package of AOTInductor"),
        ({"device": "cuda"}, ProviderError, "torch sees none here"),
    ],
)
def test_a_package_for_something_else_is_refused(
    onnx_bundles: dict[str, Bundle],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    facts: dict[str, Any],
    error: type[Exception],
    said: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    made = written(onnx_bundles["edge_index"], tmp_path / "p", facts)
    with pytest.raises(error, match=said):
        open_session(made)


def test_a_changed_package_is_refused(package: Bundle) -> None:
    (package.path / "model.pt2").write_bytes(b"NO package")
    with pytest.raises(BundleError, match="SHA-256 differs"):
        open_session(package.path)


def test_what_is_no_package_is_refused(package: Bundle) -> None:
    with pytest.raises(BundleError, match="torch cannot load"):
        open_session(package)


def test_a_manifest_needs_the_file_of_its_target(package: Bundle) -> None:
    with pytest.raises(BundleError, match=r"lists no other\.pt2"):
        replace(package.manifest, target={"model": "other.pt2"})


def test_onnx_runtime_is_not_asked_to_run_a_package(package: Bundle) -> None:
    with pytest.raises(BundleError, match=r"use graphstill\.export\.open_session"):
        Session(package.path)


def test_a_package_has_no_portable_form(package: Bundle) -> None:
    with pytest.raises(ValueError, match="no portable operators"):
        open_session(package, native=False)


def test_open_session_runs_bundles_of_onnx(onnx_bundles: dict[str, Bundle]) -> None:
    assert type(open_session(onnx_bundles["edge_index"].path)) is Session


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    place = tmp_path_factory.mktemp("aoti") / "gcn"
    about = About(architecture=GCN.model_dump(), class_names=["a", "b", "c"])
    return export_aoti(network(), EXAMPLE, place, about=about)


@pytest.mark.slow
def test_a_package_computes_what_pyg_computes(compiled: Bundle) -> None:
    report = check_parity(network(), compiled)
    assert report.ok, report.failures
    assert {d.threads for d in report.differences} == {1, 2}
    assert "2-hop subgraph" in {d.case for d in report.differences}
    assert check_parity(build(GCN, fused=False), compiled).ok is False  # other weights


@pytest.mark.slow
def test_a_package_takes_what_a_session_takes(compiled: Bundle) -> None:
    session = open_session(compiled.path, threads=1)
    x = np.random.default_rng(0).standard_normal((9, WIDTH), np.float32)
    edges = np.array([[0, 1, 8, 8], [3, 3, 2, 8]], np.int32)
    answer = session(x=x, edge_index=edges)
    assert list(answer) == ["logits"]
    graph = session.prepare(edges, 9)
    np.testing.assert_array_equal(answer["logits"], session(x=x, graph=graph)["logits"])
    x.flags.writeable = False
    np.testing.assert_array_equal(
        answer["logits"], session({"x": x, "edge_index": edges})["logits"]
    )
    for wrong, said in (
        ({"x": x.astype(np.float64)}, "float32"),
        ({"x": x[:, 1:]}, "shape"),
        ({"x": x[:5]}, "edge 2 names source 8"),
        ({"y": x}, "unknown y"),
    ):
        with pytest.raises(InputError, match=said):
            session({"x": x, "edge_index": edges, **wrong})


@pytest.mark.slow
def test_check_and_bench_take_packages(
    compiled: Bundle, onnx_bundles: dict[str, Bundle], tmp_path: Path
) -> None:
    checked = CliRunner().invoke(app, ["check", str(compiled.path), "--json"])
    assert checked.exit_code == 0, checked.output
    found = json.loads(checked.output)
    assert found["model_sha256"] == compiled.manifest.files["model.pt2"].sha256
    assert [finding["hazard"] for finding in found["lint"]] == ["not-onnx"]
    assert "model.pt2, SHA-256" in (compiled.path / "check.md").read_text()
    Bundle.load(compiled.path)
    arguments = ["bench", str(onnx_bundles["edge_index"].path), str(compiled.path)]
    arguments += ["--out", str(tmp_path / "bench"), "--num-nodes", "50", "--num-edges", "200"]
    arguments += ["--rounds", "1", "--min-seconds", "0.05", "--json"]
    measured = CliRunner().invoke(app, arguments)
    assert measured.exit_code == 0, measured.output
    report = json.loads((tmp_path / "bench" / "report.json").read_text())
    assert [row["target"].partition(":")[2] for row in report["rows"]] == ["bundle", "package"]
    assert report["facts"]["quality"]["gcn"]["agreement"] == 1.0


class Typed(torch.nn.Module):
    """R-GCN with two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = pyg.RGCNConv(WIDTH, CLASSES, 4)

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor, edge_type: torch.Tensor) -> Any:
        out = self.conv(x, edge_index, edge_type)
        return {"logits": out, "score": out.sum(dim=-1)}


@pytest.mark.slow
def test_types_of_edges_in_csr_order(tmp_path: Path) -> None:
    module = Typed().eval()
    example = {**EXAMPLE, "edge_type": torch.randint(0, 4, (11,))}
    made = export_aoti(module, example, tmp_path / "typed", graph="csr")
    report = check_parity(module, made)
    assert report.ok, report.failures
    session = open_session(made)
    x = np.zeros((2, WIDTH), np.float32)
    edges, kinds = np.zeros((2, 1), np.int64), np.array([4])
    with pytest.raises(InputError, match=r"edge_type\[0\] is 4, ids must lie in \[0, 4\)"):
        session(x=x, edge_type=kinds, graph=session.prepare(edges, 2))
