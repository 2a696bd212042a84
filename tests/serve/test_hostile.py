"""Hostile and broken bundles: refused, each with its reason, before ONNX Runtime sees them."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.helper import make_tensor_value_info as info

from graphstill.serve import Bundle, BundleError, Manifest, Session, TensorSpec, bundle as code

FLOAT = TensorProto.FLOAT
Nodes = list[onnx.NodeProto]


def model(nodes: Nodes | None = None, **others: Any) -> onnx.ModelProto:
    """Return a model from x [n, 2] to y [n, 2]."""
    nodes = nodes or [helper.make_node("Relu", ["x"], ["y"])]
    graph = helper.make_graph(
        nodes, "g", [info("x", FLOAT, ["n", 2])], [info("y", FLOAT, ["n", 2])]
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("graphstill", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, **others)


def write(path: Path, made: onnx.ModelProto | bytes | None = None, **changes: Any) -> Bundle:
    data = made if isinstance(made, bytes) else (made or model()).SerializeToString()
    about = {
        "inputs": (TensorSpec("x", "float32", ("num_nodes", 2)),),
        "outputs": (TensorSpec("y", "float32", ("num_nodes", 2)),),
        "files": {"model.onnx": None},
        "graph": "none",
        **changes,
    }
    return Bundle.write(path, Manifest(**about), {"model.onnx": data, "notes.txt": b"notes"})


class Seen(BaseException):
    """ONNX Runtime was asked to load something; no `except Exception` may hide it."""


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if ONNX Runtime is asked to load anything."""

    def forbidden(*_: object, **__: object) -> None:
        raise Seen

    monkeypatch.setattr(onnxruntime, "InferenceSession", forbidden)


def refused(path: Path, said: str) -> None:
    """Require that a bundle is refused, on loading and on use."""
    for use in (Bundle.load, Session):
        with pytest.raises(BundleError, match=said):
            use(path)


def test_what_is_not_hostile_is_loaded(tmp_path: Path) -> None:
    write(tmp_path / "b")
    Bundle.load(tmp_path / "b")
    with pytest.raises(Seen):
        Session(tmp_path / "b")


# the files of a bundle


def replaced_by(what: Callable[[Path], None], path: Path, name: str) -> None:
    file = path / name
    file.rename(path.parent / "outside")
    what(file)


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json", "notes.txt"])
@pytest.mark.parametrize(
    ("what", "said"),
    [
        (lambda file: file.symlink_to(file.parent.parent / "outside"), "no regular file"),
        (lambda file: file.hardlink_to(file.parent.parent / "outside"), "hard link"),
        (lambda file: os.mkfifo(file), "no regular file"),
        (lambda file: file.mkdir(), "no regular file"),
    ],
    ids=["soft link", "hard link", "pipe", "folder"],
)
def test_a_file_that_is_no_file_of_its_own(
    tmp_path: Path, what: Callable[[Path], None], said: str, name: str
) -> None:
    write(tmp_path / "b")
    replaced_by(what, tmp_path / "b", name)
    refused(tmp_path / "b", said)


def change_manifest(path: Path, **changes: object) -> None:
    file = path / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def files_of(path: Path) -> dict[str, dict[str, object]]:
    return json.loads((path / "manifest.json").read_text())["files"]


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/passwd", "a/b", ".", "..", "", "a\\b", "a\0b"]
)
def test_a_name_that_is_no_file_of_the_folder(tmp_path: Path, name: str) -> None:
    write(tmp_path / "b")
    change_manifest(
        tmp_path / "b",
        files={**files_of(tmp_path / "b"), name: files_of(tmp_path / "b")["notes.txt"]},
    )
    refused(tmp_path / "b", "plain file name")


def test_a_sparse_file_that_claims_to_be_huge_is_not_read(tmp_path: Path) -> None:
    write(tmp_path / "b")
    for name, size in (("notes.txt", code.MAX_FILE_BYTES + 1), ("model.onnx", 2**31)):
        entry = files_of(tmp_path / "b")[name]
        change_manifest(
            tmp_path / "b", files={**files_of(tmp_path / "b"), name: {**entry, "bytes": size}}
        )
        os.truncate(tmp_path / "b" / name, size)
        refused(tmp_path / "b", "are allowed")


