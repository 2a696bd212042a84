"""Model repositories: Triton's own schema reads them, and what they say runs and is right."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import yaml
from google.protobuf import text_format
from torch_geometric import nn as pyg
from torch_geometric.nn.models import MLP
from tritonclient.grpc import model_config_pb2

from graphstill.export import About, ExportError, convert, export
from graphstill.serve import Bundle, Session, native

X = torch.randn(9, 12)
EDGES = torch.randint(0, 9, (2, 17))
CLASSES = ["a", "b", "c", 'd "quoted"', "é"]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    place = tmp_path_factory.mktemp("triton")
    about = About(class_names=CLASSES)
    return {
        "gcn": export(pyg.GCN(12, 16, 2, 5), (X, EDGES), place / "gcn", about=about),
        "csr": export(pyg.GraphSAGE(12, 16, 2, 5), (X, EDGES), place / "csr", graph="csr"),
        "mlp": export(MLP([12, 16, 5], norm=None), (X,), place / "mlp", about=about),
    }


def config_of(repository: Path, name: str) -> Any:
    """Read config.pbtxt as Triton does: an unknown field or value is an error."""
    text = (repository / name / "config.pbtxt").read_text(encoding="utf-8")
    return text_format.Parse(text, model_config_pb2.ModelConfig())


class Server:
    """What Triton's ONNX Runtime backend does with a configuration, as far as answers go."""

    def __init__(self, repository: Path, name: str) -> None:
        self.config = config_of(repository, name)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.enable_mem_pattern = self._parameter("enable_mem_pattern") != "0"
        options.intra_op_num_threads = int(self._parameter("intra_op_thread_count"))
        for library in self.config.model_operations.op_library_filename:
            options.register_custom_ops_library(library)
        self.session = onnxruntime.InferenceSession(
            (repository / name / "1" / "model.onnx").read_bytes(),
            options,
            providers=["CPUExecutionProvider"],
        )

    def _parameter(self, key: str) -> str:
        return self.config.parameters[key].string_value

    def infer(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        known = {spec.name: spec for spec in self.config.input}
        required = {name for name, spec in known.items() if not spec.optional}
        assert required <= inputs.keys() <= known.keys()
        for name, value in inputs.items():
            kind = model_config_pb2.DataType.Name(known[name].data_type).removeprefix("TYPE_")
            assert kind == {"float32": "FP32", "int64": "INT64"}[value.dtype.name]
            dims = ([-1] if self.config.max_batch_size else []) + list(known[name].dims)
            assert len(dims) == value.ndim
            assert all(d in (-1, size) for d, size in zip(dims, value.shape, strict=True))
        return np.asarray(self.session.run([s.name for s in self.config.output], inputs)[0])


def test_a_graph_is_never_batched(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    path = convert(bundles["gcn"], tmp_path / "models", format="triton", threads=2)
    config = config_of(path, "gcn")
    assert (config.name, config.backend) == ("gcn", "onnxruntime")
    assert config.max_batch_size == 0
    assert not config.HasField("dynamic_batching")
    assert [list(spec.dims) for spec in config.input] == [[-1, 12], [2, -1], [-1]]
    assert [spec.optional for spec in config.input] == [False, False, True]
    assert not config.output[0].label_filename
    assert config.parameters["intra_op_thread_count"].string_value == "2"
    # what the first dimension is cannot be mistaken: one of the inputs does not have it
    assert any(spec.dims[0] != -1 for spec in config.input)


def test_the_repository_answers_as_the_session_does(
    bundles: dict[str, Bundle], tmp_path: Path
) -> None:
    path = convert(bundles["gcn"], tmp_path / "models", format="triton")
    server, session = Server(path, "gcn"), Session(bundles["gcn"])
    inputs = {"x": X.numpy(), "edge_index": EDGES.numpy()}
    np.testing.assert_allclose(server.infer(inputs), session(inputs)["logits"], atol=1e-5)
    inputs["in_degree"] = np.full(9, 7, np.float32)
    np.testing.assert_allclose(server.infer(inputs), session(inputs)["logits"], atol=1e-5)


class Mixed(torch.nn.Module):
    """Two overloads of one operator, which ONNX Runtime before 1.27 cannot tell apart."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = pyg.SAGEConv(12, 8), pyg.GCNConv(8, 5)

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x, edge_index).relu(), edge_index)


def test_without_the_operators_old_servers_can_read_the_model(tmp_path: Path) -> None:
    bundle = export(Mixed(), (X, EDGES), tmp_path / "mixed")
    path = convert(bundle, tmp_path / "models", format="triton")
    model = onnx.load(path / "mixed" / "1" / "model.onnx")
    assert model.ir_version == 8
    assert not model.functions
    assert [entry.domain for entry in model.opset_import] == [""]
    assert {node.domain for node in model.graph.node} == {""}
    inputs = {"x": X.numpy(), "edge_index": EDGES.numpy()}
    expected = Session(bundle)(inputs)["logits"]
    np.testing.assert_allclose(Server(path, "mixed").infer(inputs), expected, atol=1e-5)


def test_the_operators_are_loaded_from_where_the_server_sees_them(
    bundles: dict[str, Bundle], tmp_path: Path
) -> None:
    native.library()  # without it there is nothing to test, and this says why
    path = convert(
        bundles["gcn"], tmp_path / "models", format="triton", mounted_at=str(tmp_path / "models")
    )
    (library,) = config_of(path, "gcn").model_operations.op_library_filename
    assert Path(library).is_file()
    inputs = {"x": X.numpy(), "edge_index": EDGES.numpy()}
    expected = Session(bundles["gcn"])(inputs)["logits"]
    np.testing.assert_allclose(Server(path, "gcn").infer(inputs), expected, atol=1e-5)
    kept = (path / "gcn" / "1" / "model.onnx").read_bytes()
    assert kept == bundles["gcn"].read_model()
    Path(library).unlink()
    with pytest.raises(Exception, match="libgraphstill_ort"):
        Server(path, "gcn")


def test_rows_without_a_graph_are_batched(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    path = convert(
        bundles["mlp"], tmp_path / "models", format="triton", name="student", max_batch_size=64
    )
    config = config_of(path, "student")
    assert config.max_batch_size == 64
    assert config.HasField("dynamic_batching")
    assert [list(spec.dims) for spec in (*config.input, *config.output)] == [[12], [5]]
    assert config.output[0].label_filename == "labels.txt"
    labels = (path / "student" / "labels.txt").read_text(encoding="utf-8")
    assert labels.splitlines() == CLASSES
    # two requests joined are what each is alone
    server, x = Server(path, "student"), X.numpy()
    apart = np.concatenate([server.infer({"x": x[:4]}), server.infer({"x": x[4:]})])
    np.testing.assert_allclose(server.infer({"x": x}), apart, atol=1e-6)


def test_seeds_of_blocks_are_batched(tmp_path: Path) -> None:
    made: Any = {"lowering": "blocks", "fanouts": [3, 3]}
    bundle = export(pyg.GCN(12, 16, 2, 5), (X, EDGES), tmp_path / "blocks", **made)
    assert isinstance(bundle, Bundle)
    path = convert(bundle, tmp_path / "models", format="triton")
    assert config_of(path, "blocks").HasField("dynamic_batching")
    session, server = Session(bundle), Server(path, "blocks")
    graph = session.prepare(EDGES.numpy(), len(X))
    feeds = session.blocks(graph, np.arange(6), x=X.numpy())
    apart = [
        server.infer({k: v[rows] for k, v in feeds.items()}) for rows in ([0, 1], [2, 3, 4, 5])
    ]
    np.testing.assert_allclose(server.infer(dict(feeds)), np.concatenate(apart), atol=1e-6)
    # sizes that are fixed are not for a batcher
    fixed = export(pyg.GCN(12, 16, 2, 5), (X, EDGES), tmp_path / "fixed", batch=4, **made)
    assert isinstance(fixed, Bundle)
    path = convert(fixed, tmp_path / "models", format="triton")
    assert config_of(path, "fixed").max_batch_size == 0


def test_what_triton_could_batch_wrongly_is_refused(
    bundles: dict[str, Bundle], tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match='graph="edge_index"'):
        convert(bundles["csr"], tmp_path / "models", format="triton")
    normed = MLP([12, 16, 5], norm="LayerNorm", norm_kwargs={"mode": "graph"})
    with pytest.raises(ExportError, match="join two requests"):
        export(normed, (X,), tmp_path / "models", format="triton", name="normed")
    assert not (tmp_path / "models").exists()


def test_a_repository_holds_several_models(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    path = tmp_path / "models"
    convert(bundles["gcn"], path, format="triton")
    (path / "kserve.yaml").write_text("mine")
    convert(bundles["mlp"], path, format="triton")
    convert(bundles["mlp"], path, format="triton")  # again: it is replaced
    assert sorted(p.name for p in path.iterdir()) == ["gcn", "kserve.yaml", "mlp"]
    assert (path / "kserve.yaml").read_text() == "mine"
    shutil.rmtree(path / "mlp")
    (path / "mlp").mkdir()
    (path / "mlp" / "notes.txt").write_text("not ours")
    with pytest.raises(ExportError, match=r"holds no config\.pbtxt"):
        convert(bundles["mlp"], path, format="triton")


@pytest.mark.parametrize("name", ["Student", "a_b", "-a", "0a", "a" * 64, "../a", "", "a\n"])
def test_names_are_those_of_kubernetes(
    name: str, bundles: dict[str, Bundle], tmp_path: Path
) -> None:
    bundle = Bundle(Path("x_y"), bundles["mlp"].manifest)
    with pytest.raises(ExportError, match="Kubernetes"):
        convert(bundle, tmp_path / "models", format="triton", name=name)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("threads", 0), ("instances", 0), ("max_batch_size", -1), ("mounted_at", "models")],
)
def test_settings_must_make_sense(
    setting: str, value: object, bundles: dict[str, Bundle], tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=f"{setting} must be"):
        convert(bundles["mlp"], tmp_path / "models", format="triton", **{setting: value})


def test_the_kserve_manifest(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    path = convert(bundles["gcn"], tmp_path / "models", format="triton", threads=3, instances=2)
    service = yaml.safe_load((path / "kserve.yaml").read_text())
    # names of fields: InferenceService of serving.kserve.io/v1beta1, KServe 0.21
    assert service.keys() == {"apiVersion", "kind", "metadata", "spec"}
    assert service["apiVersion"] == "serving.kserve.io/v1beta1"
    assert service["kind"] == "InferenceService"
    assert service["metadata"] == {"name": "gcn"}
    model = service["spec"]["predictor"]["model"]
    assert model.keys() == {
        *["modelFormat", "protocolVersion", "runtime", "storageUri", "resources"]
    }
    # what the runtime kserve-tritonserver says that it serves
    assert model["runtime"] == "kserve-tritonserver"
    assert model["modelFormat"] == {"name": "triton", "version": "2"}
    assert model["protocolVersion"] in ("v2", "grpc-v2")
    assert "://" in model["storageUri"]
    assert model["resources"]["requests"]["cpu"] == "6"


def test_an_unknown_format_is_refused(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="triton, web"):
        convert(bundles["mlp"], tmp_path / "m", format="tritn")
    with pytest.raises(ExportError, match="onnx, aoti, triton, web"):
        export(MLP([12, 5]), (X,), tmp_path / "m", format="tritn")
    with pytest.raises(ExportError, match="takes no threads"):
        export(MLP([12, 5]), (X,), tmp_path / "m", threads=2)
