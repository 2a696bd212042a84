"""Bundles: written in one step, and refused when they are not what they say."""

import json
import os
from pathlib import Path

import onnx
import pytest
from onnx import helper
from onnx.helper import make_tensor_value_info as info

from graphstill.serve import Bundle, BundleError, Manifest, TensorSpec, bundle as bundle_code

FLOAT = onnx.TensorProto.FLOAT


def model(
    *nodes: onnx.NodeProto, functions: list[onnx.FunctionProto] | None = None
) -> onnx.ModelProto:
    nodes = nodes or (helper.make_node("Relu", ["x"], ["y"]),)
    graph = helper.make_graph(
        list(nodes), "g", [info("x", FLOAT, ["n", 2])], [info("y", FLOAT, ["n", 2])]
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("graphstill", 1)]
    return helper.make_model(graph, opset_imports=opsets, functions=functions or [], ir_version=10)


def write(path: Path, made: onnx.ModelProto | bytes) -> Bundle:
    data = made if isinstance(made, bytes) else made.SerializeToString()
    manifest = Manifest(
        inputs=(TensorSpec("x", "float32", ("num_nodes", 2)),),
        outputs=(TensorSpec("y", "float32", ("num_nodes", 2)),),
        files={"model.onnx": None},  # type: ignore[dict-item]
        graph="none",
    )
    return Bundle.write(path, manifest, {"model.onnx": data})


def change_manifest(path: Path, **changes: object) -> None:
    file = path / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    written = write(tmp_path / "b", model())
    read = Bundle.load(tmp_path / "b")
    assert read.manifest == written.manifest
    assert read.read_model() == model().SerializeToString()
    assert read.size_bytes == len(read.read_model())


def test_an_interrupted_write_leaves_the_old_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "b", model())
    before = (tmp_path / "b" / "manifest.json").read_bytes()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("graphstill.serve.directories._put_in_place", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "b", model(helper.make_node("Abs", ["x"], ["y"])))
    assert (tmp_path / "b" / "manifest.json").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["b"]
    Bundle.load(tmp_path / "b")


def test_a_bundle_is_replaced_and_other_folders_are_not(tmp_path: Path) -> None:
    write(tmp_path / "b", model())
    write(tmp_path / "b", model(helper.make_node("Abs", ["x"], ["y"])))
    assert Bundle.load(tmp_path / "b").read_model() != model().SerializeToString()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(BundleError, match="is no bundle"):
        write(tmp_path / "mine", model())
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"


def test_files_are_added_and_replaced(tmp_path: Path) -> None:
    before = write(tmp_path / "b", model())
    change_manifest(tmp_path / "b", novelty={"a": 1})
    (tmp_path / "b" / "mine.txt").write_text("not the bundle's")
    one = before.with_files({"a.md": b"one", "b.md": b"two"})
    two = one.with_files({"a.md": b"three"})
    assert two.manifest == Bundle.load(tmp_path / "b").manifest
    assert (two.read("a.md"), two.read("b.md")) == (b"three", b"two")
    assert two.read_model() == before.read_model()
    assert json.loads((tmp_path / "b" / "manifest.json").read_text())["novelty"] == {"a": 1}
    names = {"a.md", "b.md", "manifest.json", "mine.txt", "model.onnx"}
    assert {path.name for path in (tmp_path / "b").iterdir()} == names
    stamp = (tmp_path / "b" / "manifest.json").stat().st_mtime_ns
    assert two.with_files({"a.md": b"three"}) is two
    assert (tmp_path / "b" / "manifest.json").stat().st_mtime_ns == stamp


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_adding_files_may_be_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    bundle = write(tmp_path / "b", model()).with_files({"a.md": b"one"})
    written = bundle_code._replace
    done = []

    def interrupted(path: Path, data: bytes) -> None:
        if len(done) == steps:
            raise KeyboardInterrupt
        done.append(path)
        written(path, data)

    monkeypatch.setattr(bundle_code, "_replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bundle.with_files({"a.md": b"two"})
    again = Bundle.load(tmp_path / "b")
    assert again.manifest.files.keys() == ({"model.onnx", "a.md"} if not steps else {"model.onnx"})


def test_a_link_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    bundle = write(tmp_path / "b", model())
    outside = tmp_path / "outside"
    outside.write_text("untouched")
    (tmp_path / "b" / "a.md").symlink_to(outside)
    bundle.with_files({"a.md": b"one"})
    assert outside.read_text() == "untouched"
    assert Bundle.load(tmp_path / "b").read("a.md") == b"one"
    for name in ("../outside", "model.onnx", "manifest.json"):
        with pytest.raises(BundleError):
            bundle.with_files({name: b""})


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such directory"):
        Bundle.load(tmp_path / "nowhere")
    with pytest.raises(BundleError, match=r"manifest\.json is missing"):
        Bundle.load(tmp_path)


def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    write(tmp_path / "b", model())
    file = tmp_path / "b" / "model.onnx"
    data = bytearray(file.read_bytes())
    data[20] ^= 1
    file.write_bytes(data)
    with pytest.raises(BundleError, match="SHA-256 differs"):
        Bundle.load(tmp_path / "b")


def test_a_truncated_file_is_noticed(tmp_path: Path) -> None:
    write(tmp_path / "b", model())
    file = tmp_path / "b" / "model.onnx"
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(BundleError, match="cut short or changed"):
        Bundle.load(tmp_path / "b")


def test_a_missing_file_is_noticed(tmp_path: Path) -> None:
    write(tmp_path / "b", model())
    (tmp_path / "b" / "model.onnx").unlink()
    with pytest.raises(BundleError, match=r"model\.onnx is missing"):
        Bundle.load(tmp_path / "b")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", "..", "a\\b"])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    bundle = write(tmp_path / "b", model())
    (tmp_path / "secret").write_text("x")
    entry = {"sha256": "0" * 64, "bytes": 1}
    files = json.loads(bundle.manifest.to_json())["files"]
    change_manifest(tmp_path / "b", files={**files, name: entry})
    with pytest.raises(BundleError, match="plain file name"):
        Bundle.load(tmp_path / "b")


def test_a_link_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "b", model())
    outside = tmp_path / "outside.onnx"
    (tmp_path / "b" / "model.onnx").rename(outside)
    os.symlink(outside, tmp_path / "b" / "model.onnx")
    with pytest.raises(BundleError, match="no regular file"):
        Bundle.load(tmp_path / "b")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"inputs": 3}', "null"])