def test_a_huge_manifest_is_not_read(tmp_path: Path) -> None:
    write(tmp_path / "b")
    os.truncate(tmp_path / "b" / "manifest.json", code.MAX_MANIFEST_BYTES + 1)
    refused(tmp_path / "b", "are allowed")


def test_too_many_files(tmp_path: Path) -> None:
    write(tmp_path / "b")
    entry = files_of(tmp_path / "b")["notes.txt"]
    many = {f"f{i}": entry for i in range(code.MAX_FILES)}
    change_manifest(tmp_path / "b", files={**files_of(tmp_path / "b"), **many})
    refused(tmp_path / "b", "1002 files")


def test_a_wrong_hash_of_any_file(tmp_path: Path) -> None:
    write(tmp_path / "b")
    (tmp_path / "b" / "notes.txt").write_bytes(b"nodes")
    refused(tmp_path / "b", r"notes\.txt.*SHA-256 differs")


# the manifest


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"inputs":' * 50_000,
        '{"inputs": [], "outputs": [], "files": {"model.onnx": {"sha256": "0", "bytes": 1e999}}}',
        "\ud800",
        '"' + "9" * 5000 + '"',
    ],
    ids=["deep list", "deep object", "infinite size", "no text", "no object"],
)
def test_json_that_is_no_manifest(tmp_path: Path, text: str) -> None:
    write(tmp_path / "b")
    (tmp_path / "b" / "manifest.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    refused(tmp_path / "b", "damaged")


X = {"name": "x", "dtype": "float32", "shape": ["num_nodes", 2]}
SORTED = {"name": "col__a", "dtype": "int32", "shape": ["e"], "ends": ["num_nodes", "num_nodes"]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"inputs": [{**X, "dtype": "object"}]}, "type 'object'"),
        ({"inputs": [{**X, "name": ""}]}, "must have a name"),
        ({"inputs": [{**X, "shape": [-1, 2]}]}, "size -1"),
        ({"inputs": [{**X, "shape": [2.5, 2]}]}, "size 2.5"),
        ({"inputs": [{**X, "shape": [[], 2]}]}, r"size \[\]"),
        ({"inputs": [X, X]}, "twice"),
        ({"outputs": []}, "no outputs"),
        ({"limits": [1]}, "limits of the manifest must be dict"),
        ({"limits": {"num_nodes": "many"}}, "limit of num_nodes"),
        ({"limits": {"num_nodes": -1}}, "limit of num_nodes"),
        ({"hops": -1}, "hops"),
        ({"hops": "two"}, "hops"),
        ({"hops": True}, "hops"),
        ({"in_degree": "yes"}, "in_degree of the manifest must be bool"),
        ({"fill_value": None}, "fill_value"),
        ({"class_names": "cat"}, "class_names"),
        ({"provenance": []}, "provenance"),
        ({"graph": ["csr"]}, "graph"),
        ({"inputs": [X, {**X, "name": "col__a", "shape": ["e"], "ends": ["n", "n"]}]}, "counts in"),
        ({"inputs": [X, SORTED]}, "lists col__a, and no rowptr__a"),
    ],
)
def test_a_manifest_of_wrong_values(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    write(tmp_path / "b")
    change_manifest(tmp_path / "b", **changes)
    refused(tmp_path / "b", said)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"inputs": [X, {**X, "name": "z"}]}, "lists the input 'z', model.onnx has none"),
        ({"inputs": []}, "lists no input 'x', model.onnx has it"),
        ({"outputs": [{**X, "name": "z"}]}, "output 'y'"),
        ({"inputs": [{**X, "dtype": "float64"}]}, "is float64"),
        ({"inputs": [{**X, "shape": ["num_nodes", 3]}]}, "has shape"),
        ({"inputs": [{**X, "shape": ["num_nodes"]}]}, "has shape"),
        ({"in_degree": True}, "optional input in_degree"),
    ],
)
def test_a_manifest_of_another_model(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    write(tmp_path / "b")
    change_manifest(tmp_path / "b", **changes)
    refused(tmp_path / "b", said)


# the model


def constant(name: str, *values: int) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value_ints=list(values))


