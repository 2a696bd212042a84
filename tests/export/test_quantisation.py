"""Quantised bundles: exact where they claim to be, refused where they disagree, reported whole."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import safetensors.numpy
import torch
from onnx import numpy_helper
from torch_geometric import nn as pyg
from typer.testing import CliRunner

from graphstill.cli import app
from graphstill.distill import Architecture, NodeData, TrainSettings, build, digits, train
from graphstill.export import ExportError, check_parity, export, export_run, rebuild
from graphstill.export.quantisation import (
    AgreementError,
    Evidence,
    QuantisationReport,
    QuantiseSettings,
    quantise,
)
from graphstill.export.quantisation.evidence import Quality, compare
from graphstill.export.quantisation.quantise import shrink
from graphstill.export.quantisation.report import Speed
from graphstill.export.quantisation.weights import quantise_weight
from graphstill.serve import Bundle, InputError, Session, quantise_features
from graphstill.serve.runtime import CPU, options_for, register_installed, start

QUICK = QuantiseSettings(threads=(1,), rounds=1, min_seconds=0.01)
INT8_MODES = pytest.mark.parametrize("mode", ["dynamic", "static", "weights"])


@pytest.fixture(scope="module")
def data() -> NodeData:
    return digits()


@pytest.fixture(scope="module")
def evidence(data: NodeData) -> Evidence:
    inputs = {"x": data.x.numpy(), "edge_index": data.edge_index.numpy()}
    return Evidence("digits", inputs, data.y.numpy(), {"test": data.split.test.numpy()})


@pytest.fixture(scope="module")
def run_folder(data: NodeData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GraphSAGE that knows it will be rounded, wide enough for sums on int8."""
    folder = tmp_path_factory.mktemp("quantisation") / "run"
    sizes = {"in_channels": 64, "hidden_channels": 96, "num_layers": 2, "out_channels": 10}
    settings = TrainSettings(epochs=15, int8_weights=True)
    train(Architecture(name="GraphSAGE", **sizes), data, settings, directory=folder, progress=False)
    return folder


@pytest.fixture(scope="module")
def bundle(run_folder: Path) -> Bundle:
    return export_run(run_folder, run_folder.parent / "bundle")


def made(bundle: Bundle, evidence: Evidence, path: Path, **settings: object) -> Bundle:
    """Quantise without measuring latency."""
    manifest, files, _ = shrink(bundle, evidence, replace(QUICK, **settings))
    return Bundle.write(path, manifest, files)


@INT8_MODES
def test_int8_weights_are_the_trained_ones_bit_for_bit(
    mode: str, run_folder: Path, bundle: Bundle, evidence: Evidence, tmp_path: Path
) -> None:
    trained = safetensors.numpy.load_file(run_folder / "int8.safetensors")
    manifest, files, counts = shrink(bundle, evidence, replace(QUICK, mode=mode))
    assert counts == {"trained": 4, "rounded": 0}
    model = onnx.load_from_string(files["model.onnx"])
    inside = [_signed(numpy_helper.to_array(t)) for t in model.graph.initializer]
    saved = safetensors.numpy.load(files["weights.safetensors"])
    for name, value in trained.items():
        assert np.array_equal(saved[name], value)
        assert any(
            array.dtype == value.dtype and np.array_equal(array.squeeze(), turned.squeeze())
            for array in inside
            for turned in (value, value.T)
        ), name
    again = rebuild(Bundle.write(tmp_path / "int8", manifest, files)).state_dict()
    for name, value in rebuild(bundle).state_dict().items():
        assert torch.equal(again[name], value)


def _signed(integers: np.ndarray) -> np.ndarray:
    """Return integers with a sign: uint8 stands around a zero point of 128."""
    is_uint8 = integers.dtype == np.uint8
    return (integers.astype(np.int16) - 128).astype(np.int8) if is_uint8 else integers


