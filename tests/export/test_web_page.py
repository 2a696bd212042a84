"""Pages for the browser: what is written, what is refused. `test_browser` opens them."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric import nn as pyg
from typer.testing import CliRunner

from graphstill.cli import app
from graphstill.export import ExportError, convert, export
from graphstill.export.formats import npm, samples
from graphstill.export.formats.samples import Sample, pack
from graphstill.serve import Bundle, TensorSpec

X = torch.randn(9, 12)
EDGES = torch.randint(0, 9, (2, 17))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export(pyg.GCN(12, 16, 2, 5), (X, EDGES), tmp_path_factory.mktemp("web") / "b")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder that looks like the npm package."""
    (tmp_path / "package" / "dist").mkdir(parents=True)
    for name in npm.FILES:
        (tmp_path / "package" / name).write_text('{"name": "onnxruntime-web"}')
    return tmp_path / "package"


def sample(**more: Any) -> Sample:
    return Sample("tiny", {"x": X.numpy(), "edge_index": EDGES.numpy(), **more})


def test_a_page_is_complete_and_asks_for_nothing_else(
    bundle: Bundle, package: Path, tmp_path: Path
) -> None:
    page = convert(bundle, tmp_path / "page", format="web", onnxruntime_web=package)
    html = (page / "index.html").read_text()
    assert "default-src 'none'" in html
    for file in page.glob("*.*s*"):
        if file.suffix in (".js", ".css", ".html"):
            addresses = re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"']*", file.read_text())
            assert set(addresses) <= {"http://www.w3.org/2000/svg"}, file
    names = re.findall(r'(?:src|href)="([\w./-]+)"', html)
    for file in page.glob("*.js"):
        names += re.findall(r'from "\./([\w./-]+)"', file.read_text())
    names += re.findall(
        r'"\.?/?([\w/.-]+\.(?:mjs|wasm|onnx|json))"', (page / "model.js").read_text()
    )
    assert {"page.js", "model.js", "style.css", "model.onnx", "manifest.json"} <= set(names)
    assert [name for name in names if not (page / name).is_file()] == []
    assert json.loads((page / "sample.json").read_text()) is None
    # again: the page is replaced, anything else is not
    convert(bundle, page, format="web", onnxruntime_web=package)
    with pytest.raises(ExportError, match=r"holds no page\.js"):
        convert(bundle, package, format="web", onnxruntime_web=package)


def unpacked(said: dict[str, Any], data: bytes) -> np.ndarray:
    """Read a tensor as the page does."""

    def part(p: dict[str, Any]) -> np.ndarray:
        assert p["offset"] % np.dtype(p["dtype"]).itemsize == 0
        return np.frombuffer(data, p["dtype"], p["length"], p["offset"])

    if "dense" in said:
        return part(said["dense"]).astype(said["dtype"]).reshape(said["shape"])
    rowptr, col, value = (part(said["sparse"][name]) for name in ("rowptr", "col", "value"))
    full = np.zeros(said["shape"], said["dtype"])
    full[np.repeat(np.arange(len(rowptr) - 1), np.diff(rowptr.astype(int))), col] = value
    return full


def test_samples_are_packed_without_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    sparse = np.zeros((300, 700), np.float32)
    sparse[[0, 0, 7, 299], [3, 699, 0, 5]] = [1, -2.5, 1e-9, 3]
    tensors: dict[str, np.ndarray] = {
        "x": sparse,
        "dense": np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32),
        "small": np.array([[0, 255], [3, 4]]),
        "bytes": (127 * np.sign(sparse)).astype(np.int8),
        "large": np.array([0, 70_000]),
        "negative": np.array([-1, 5]),
        "none": np.zeros((2, 0), np.int64),
    }
    said, data = pack("s", tensors)
    for name, value in tensors.items():
        found = unpacked(said["tensors"][name], data)
        assert found.dtype == value.dtype
        np.testing.assert_array_equal(found, value)
    assert len(data) < 900
    assert {"x", "bytes"} == {name for name, one in said["tensors"].items() if "sparse" in one}
    assert said["tensors"]["large"]["dense"]["dtype"] == "uint32"
    monkeypatch.setattr(samples, "MAX_BYTES", 100)
    with pytest.raises(ExportError, match="too large for a page: x alone"):
        pack("s", {"x": np.ones((6, 6), np.float32)})