def tensor(name: str, dims: list[int], data: bytes = b"", kind: int = FLOAT) -> onnx.ModelProto:
    made = model([helper.make_node("Add", ["x", name], ["y"])])
    made.graph.initializer.add(name=name, data_type=kind, dims=dims, raw_data=data)
    return made


def typed(dims: list[int], count: int) -> onnx.ModelProto:
    made = model([helper.make_node("Add", ["x", "w"], ["y"])])
    made.graph.initializer.add(name="w", data_type=FLOAT, dims=dims, float_data=[1.0] * count)
    return made


def in_a_branch(nodes: Nodes) -> onnx.ModelProto:
    inner = helper.make_graph(nodes, "inner", [], [info("h", FLOAT, None)])
    go = helper.make_node("Constant", [], ["one"], value_int=1)
    cast = helper.make_node("Cast", ["one"], ["go"], to=TensorProto.BOOL)
    branches = {"then_branch": inner, "else_branch": inner}
    return model([go, cast, helper.make_node("If", ["go"], ["y"], **branches)])


def in_a_body(nodes: Nodes) -> onnx.ModelProto:
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("graphstill", 1)]
    body = helper.make_function("graphstill", "spmm", ["a"], ["h"], nodes, opsets)
    call = helper.make_node("spmm", ["x"], ["y"], domain="graphstill")
    return model([call], functions=[body])


HUGE = 2**40
FILL = [constant("huge", HUGE), helper.make_node("ConstantOfShape", ["huge"], ["h"])]
TO_Y = helper.make_node("Add", ["x", "h"], ["y"])


def declared(dims: list[Any]) -> onnx.ModelProto:
    made = model()
    made.graph.value_info.append(info("h", FLOAT, dims))
    return made


def by_initializer(*values: int) -> onnx.ModelProto:
    made = model([helper.make_node("ConstantOfShape", ["size"], ["h"]), TO_Y])
    made.graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), "size"))
    return made


def sparse() -> onnx.ModelProto:
    values = helper.make_tensor("values", FLOAT, [1], [1.0])
    indices = helper.make_tensor("indices", TensorProto.INT64, [1], [0])
    made = model()
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [HUGE]))
    return made


BOMBS: dict[str, tuple[onnx.ModelProto, str]] = {
    "a tensor without its data": (tensor("w", [HUGE]), "'w'.*elements"),
    "a tensor cut short": (tensor("w", [3, 2], bytes(20)), r"takes 24 bytes, and holds 20"),
    "a tensor with more than it says": (tensor("w", [2], bytes(12)), "takes 8 bytes"),
    "a typed tensor cut short": (typed([4], 3), "takes 4 values, and holds 3"),
    "a tensor of unknown type": (tensor("w", [2], bytes(8), 99), "element type 99"),
    "a tensor of negative size": (tensor("w", [-2, 2], bytes(8)), "negative size -2"),
    "a declared shape": (declared([HUGE]), "'h'.*elements"),
    "a declared shape of factors": (declared(["n", 2**20, 2**20]), "'h'.*elements"),
    "a negative shape": (declared([-5]), "negative size -5"),
    "a sparse tensor": (sparse(), "sparse tensor"),
    "ConstantOfShape": (model([*FILL, TO_Y]), "ConstantOfShape.*elements"),
    "ConstantOfShape by an initializer": (by_initializer(2**20, 2**20), "ConstantOfShape"),
    "ConstantOfShape in a branch": (in_a_branch(FILL), "ConstantOfShape"),
    "ConstantOfShape in a body": (in_a_body(FILL), "ConstantOfShape"),
    "Expand": (
        model([constant("to", 1, HUGE), helper.make_node("Expand", ["x", "to"], ["y"])]),
        "Expand",
    ),
    "Expand with a zero before": (
        model([constant("to", 0, HUGE), helper.make_node("Expand", ["x", "to"], ["y"])]),
        "Expand",
    ),
    "Tile": (
        model([constant("to", 2**30, 2), helper.make_node("Tile", ["x", "to"], ["y"])]),
        "Tile",
    ),
    "Range": (
        model(
            [
                helper.make_node("Constant", [], ["a"], value_int=0),
                helper.make_node("Constant", [], ["b"], value_int=HUGE),
                helper.make_node("Constant", [], ["c"], value_int=1),
                helper.make_node("Range", ["a", "b", "c"], ["r"]),
                helper.make_node("Relu", ["x"], ["y"]),
            ]
        ),
        "Range",
    ),
    "Pad": (
        model([constant("by", 0, 0, HUGE, 0), helper.make_node("Pad", ["x", "by"], ["y"])]),
        "Pad",
    ),
    "RandomNormal": (
        model([helper.make_node("RandomNormal", [], ["h"], shape=[HUGE]), TO_Y]),
        "RandomNormal",
    ),
}