def test_a_damaged_manifest_is_named(tmp_path: Path, text: str) -> None:
    write(tmp_path / "b", model())
    (tmp_path / "b" / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match="manifest"):
        Bundle.load(tmp_path / "b")


def test_another_format_says_so(tmp_path: Path) -> None:
    write(tmp_path / "b", model())
    change_manifest(tmp_path / "b", format=2)
    with pytest.raises(BundleError, match=r"format 2.*format 1"):
        Bundle.load(tmp_path / "b")


def test_what_a_later_version_adds_is_ignored(tmp_path: Path) -> None:
    write(tmp_path / "b", model())
    change_manifest(tmp_path / "b", novelty={"a": 1})
    Bundle.load(tmp_path / "b")


def external() -> onnx.ModelProto:
    made = model(helper.make_node("Add", ["x", "w"], ["y"]))
    tensor = made.graph.initializer.add(name="w", data_type=FLOAT, dims=[2])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return made


def external_in_a_subgraph() -> onnx.ModelProto:
    tensor = onnx.TensorProto(name="hidden", data_type=FLOAT, dims=[2])
    tensor.external_data.add(key="location", value="../secret")
    inner = helper.make_graph([], "inner", [], [info("y", FLOAT, None)], [])
    inner.node.append(helper.make_node("Constant", [], ["y"], value=tensor))
    branches = {"then_branch": inner, "else_branch": inner}
    return model(helper.make_node("If", ["x"], ["y"], **branches))


def foreign_in_a_function() -> onnx.ModelProto:
    body = helper.make_function(
        "graphstill",
        "spmm",
        ["a"],
        ["b"],
        [helper.make_node("Shell", ["a"], ["b"], domain="evil")],
        [helper.make_opsetid("", 18)],
    )
    return model(functions=[body])


def foreign_function() -> onnx.ModelProto:
    relu = [helper.make_node("Relu", ["a"], ["b"])]
    body = helper.make_function("evil", "f", ["a"], ["b"], relu, [helper.make_opsetid("", 18)])
    return model(functions=[body])


def foreign_opset() -> onnx.ModelProto:
    made = model()
    made.opset_import.append(helper.make_opsetid("com.evil", 1))
    return made


def newer_operators() -> onnx.ModelProto:
    made = model()
    made.opset_import[1].version = 2
    return made


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (external(), "'w'.*another file"),
        (external_in_a_subgraph(), "'hidden'.*another file"),
        (foreign_in_a_function(), "evil.Shell"),
        (foreign_function(), "function evil.f"),
        (foreign_opset(), "com.evil"),
        (newer_operators(), "version 2 of the graphstill operators"),
        (model(helper.make_node("Launch", ["x"], ["y"])), "operator Launch"),
        (model(helper.make_node("melt", ["x"], ["y"], domain="graphstill")), "graphstill.melt"),
        (b"this is no model", "no ONNX file"),
        (b"", "no graph"),
    ],
)
def test_what_a_model_may_not_hold(
    tmp_path: Path, made: onnx.ModelProto | bytes, said: str
) -> None:
    write(tmp_path / "b", made)
    with pytest.raises(BundleError, match=said):
        Bundle.load(tmp_path / "b")
