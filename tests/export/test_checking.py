"""check: parity, lint and real labels in one verdict, and the report that stays in the bundle."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor
from torch_geometric import nn as pyg
from torch_geometric.data import Data
from typer.testing import CliRunner

from graphstill.cli import app
from graphstill.distill import Architecture, NodeData, accuracies, build
from graphstill.export import About, Difference, export
from graphstill.export.check_page import markdown
from graphstill.export.checking import check, data_of, write_report
from graphstill.serve import Bundle, BundleError

WIDTH, CLASSES, NODES = 8, 3, 240
ARCHITECTURE = Architecture(
    name="GraphSAGE", in_channels=WIDTH, hidden_channels=8, num_layers=2, out_channels=CLASSES
)


def labelled() -> NodeData:
    """Return a graph whose labels a network of random weights knows: what it answers itself."""
    torch.manual_seed(5)
    edges = torch.randint(0, NODES, (2, 900))
    data = Data(x=torch.randn(NODES, WIDTH), edge_index=edges, y=torch.arange(NODES) % CLASSES)
    nodes = NodeData.from_pyg(data, name="mine")
    return replace(nodes, y=answers(nodes).argmax(dim=-1))


def network() -> torch.nn.Module:
    torch.manual_seed(6)
    return build(ARCHITECTURE, fused=False).eval()


def answers(data: NodeData) -> Tensor:
    with torch.no_grad():
        return network()(data.x, data.edge_index)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    data = labelled()
    about = About(
        architecture=ARCHITECTURE.model_dump(),
        accuracy=accuracies(answers(data), data),
        provenance={"data": data.name, "split": data.split_name},
    )
    path = tmp_path_factory.mktemp("bundle") / "b"
    return export(network(), (data.x[:9], torch.zeros(2, 17, dtype=torch.int64)), path, about=about)


def copied(bundle: Bundle, path: Path, **changes: object) -> Bundle:
    files = {name: bundle.read(name) for name in bundle.manifest.files}
    return Bundle.write(path, replace(bundle.manifest, **changes), files)


def test_a_good_bundle_passes_all_parts(bundle: Bundle) -> None:
    report = check(network(), bundle, data=labelled())
    assert report.ok
    assert report.labels is not None
    assert report.labels.agreement == 1
    assert report.labels.bundle["test"] == report.labels.recorded["test"] == 1
    assert report.labels.pyg == report.labels.bundle
    assert report.model_sha256 == bundle.manifest.files["model.onnx"].sha256


def test_an_accuracy_that_is_not_the_recorded_one_fails(bundle: Bundle, tmp_path: Path) -> None:
    boasting = copied(bundle, tmp_path / "b", accuracy={"test": 0.9})
    report = check(network(), boasting, data=labelled())
    assert report.parity.ok
    assert not report.ok


def test_another_split_is_not_compared_with_the_record(bundle: Bundle, tmp_path: Path) -> None:
    other = copied(
        bundle, tmp_path / "b", accuracy={"test": 0.1}, provenance={"split": "another, seed 7"}
    )
    report = check(network(), other, data=labelled())
    assert report.ok
    assert report.labels is not None
    assert report.labels.recorded == {}


def test_answers_that_disagree_on_real_data_fail(bundle: Bundle) -> None:
    torch.manual_seed(7)
    report = check(build(ARCHITECTURE, fused=False).eval(), bundle, data=labelled())
    assert report.labels is not None
    assert report.labels.agreement < 0.9
    assert not report.labels.ok
    assert not report.ok


def test_a_hazard_in_the_file_fails(bundle: Bundle, tmp_path: Path) -> None:
    """Here on a racing scatter that nobody reads, so that parity cannot see it."""
    model = onnx.load_from_string(bundle.read_model())
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([[0]]), "at"))
    model.graph.node.extend(
        [
            onnx.helper.make_node("Gather", ["x", "at"], ["first"]),
            onnx.helper.make_node("Squeeze", ["first"], ["row"]),
            onnx.helper.make_node("Unsqueeze", ["row", "zero"], ["rows"]),
            onnx.helper.make_node("ScatterND", ["x", "at", "rows"], ["unread"], reduction="add"),
        ]
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0]), "zero"))
    files = {name: bundle.read(name) for name in bundle.manifest.files}
    files["model.onnx"] = model.SerializeToString()
    report = check(network(), Bundle.write(tmp_path / "b", bundle.manifest, files))
    assert report.parity.ok
    assert [f.hazard for f in report.lint.errors] == ["racing-scatter"]
    assert not report.ok


def test_the_report_stays_in_the_bundle(bundle: Bundle, tmp_path: Path) -> None:
    mine = copied(bundle, tmp_path / "b")
    (tmp_path / "b" / "mine.txt").write_text("the user's own")
    report = check(network(), mine, data=labelled())
    write_report(mine, report)
    write_report(Bundle.load(mine.path), report)  # a second check replaces the first
    again = Bundle.load(mine.path)
    assert again.read_model() == bundle.read_model()
    said = json.loads(again.read("check.json"))
    assert said["ok"]
    assert said["model_sha256"] == again.manifest.files["model.onnx"].sha256
    assert said["labels"]["agreement"] == 1
    assert len(said["differences"]) == len(report.parity.differences)
    page = again.read("check.md").decode()
    assert "GraphSAGE: passed" in page
    assert "| a hub | C++ | 1 |" in page
    assert "| test | 1.0000 | 1.0000 | 1.0000 |" in page
    assert (tmp_path / "b" / "mine.txt").read_text() == "the user's own"
    (mine.path / "check.json").write_text("{}")
    with pytest.raises(BundleError, match=r"check\.json"):
        Bundle.load(mine.path)


def test_a_failure_fits_into_its_row_of_the_page(bundle: Bundle) -> None:
    report = check(network(), bundle)
    failed = Difference("usual", True, 1, float("inf"), 1.0, False, "a | b\nc")
    odd = replace(report, parity=replace(report.parity, differences=[failed]))
    page = markdown(bundle.manifest, odd)
    assert "GraphSAGE: FAILED" in page
    assert "1 of 1 cases FAILED" in page
    assert r"| usual | C++ | 1 | inf | 1 | FAILED a \| b c |" in page.splitlines()


def test_a_bundle_does_not_choose_what_code_runs(bundle: Bundle, tmp_path: Path) -> None:
    lure = copied(bundle, tmp_path / "b", provenance={"data": "this:that"})
    data, note = data_of(lure, root=tmp_path)
    assert data is None
    assert "--data this:that" in note


@pytest.mark.parametrize(
    ("provenance", "said"),
    [({}, "does not say"), ({"data": "cora"}, "give --root"), ({"data": 3}, "does not say")],
)
def test_why_there_are_no_labels(
    bundle: Bundle, tmp_path: Path, provenance: dict[str, object], said: str
) -> None:
    data, note = data_of(copied(bundle, tmp_path / "b", provenance=provenance))
    assert data is None
    assert said in note


def test_the_command_reports_and_keeps(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = copied(bundle, tmp_path / "b")
    (tmp_path / "their_data.py").write_text(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_checking import labelled as get\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    result = CliRunner().invoke(app, ["check", str(mine.path), "--data", "their_data:get"])
    assert result.exit_code == 0, result.output
    assert "100.000% of mine's nodes the same" in result.output
    assert "lint: nothing found" in result.output
    assert "check.md" in Bundle.load(mine.path).manifest.files
    plain = copied(bundle, tmp_path / "plain")
    quiet = CliRunner().invoke(app, ["check", str(plain.path), "--no-report", "--json"])
    assert json.loads(quiet.output)["labels_note"]
    assert "check.md" not in Bundle.load(plain.path).manifest.files
    sys.modules.pop("their_data", None)


def test_a_bundle_that_cannot_be_written_to_is_checked_all_the_same(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("read-only file system")

    monkeypatch.setattr(Bundle, "with_files", refuse)
    result = CliRunner().invoke(app, ["check", str(bundle.path)])
    assert result.exit_code == 0, result.output
    assert "not written" in result.stderr


def test_a_bundle_keeps_its_model_and_manifest(bundle: Bundle) -> None:
    for name in ("model.onnx", "manifest.json"):
        with pytest.raises(BundleError, match="what a bundle is made of"):
            bundle.with_files({name: b""})


def test_norms_over_the_graph_are_checked_as_such(tmp_path: Path) -> None:
    net = pyg.GraphSAGE(WIDTH, 8, 2, CLASSES, norm="PairNorm").eval()
    made = export(net, (torch.randn(9, WIDTH), torch.randint(0, 9, (2, 17))), tmp_path / "b")
    report = check(net, made)
    assert report.ok, report.parity.failures
    assert [f.hazard for f in report.lint.findings]