@pytest.mark.parametrize(("made", "said"), BOMBS.values(), ids=BOMBS)
def test_a_size_beyond_reason(tmp_path: Path, made: onnx.ModelProto, said: str) -> None:
    assert len(made.SerializeToString()) < 1000
    write(tmp_path / "b", made)
    refused(tmp_path / "b", said)


def itself() -> onnx.ModelProto:
    return in_a_body([helper.make_node("spmm", ["a"], ["h"], domain="graphstill")])


def field(number: int, payload: bytes) -> bytes:
    """Return a protobuf field of bytes."""
    size, length = len(payload), b""
    while size > 127:
        size, length = size >> 7, length + bytes([size & 127 | 128])
    return bytes([number << 3 | 2]) + length + bytes([size]) + payload


def nested(depth: int) -> bytes:
    """Return a model of graphs in attributes of nodes of graphs."""
    graph = b""
    for _ in range(depth):
        graph = field(1, field(5, field(6, graph)))
    return field(7, graph)


BROKEN: dict[str, tuple[onnx.ModelProto | bytes, str]] = {
    "an input that nobody gives": (
        model([helper.make_node("Add", ["x", "ghost"], ["y"])]),
        "reads 'ghost', which is no input",
    ),
    "an input that comes later": (
        model([helper.make_node("Abs", ["h"], ["y"]), helper.make_node("Relu", ["x"], ["h"])]),
        "reads 'h'",
    ),
    "an input missing in a branch": (
        in_a_branch([helper.make_node("Relu", ["ghost"], ["h"])]),
        "reads 'ghost'",
    ),
    "a value of the caller in a body": (
        in_a_body([helper.make_node("Relu", ["x"], ["h"])]),
        "reads 'x'",
    ),
    "an answer that nobody computes": (model([helper.make_node("Relu", ["x"], ["z"])]), "'y'"),
    "a value computed twice": (
        model([helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Abs", ["x"], ["y"])]),
        "computes 'y' twice",
    ),
    "a body that calls itself": (itself(), "body of graphstill.spmm.*uses"),
    "an operator unknown in a body": (
        in_a_body([helper.make_node("Launch", ["a"], ["h"])]),
        "operator Launch",
    ),
    "an operator unknown in a branch": (
        in_a_branch([helper.make_node("Launch", ["x"], ["h"])]),
        "operator Launch",
    ),
    "graphs nested a thousand deep": (nested(1000), "no ONNX file, or a damaged one"),
    "a length beyond the end": (b"\x3a\xff\xff\xff\xff\x0f", "no ONNX file"),
}


@pytest.mark.parametrize(("made", "said"), BROKEN.values(), ids=BROKEN)
def test_a_model_that_is_broken(tmp_path: Path, made: onnx.ModelProto | bytes, said: str) -> None:
    write(tmp_path / "b", made)
    refused(tmp_path / "b", said)


def test_any_single_changed_byte_of_a_model_is_noticed(tmp_path: Path) -> None:
    write(tmp_path / "b")
    file = tmp_path / "b" / "model.onnx"
    data = file.read_bytes()
    for at in range(len(data)):
        file.write_bytes(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
        with pytest.raises(BundleError):
            Bundle.load(tmp_path / "b")


def test_damage_that_the_manifest_vouches_for_raises_nothing_else(tmp_path: Path) -> None:
    """Whatever bytes are in the file, the checks answer with a BundleError or let it pass."""
    rng = np.random.default_rng(0)
    data = in_a_body([helper.make_node("Relu", ["a"], ["h"])]).SerializeToString()
    manifest = write(tmp_path / "b").manifest
    for _ in range(1000):
        changed = bytearray(data)
        for at in rng.integers(0, len(data), 3):
            changed[at] = rng.integers(0, 256)
        with suppress(BundleError):
            code.check_model(bytes(changed), manifest)