def test_static_products_are_of_integers_on_every_processor(
    bundle: Bundle, evidence: Evidence, tmp_path: Path
) -> None:
    small = made(bundle, evidence, tmp_path / "small", mode="static")
    model = onnx.load_from_string(small.read_model())
    sides = {n.output[0]: n for n in model.graph.node if n.op_type == "DequantizeLinear"}
    kinds = {t.name: t.data_type for t in model.graph.initializer}
    products = [n for n in model.graph.node if n.op_type == "MatMul"]
    assert len(products) == 4
    for node in products:
        x, weight = (sides[name] for name in node.input)
        # sums of mixed signs saturate where there is no VNNI
        assert kinds[x.input[2]] == kinds[weight.input[0]] == onnx.TensorProto.UINT8
    options = options_for(1)
    assert register_installed(options)
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    start(small, options, [CPU])
    inside = [n.op_type for n in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert inside.count("MatMulIntegerToFloat") == 4
    assert not {"Gemm", "FusedGemm", "MatMul"} & set(inside)


def test_weights_that_int8_holds_answer_to_the_last_bit(
    bundle: Bundle, evidence: Evidence, tmp_path: Path
) -> None:
    small = made(bundle, evidence, tmp_path / "int8", mode="weights")
    before, after = Session(bundle), Session(small)
    assert np.array_equal(
        before(evidence.feeds(before))["logits"], after(evidence.feeds(after))["logits"]
    )


@pytest.mark.parametrize(
    ("settings", "smaller", "agreement"),
    [
        ({"mode": "dynamic"}, 3.5, 0.99),
        ({"mode": "dynamic", "features": "int8"}, 3.5, 0.99),
        ({"mode": "static"}, 3.5, 0.99),
        ({"mode": "static", "calibration": "percentile"}, 3.5, 0.95),
        ({"mode": "weights"}, 3.5, 0.999),
        ({"mode": "fp16"}, 1.9, 0.999),
    ],
    ids=str,
)
@pytest.mark.parametrize("native", [True, False])
def test_small_bundles_decide_as_large_ones(
    settings: dict[str, str],
    smaller: float,
    agreement: float,
    native: bool,
    bundle: Bundle,
    evidence: Evidence,
    tmp_path: Path,
) -> None:
    small = made(bundle, evidence, tmp_path / "small", **settings)
    # what is left of the file are the operators' bodies, the same few thousand bytes for any width
    assert bundle.size_bytes > 1.4 * small.size_bytes
    weights = [b.manifest.files["weights.safetensors"].bytes for b in (bundle, small)]
    assert weights[0] > smaller * weights[1]
    opened = Bundle.load(small.path)  # what serving allows
    before, after = Session(bundle), Session(opened, native=native)
    quality = compare(evidence, evidence.decisions(before), evidence.decisions(after))
    assert quality.agreement >= agreement


def test_a_neighbourhood_answers_as_the_whole_graph_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = pyg.GCN(70, 80, 2, 5)
    example = (torch.randn(30, 70), torch.randint(0, 30, (2, 90)))
    bundle = export(net, example, tmp_path / "net", graph="csr")
    inputs = {"x": example[0].numpy(), "edge_index": example[1].numpy()}
    small = made(bundle, Evidence("random", inputs), tmp_path / "small")
    report = check_parity(net, small, tolerance=0.05)
    assert report.ok, report.failures
    parts = [d.max_abs_error for d in report.differences if d.case == "2-hop subgraph"]
    assert max(parts) < 1e-5


def test_the_library_and_the_bodies_answer_alike(tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = torch.randn(50, 20)
    bundle = export(pyg.MLP([20, 30, 5]), (x,), tmp_path / "net")
    small = made(bundle, Evidence("random", {"x": x.numpy()}), tmp_path / "small")
    large = Session(bundle)(x=x.numpy())["logits"]
    native, portable = (Session(small, native=n)(x=x.numpy())["logits"] for n in (True, False))
    np.testing.assert_allclose(native, portable, rtol=1e-4, atol=1e-4)
    # ONNX Runtime once fused a body's scales wrongly, which no single node showed
    np.testing.assert_allclose(portable, large, atol=0.03 * np.abs(large).max())


def test_products_with_factors_are_quantised_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    shape = {"in_channels": 20, "hidden_channels": 32, "num_layers": 2, "out_channels": 5}
    net = build(Architecture(name="GCNII", **shape), fused=False).eval()
    x, edges = torch.randn(60, 20), torch.randint(0, 60, (2, 240))
    bundle = export(net, (x, edges), tmp_path / "net")
    inputs = {"x": x.numpy(), "edge_index": edges.numpy()}
    large = Session(bundle)(inputs)["logits"]
    for mode in ("dynamic", "static", "weights"):
        manifest, files, counts = shrink(bundle, Evidence("", inputs), replace(QUICK, mode=mode))
        assert counts["rounded"] == 4
        small = Session(Bundle.write(tmp_path / mode, manifest, files))(inputs)["logits"]
        np.testing.assert_allclose(small, large, atol=0.03 * np.abs(large).max())


def test_features_of_int8_are_taken_as_they_are(
    bundle: Bundle, evidence: Evidence, tmp_path: Path
) -> None:
    session = Session(made(bundle, evidence, tmp_path / "small", features="int8"))
    x, edge_index = evidence.inputs["x"], evidence.inputs["edge_index"]
    assert [(s.name, s.dtype) for s in session.inputs if s.name.startswith("x")] == [
        ("x", "int8"),
        ("x_scale", "float32"),
    ]
    small = session.quantise(x)
    assert small["x"].nbytes * 4 == x.nbytes
    ours = session(**small, edge_index=edge_index)["logits"]
    assert np.array_equal(ours, session(x=x, edge_index=edge_index)["logits"])
    with pytest.raises(InputError, match="x must be int8, got float64"):
        session(x=x.astype(np.float64), x_scale=small["x_scale"], edge_index=edge_index)


def test_a_bag_of_words_survives_int8() -> None:
    x = (np.random.default_rng(0).random((40, 30)) < 0.1).astype(np.float32)
    x[3] = 0
    small = quantise_features(x / np.maximum(x.sum(1, keepdims=True), 1))
    restored = small["x"] * small["x_scale"][:, None]
    np.testing.assert_allclose(restored, x / np.maximum(x.sum(1, keepdims=True), 1), rtol=2e-7)
    with pytest.raises(InputError, match="NaN"):
        quantise_features(np.full((2, 2), np.nan))


def test_a_full_report_lies_in_the_bundle(
    bundle: Bundle, evidence: Evidence, tmp_path: Path
) -> None:
    report = quantise(bundle, tmp_path / "small", evidence, QUICK)
    small = Bundle.load(tmp_path / "small")
    saved = json.loads(small.read("quantisation.json"))
    assert saved["quality"]["agreement"] == report.quality.agreement >= 0.99
    assert saved["speeds"][0]["threads"] == 1
    assert saved["bytes_before"]["model"] == bundle.size_bytes
    assert saved["bytes_after"]["weights"] < 0.4 * saved["bytes_before"]["weights"]
    page = small.read("quantisation.md").decode()
    for said in (
        "accuracy on test",
        "model, bytes",
        "latency, 1 thread",
        "by in-degree",
        "by class",
    ):
        assert said in page
    assert small.manifest.accuracy == report.quality.accuracy["after"]
    assert small.manifest.quantisation["mode"] == "dynamic"
    with pytest.raises(ExportError, match="quantised already"):
        shrink(small, evidence, QUICK)


def test_too_little_agreement_is_refused_unless_forced(bundle: Bundle, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, edges = rng.standard_normal((3000, 64), np.float32), rng.integers(0, 3000, (2, 9000))
    np.savez(tmp_path / "graph.npz", x=x, edge_index=edges)
    evidence = Evidence("random", {"x": x, "edge_index": edges})
    strict = replace(QUICK, min_agreement=1.0)
    with pytest.raises(AgreementError, match=r"of the decisions on random stay.*--force"):
        quantise(bundle, tmp_path / "small", evidence, strict)
    assert not (tmp_path / "small").exists()
    assert not quantise(bundle, tmp_path / "small", evidence, replace(strict, force=True)).agrees
    assert Bundle.load(tmp_path / "small").manifest.quantisation["agreement"] < 1
    where = ["--out", tmp_path / "other", "--data", tmp_path / "graph.npz"]
    result = CliRunner().invoke(
        app, [str(a) for a in ("quantise", bundle.path, *where, "--min-agreement", "1")]
    )
    assert result.exit_code == 1, result.output
    assert "at least 100.00 % must" in result.stderr
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"mode": "int4"}, "dynamic, static, weights, fp16"),
        ({"mode": "static", "features": "int8"}, "belong to mode dynamic"),
        ({"min_agreement": 99}, "from 0 to 1, got 99"),
    ],
)
def test_settings_that_do_not_fit_are_said(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        QuantiseSettings(**settings)


def test_agreement_is_counted_by_degree_and_class() -> None:
    edge_index = np.array([[0, 0, 0, 1, 2], [1, 2, 2, 2, 3]])
    inputs = {"x": np.zeros((4, 1), np.float32), "edge_index": edge_index}
    evidence = Evidence("", inputs, np.array([0, 1, 1, 1]), {"test": np.array([1, 2])})
    quality = compare(evidence, np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0]))
    assert quality.agreement == 0.75
    assert [(s.of, s.nodes, s.agreement) for s in quality.by_in_degree] == [
        ("0", 1, 1.0),
        ("1", 2, 1.0),
        ("2–3", 1, 0.0),
    ]
    assert [(s.of, s.nodes, s.agreement) for s in quality.by_class] == [("0", 2, 1), ("1", 2, 0.5)]
    assert quality.accuracy == {"before": {"test": 1.0}, "after": {"test": 0.5}}