def test_a_sample_must_fit(bundle: Bundle, package: Path, tmp_path: Path) -> None:
    def write(graph: Sample) -> None:
        convert(bundle, tmp_path / "p", format="web", sample=graph, onnxruntime_web=package)

    with pytest.raises(ExportError, match=r"x float32 \['num_nodes', 12\], tiny has .* \[9, 3\]"):
        write(sample(x=X[:, :3].numpy()))
    with pytest.raises(ExportError, match="float64"):
        write(sample(x=X.double().numpy()))
    with pytest.raises(ExportError, match=r"edge_index int64 .* has none"):
        write(Sample("tiny", {"x": X.numpy()}))


def test_features_are_rounded_for_a_model_that_takes_int8(bundle: Bundle) -> None:
    x, edges = bundle.manifest.inputs
    scale = TensorSpec("x_scale", "float32", ("num_nodes",))
    manifest = replace(bundle.manifest, inputs=(replace(x, dtype="int8"), scale, edges))
    found = sample().tensors(manifest)
    assert found["x"].dtype == np.int8
    restored = found["x"] * found["x_scale"][:, None]
    np.testing.assert_allclose(restored, X, atol=float(X.abs().max()) / 254 + 1e-6)


def test_graphs_that_a_page_cannot_give_are_refused(
    bundle: Bundle, package: Path, tmp_path: Path
) -> None:
    x, _ = bundle.manifest.inputs
    rowptr, col = TensorSpec("rowptr", "int64", ("rows",)), TensorSpec("col", "int32", ("edges",))
    csr = replace(bundle.manifest, graph="csr", inputs=(x, rowptr, col))
    typed = replace(bundle.manifest, graph="typed")
    for manifest, said in [(csr, r'Export it with graph="edge_index"'), (typed, "one type")]:
        other = Bundle(bundle.path, manifest)
        with pytest.raises(ExportError, match=said):
            convert(other, tmp_path / "page", format="web", onnxruntime_web=package)


def test_a_copy_of_the_package_must_be_one(bundle: Bundle, package: Path, tmp_path: Path) -> None:
    (package / "package.json").write_text('{"name": "react"}')
    with pytest.raises(ExportError, match="'react', not onnxruntime-web"):
        convert(bundle, tmp_path / "page", format="web", onnxruntime_web=package)
    (package / npm.FILES[1]).unlink()
    with pytest.raises(ExportError, match=r"it has no dist/.*\.wasm"):
        convert(bundle, tmp_path / "page", format="web", onnxruntime_web=package)


def fake_npm(folder: Path, script: str) -> None:
    folder.mkdir()
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(0o755)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (None, "there is no npm"),
        ("echo getaddrinfo ENOTFOUND >&2; exit 1", "ENOTFOUND"),
        ("echo something > onnxruntime-web-1.tgz", "SHA-512 differs"),
    ],
)
def test_what_npm_may_do(
    script: str | None, said: str, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if script is None:
        monkeypatch.setenv("PATH", str(tmp_path))
    else:
        fake_npm(tmp_path / "bin", script)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(ExportError, match=said):
        convert(bundle, tmp_path / "page", format="web")
    assert not (tmp_path / "page").exists()


def command(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_the_command(bundle: Bundle, package: Path, tmp_path: Path) -> None:
    done = command(
        *("export", bundle.path, "--out", tmp_path / "page", "--format", "web"),
        *("--onnxruntime-web", package),
    )
    assert done.exit_code == 0, done.output
    assert "a page that runs the model in the browser" in done.output
    done = command(
        *("export", bundle.path, "--out", tmp_path / "models", "--format", "triton", "--json"),
        *("--name", "student"),
    )
    assert done.exit_code == 0, done.output
    assert "student/1/model.onnx" in json.loads(done.stdout)["files"]
    for wrong, said in [
        ([], "is a bundle already"),
        (["--format", "web", "--name", "a"], "--name has no meaning with --format web"),
        (["--format", "wbe"], "must be one of triton, web"),
        (["--format", "web", "--graph", "csr"], "chosen when a run is exported"),
    ]:
        done = command("export", bundle.path, "--out", tmp_path / "x", *wrong)
        assert done.exit_code == 2
        assert said in " ".join(done.stderr.split())