def test_several_labels_agree_one_by_one() -> None:
    labels = np.array([[1, 0], [1, 1]])
    evidence = Evidence("", {"x": np.zeros((2, 1), np.float32)}, labels, {"test": np.arange(2)})
    before, after = labels > 0, np.array([[True, False], [True, False]])
    quality = compare(evidence, before, after)
    assert quality.agreement == 0.75
    assert [s.agreement for s in quality.by_class] == [1.0, 0.5]
    assert quality.accuracy == {"before": {"test": 1.0}, "after": {"test": 0.8}}
    assert quality.by_in_degree == []


@pytest.mark.parametrize(
    ("ratio", "low", "size", "said"),
    [
        (2.0, 1.8, 40, "int8 pays here: times as fast 2.00 [1.80, 2.50] on 2 threads"),
        (1.1, 0.9, 40, "int8 is not faster here, times as fast 1.10"),
        (1.1, 0.9, 90, "int8 does not pay here: times as fast 1.10"),
    ],
)
def test_the_verdict_says_whether_it_pays(ratio: float, low: float, size: int, said: str) -> None:
    quality = Quality(1.0, [], [], {})
    speeds = [Speed(2, 1.0, 1 / ratio, ratio, low, ratio + 0.5)]
    report = QuantisationReport(
        "int8", "float32", "d", 0.99, quality, {"model": 100}, {"model": size}, {}, speeds
    )
    assert said in report.verdict()


def test_a_weight_is_rounded_by_its_formula() -> None:
    weight = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    weight[1] = 0
    rounded = quantise_weight(weight, {})
    assert rounded.scale[0] == np.abs(weight[0]).max() / np.float32(127)
    assert rounded.scale[1] == 1
    assert np.abs(rounded.value - weight).max() <= 0.5001 * rounded.scale.max()
    assert not rounded.trained
    kept = {"w.q": rounded.q.T, "w.scale": rounded.scale[None]}
    assert quantise_weight(rounded.value, kept).trained
