"""The lint: each hazard in the smallest file that has it, and files that have none."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor
from torch_geometric import nn as pyg
from typer.testing import CliRunner, Result

from graphstill.cli import app
from graphstill.export import export
from graphstill.export.lint import Finding, known_providers, lint, lint_model
from graphstill.serve import Bundle, Manifest, TensorSpec

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
NODES, EDGES, WIDTH = "num_nodes", "num_edges", 4
Dims = list[Any]


def ints(*values: int) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64))


def constant(name: str, *values: int) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=ints(*values))


def node(op_type: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    name = attributes.pop("name", f"the_{op_type}")
    return helper.make_node(op_type, inputs.split(), outputs.split(), name=name, **attributes)


def model(
    *nodes: onnx.NodeProto,
    x: Dims | None = None,
    edges: Dims | None = None,
    out: Dims | None = None,
    element: int = FLOAT,
    opset: int = 18,
    **others: Any,
) -> onnx.ModelProto:
    """Return a model of x, edge_index and updates, of which the last node computes y."""
    inputs = [
        helper.make_tensor_value_info("x", element, x or [NODES, WIDTH]),
        helper.make_tensor_value_info("edge_index", INT64, edges or [2, EDGES]),
        helper.make_tensor_value_info("messages", element, [EDGES, WIDTH]),
    ]
    outputs = [helper.make_tensor_value_info("y", element, out or [NODES, WIDTH])]
    graph = helper.make_graph(list(nodes), "g", inputs, outputs)
    opsets = [helper.make_opsetid("", opset)]
    opsets += [helper.make_opsetid(domain, 1) for domain in ("mine", "com.microsoft")]
    return helper.make_model(graph, opset_imports=opsets, **{"ir_version": 10, **others})


TARGETS = (
    constant("one", 1),
    node("Gather", "edge_index one", "target_2d", axis=0),
    node("Transpose", "target_2d", "target", perm=[1, 0]),
)
RACING = (*TARGETS, node("ScatterND", "x target messages", "y", reduction="add"))
SLOW = (
    *TARGETS,
    node("Shape", "messages", "size"),
    node("Expand", "target size", "at"),
    node("ScatterElements", "x at messages", "y", reduction="add", axis=0),
)


def only(findings: list[Finding], hazard: str) -> Finding:
    """Return the finding of a hazard, which must be the only thing found."""
    assert [f.hazard for f in findings] == [hazard], [str(f) for f in findings]
    return findings[0]


def test_a_clean_file_is_clean_for_every_provider() -> None:
    made = model(node("Relu", "x", "y"))
    onnx.checker.check_model(made)
    assert lint_model(made, providers=known_providers()).findings == []


def test_a_racing_scatter() -> None:
    made = model(*RACING)
    onnx.checker.check_model(made)
    report = lint_model(made)
    found = only(report.findings, "racing-scatter")
    assert (found.severity, found.operator, found.node) == ("error", "ScatterND", "the_ScatterND")
    assert "one thread" in found.advice
    assert not report.ok
    assert lint_model(made, providers=["CoreMLExecutionProvider"]).ok


def test_a_scatter_that_overwrites() -> None:
    found = lint_model(model(*TARGETS, node("ScatterND", "x target messages", "y"))).findings
    assert only(found, "overwriting-scatter").severity == "error"
    without = (*SLOW[:-1], node("ScatterElements", "x at messages", "y", axis=0))
    assert only(lint_model(model(*without)).findings, "overwriting-scatter").node


def test_one_number_for_each_edge_may_be_meant_to_overwrite() -> None:
    loops = [
        *TARGETS[:2],
        constant("zero", 0),
        node("Squeeze", "target_2d zero", "at"),
        node("ReduceMax", "messages one", "weight", keepdims=0),
        node("ReduceMax", "x one", "none", keepdims=0),
        node("ScatterElements", "none at weight", "last"),
        node("Relu", "x", "y"),
    ]
    made = model(*loops)
    onnx.checker.check_model(made, full_check=True)
    assert only(lint_model(made).findings, "overwriting-scatter").severity == "warning"


def test_a_scatter_that_only_places_rows_is_fine() -> None:
    """Rows that were looked for are all different, unlike the ids of edges."""
    rows = [
        constant("width", 1),
        node("ReduceMax", "x width", "largest", keepdims=0),
        node("NonZero", "largest", "found"),
        node("Transpose", "found", "rows", perm=[1, 0]),
        node("GatherND", "x rows", "values"),
        node("ScatterND", "x rows values", "y"),
    ]
    made = model(*rows)
    onnx.checker.check_model(made, full_check=True)
    assert not lint_model(made).findings


def test_a_racing_scatter_inside_a_function_inside_a_branch() -> None:
    inside = helper.make_node("ScatterND", ["a", "b", "c"], ["d"], name="deep", reduction="mul")
    graph = helper.make_graph([inside], "g", [], [helper.make_tensor_value_info("d", FLOAT, None)])
    branches = {"then_branch": graph, "else_branch": graph}
    body = helper.make_function(
        "mine",
        "aggregate",
        ["a", "b", "c"],
        ["d"],
        [
            helper.make_node("Constant", [], ["yes"], value_int=1),
            helper.make_node("Cast", ["yes"], ["go"], to=TensorProto.BOOL),
            helper.make_node("If", ["go"], ["d"], **branches),
        ],
        [helper.make_opsetid("", 18)],
    )
    call = helper.make_node("aggregate", ["x", "target", "messages"], ["y"], domain="mine")
    found = lint_model(model(*TARGETS, call, functions=[body])).errors
    assert [f.node for f in found] == ["deep", "deep"]
    assert {f.place for f in found} == {
        f"{branch} of If d in function mine.aggregate" for branch in branches
    }


def test_a_reduction_that_a_function_is_told_by_its_call() -> None:
    scatter = helper.make_node("ScatterND", ["a", "b", "c"], ["d"])
    scatter.attribute.add(name="reduction", ref_attr_name="how", type=onnx.AttributeProto.STRING)
    opsets = [helper.make_opsetid("", 18)]
    body = helper.make_function("mine", "put", ["a", "b", "c"], ["d"], [scatter], opsets, ["how"])

    def called(**how: str) -> list[Finding]:
        call = helper.make_node("put", ["x", "target", "messages"], ["y"], domain="mine", **how)
        return lint_model(model(*TARGETS, call, functions=[body])).findings

    assert not called()
    assert only(called(how="add"), "racing-scatter").place == "function mine.put"


def test_a_function_that_nobody_calls_is_read_too() -> None:
    nodes = [helper.make_node("ScatterND", ["a", "b", "c"], ["d"], reduction="add")]
    opsets = [helper.make_opsetid("", 18)]
    body = helper.make_function("mine", "idle", ["a", "b", "c"], ["d"], nodes, opsets)
    made = model(node("Relu", "x", "y"), functions=[body])
    assert only(lint_model(made).findings, "racing-scatter").place.endswith("never called")


def test_a_slow_scatter() -> None:
    found = only(lint_model(model(*SLOW)).findings, "slow-scatter")
    assert (found.severity, found.operator) == ("warning", "ScatterElements")


def test_counting_in_one_dimension_is_fine() -> None:
    counting = [
        *TARGETS[:2],
        constant("zero", 0),
        node("Squeeze", "target_2d zero", "at"),
        node("Shape", "x", "n", end=1),
        node("ConstantOfShape", "n", "none", value=ints(0)),
        node("Shape", "messages", "e", end=1),
        node("Expand", "one e", "ones"),
        node("ScatterElements", "none at ones", "degree", reduction="add"),
        node("Relu", "x", "y"),
    ]
    made = model(*counting)
    onnx.checker.check_model(made, full_check=True)
    assert not lint_model(made).findings


@pytest.mark.parametrize("element", [TensorProto.FLOAT16, TensorProto.BFLOAT16])
@pytest.mark.parametrize("nodes", [RACING, SLOW], ids=["ScatterND", "ScatterElements"])
def test_a_16_bit_scatter(nodes: tuple[onnx.NodeProto, ...], element: int) -> None:
    hazards = [f.hazard for f in lint_model(model(*nodes, element=element)).errors]
    assert "half-scatter" in hazards
    assert "half-scatter" not in [f.hazard for f in lint_model(model(*nodes)).findings]


def test_a_16_bit_maximum_runs() -> None:
    largest = (*SLOW[:-1], node("ScatterElements", "x at messages", "y", reduction="max", axis=0))
    made = model(*largest, element=TensorProto.FLOAT16)
    only(lint_model(made).findings, "slow-scatter")


def test_scatters_on_gpus() -> None:
    cuda = lint_model(model(*RACING), providers=["CUDAExecutionProvider"])
    assert only(cuda.findings, "unordered-scatter").severity == "note"
    for nodes, severity in ((RACING, "error"), (SLOW, "warning")):
        found = lint_model(model(*nodes), providers=["TensorrtExecutionProvider"]).findings
        assert only(found, "unreduced-scatter").severity == severity


def test_inputs_and_outputs_of_one_size() -> None:
    made = model(node("Relu", "x", "y"), x=[9, WIDTH], edges=[2, 17], out=[9, WIDTH])
    found = lint_model(made).errors
    assert {f.hazard for f in found} == {"baked-in-size"}
    assert [f.node for f in found] == ["x", "edge_index", "y"]
    assert "Dim(" in found[0].advice


def test_one_answer_for_the_whole_graph_is_no_baked_in_size() -> None:
    made = model(node("ReduceMean", "x axes", "y"), out=[1, WIDTH])
    made.graph.node.insert(0, constant("axes", 0))
    assert "baked-in-size" not in {f.hazard for f in lint_model(made).findings}


def test_without_edges_a_fixed_shape_is_nobodys_business() -> None:
    x, y = (helper.make_tensor_value_info(n, FLOAT, [9, 4]) for n in "xy")
    graph = helper.make_graph([node("Relu", "x", "y")], "g", [x], [y])
    opsets = [helper.make_opsetid("", 18)]
    assert not lint_model(helper.make_model(graph, opset_imports=opsets, ir_version=10)).findings


def test_a_reshape_to_a_fixed_shape() -> None:
    made = model(constant("shape", 9, 2, 2), node("Reshape", "x shape", "y"), out=[9, 2, 2])
    found = [f for f in lint_model(made).errors if f.operator == "Reshape"]
    assert only(found, "baked-in-size").node == "the_Reshape"
    free = model(constant("shape", -1, 2, 2), node("Reshape", "x shape", "y"), out=[NODES, 2, 2])
    assert not lint_model(free).findings


@pytest.mark.parametrize(
    "nodes",
    [
        [constant("to", 9, WIDTH), node("ConstantOfShape", "to", "h", value=ints(0))],
        [constant("to", 9, WIDTH), node("Expand", "x to", "h")],
        [constant("from", 0), constant("to", 9), node("Slice", "x from to", "h")],
        [constant("to", 9, -1), node("Reshape", "x to", "h")],
    ],
    ids=["ConstantOfShape", "Expand", "Slice", "Reshape"],
)
def test_a_size_of_the_example(nodes: list[onnx.NodeProto]) -> None:
    made = model(*nodes, node("Relu", "x", "y"))
    found = lint_model(made, sizes={"num_nodes": 9, "num_edges": 17}).findings
    assert only(found, "baked-in-size").operator == nodes[-1].op_type
    assert "9" in found[0].message
    assert not lint_model(made, sizes={"num_nodes": 8, "num_edges": 17}).findings


def counted(largest: onnx.NodeProto) -> onnx.ModelProto:
    """Return a model that counts messages into as many rows as a node says."""
    return model(
        *TARGETS[:2],
        constant("zero", 0),
        node("Squeeze", "target_2d zero", "at"),
        largest,
        node("Add", "last one", "rows"),
        node("ConstantOfShape", "rows", "none", value=ints(0)),
        node("Shape", "at", "e"),
        node("Expand", "one e", "ones"),
        node("ScatterElements", "none at ones", "degree", reduction="add"),
        node("Relu", "x", "y"),
    )


def test_rows_counted_by_the_largest_id() -> None:
    made = counted(node("ReduceMax", "at", "last", keepdims=1))
    onnx.checker.check_model(made)
    found = only(lint_model(made).findings, "rows-from-ids")
    assert (found.severity, found.operator) == ("warning", "ConstantOfShape")
    assert not lint_model(counted(node("Shape", "x", "last", end=1))).findings


def loop(count: list[onnx.NodeProto], trip: str) -> onnx.ModelProto:
    kinds = [("i", INT64), ("c", TensorProto.BOOL), ("h", FLOAT)]
    body = helper.make_graph(
        [node("Identity", "c", "go"), node("Relu", "h", "next")],
        "body",
        [helper.make_tensor_value_info(n, k, None) for n, k in kinds],
        [
            helper.make_tensor_value_info("go", TensorProto.BOOL, None),
            helper.make_tensor_value_info("next", FLOAT, None),
        ],
    )
    looping = helper.make_node("Loop", [trip, "", "x"], ["y"], name="the_Loop", body=body)
    return model(*count, looping)


def test_a_loop_over_edges() -> None:
    count = [
        node("Shape", "edge_index", "size", start=1),
        constant("zero", 0),
        node("Squeeze", "size zero", "edges"),
    ]
    found = only(lint_model(loop(count, "edges")).findings, "loop-over-elements")
    assert (found.severity, found.node) == ("warning", "the_Loop")
    assert not lint_model(loop([constant("few", 3)], "few")).findings
    only(lint_model(loop([constant("many", 5000)], "many")).findings, "loop-over-elements")


def test_a_scan_over_nodes() -> None:
    values = [helper.make_tensor_value_info(n, FLOAT, [WIDTH]) for n in ("row", "done")]
    body = helper.make_graph([node("Relu", "row", "done")], "body", values[:1], values[1:])
    found = lint_model(model(node("Scan", "x", "y", body=body, num_scan_inputs=1))).findings
    assert only(found, "loop-over-elements").operator == "Scan"


def test_a_branch_that_computes() -> None:
    kind = helper.make_tensor_value_info("out", FLOAT, None)
    chosen = helper.make_graph([node("Identity", "x", "out")], "g", [], [kind])
    computed = helper.make_graph([node("Relu", "x", "h"), node("Abs", "h", "out")], "g", [], [kind])
    ask = [constant("one", 1), node("Cast", "one", "go", to=TensorProto.BOOL)]
    cheap = node("If", "go", "y", then_branch=chosen, else_branch=chosen)
    assert not lint_model(model(*ask, cheap)).findings
    dear = node("If", "go", "y", then_branch=chosen, else_branch=computed)
    assert only(lint_model(model(*ask, dear)).findings, "branch").severity == "note"


WHOLE_GRAPH = {
    "mean of the edges": [
        constant("axes", 0),
        node("ReduceMean", "messages axes", "mean", keepdims=1),
        node("Sub", "x mean", "y"),
    ],
    "mean": [
        constant("axes", 0),
        node("ReduceMean", "x axes", "mean", keepdims=1),
        node("Sub", "x mean", "y"),
    ],
    "attention over all nodes": [node("Softmax", "x", "y", axis=0)],
    "instance norm": [
        node("Transpose", "x", "columns", perm=[1, 0]),
        constant("zero", 0),
        node("Unsqueeze", "columns zero", "one_graph"),
        helper.make_node("Constant", [], ["ones"], value_floats=[1.0] * WIDTH),
        node("InstanceNormalization", "one_graph ones ones", "normed"),
        node("Squeeze", "normed zero", "columns_normed"),
        node("Transpose", "columns_normed", "y", perm=[1, 0]),
    ],
    "layer norm over nodes too": [
        helper.make_node("Constant", [], ["ones"], value_floats=[1.0] * WIDTH),
        node("LayerNormalization", "x ones", "y", axis=0),
    ],
    "prefix sums": [constant("axis", 0), node("CumSum", "x axis", "y")],
    "Gram matrix": [
        node("Transpose", "x", "columns", perm=[1, 0]),
        node("MatMul", "columns x", "gram"),
        node("MatMul", "x gram", "y"),
    ],
}


@pytest.mark.parametrize("nodes", WHOLE_GRAPH.values(), ids=WHOLE_GRAPH)
def test_a_value_of_all_nodes(nodes: list[onnx.NodeProto]) -> None:
    found = only(lint_model(model(*nodes)).findings, "whole-graph")
    assert found.severity == "warning"
    assert "subgraph" in found.advice


def test_pooling_for_one_answer_is_worth_a_note() -> None:
    made = model(constant("axes", 0), node("ReduceMean", "x axes", "y"), out=[1, WIDTH])
    assert only(lint_model(made).findings, "whole-graph").severity == "note"


def test_norms_of_each_node_are_fine() -> None:
    made = model(constant("axes", 1), node("ReduceMean", "x axes", "m"), node("Sub", "x m", "y"))
    assert not lint_model(made).findings
    assert not lint_model(model(node("Softmax", "x", "y", axis=1))).findings
    ones = helper.make_node("Constant", [], ["ones"], value_floats=[1.0] * WIDTH)
    assert not lint_model(model(ones, node("LayerNormalization", "x ones", "y"))).findings


@pytest.mark.parametrize(
    ("nodes", "provider", "operator"),
    [
        ([node("Unique", "x", "u", axis=0), node("Relu", "x", "y")], "CUDA", "Unique"),
        (
            [node("IsNaN", "x", "nan"), node("Compress", "x nan", "h"), node("Relu", "x", "y")],
            "Tensorrt",
            "Compress",
        ),
        ([node("Trilu", "x", "y")], "CoreML", "Trilu"),
        ([node("NonZero", "x", "at"), node("Relu", "x", "y")], "WebGpu", "NonZero"),
        ([node("Bernoulli", "x", "y")], "OpenVINO", "Bernoulli"),
    ],
)
def test_an_operator_that_a_provider_does_not_have(
    nodes: list[onnx.NodeProto], provider: str, operator: str
) -> None:
    asked = f"{provider}ExecutionProvider"
    found = [
        f
        for f in lint_model(model(*nodes), providers=[asked]).findings
        if f.hazard == "unsupported-operator"
    ]
    assert only(found, "unsupported-operator").operator == operator
    assert asked in found[0].message
    assert not lint_model(model(*nodes)).findings


def test_a_size_that_only_the_data_knows() -> None:
    made = model(node("NonZero", "x", "at"), node("Relu", "x", "y"))
    found = lint_model(made, providers=["TensorrtExecutionProvider"]).findings
    assert only(found, "data-dependent-size").operator == "NonZero"


def test_operators_of_other_domains() -> None:
    nowhere = helper.make_node("melt", ["x"], ["y"], domain="mine", name="m")
    found = only(lint_model(model(nowhere)).findings, "custom-operator")
    assert (found.severity, found.operator) == ("error", "mine.melt")
    microsoft = helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft", name="g")
    assert only(lint_model(model(microsoft)).findings, "custom-operator").severity == "warning"
    relu = [helper.make_node("Relu", ["a"], ["b"])]
    body = helper.make_function("mine", "melt", ["a"], ["b"], relu, [helper.make_opsetid("", 18)])
    assert not lint_model(model(nowhere, functions=[body])).findings


def test_versions_that_onnx_runtime_does_not_know() -> None:
    newer = only(lint_model(model(node("Relu", "x", "y"), opset=99)).findings, "unknown-version")
    assert newer.severity == "error"
    assert "99" in newer.node
    format_ = lint_model(model(node("Relu", "x", "y"), ir_version=99)).findings
    assert "99" in only(format_, "unknown-version").node


def test_operators_that_onnx_runtime_does_not_have() -> None:
    found = lint_model(model(node("Launch", "x", "y"))).errors
    assert {f.hazard for f in found} == {"invalid-model", "unsupported-operator"}
    decoder = node("ImageDecoder", "bytes", "image")  # standard since opset 20
    made = model(decoder, node("Relu", "x", "y"), opset=20)
    made.graph.input.append(helper.make_tensor_value_info("bytes", TensorProto.UINT8, ["n"]))
    assert only(lint_model(made).errors, "unsupported-operator").operator == "ImageDecoder"


def test_what_the_checker_of_onnx_refuses() -> None:
    found = only(lint_model(model(node("Relu", "ghost", "y"))).errors, "invalid-model")
    assert "ghost" in found.message


def test_nodes_without_their_inputs_are_read_all_the_same() -> None:
    bare = [
        helper.make_node(op_type, [], [f"out_{op_type}"], reduction="add")
        for op_type in "Reshape Expand ConstantOfShape Slice Range Loop Scan If CumSum Softmax "
        "ScatterND ScatterElements Gather NonZero".split()
    ]
    report = lint_model(
        model(*bare, node("Relu", "x", "y")), providers=known_providers(), sizes={"num_nodes": 9}
    )
    assert "invalid-model" in {f.hazard for f in report.errors}


def test_damaged_files_are_read_or_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data = loop([constant("many", 5000)], "many").SerializeToString()
    for _ in range(200):
        changed = bytearray(data)
        for at in rng.integers(0, len(data), 3):
            changed[at] = rng.integers(0, 256)
        (tmp_path / "m.onnx").write_bytes(changed)
        with suppress(ValueError):
            lint(tmp_path / "m.onnx", providers=known_providers())


def with_external(tmp_path: Path, location: str, length: int = 16) -> Path:
    made = model(node("Add", "x w", "y"))
    tensor = made.graph.initializer.add(name="w", data_type=FLOAT, dims=[WIDTH])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    tensor.external_data.add(key="length", value=str(length))
    file = tmp_path / "m" / "model.onnx"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(made.SerializeToString())
    return file


def test_external_data_beside_the_file(tmp_path: Path) -> None:
    file = with_external(tmp_path, "w.bin")
    (tmp_path / "m" / "w.bin").write_bytes(bytes(16))
    assert only(lint(file).findings, "external-data").severity == "warning"


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("../w.bin", "outside the folder"),
        ("/etc/passwd", "outside the folder"),
        ("C:\\w.bin", "outside the folder"),
        ("nowhere.bin", "no file"),
        ("link.bin", "symbolic link"),
        ("hard.bin", "hard link"),
        ("short.bin", "has 3 bytes"),
    ],
)
def test_external_data_out_of_reach(tmp_path: Path, location: str, said: str) -> None:
    file = with_external(tmp_path, location)
    outside = tmp_path / "w.bin"
    outside.write_bytes(bytes(16))
    (tmp_path / "m" / "link.bin").symlink_to(outside)
    (tmp_path / "m" / "hard.bin").hardlink_to(outside)
    (tmp_path / "m" / "short.bin").write_bytes(bytes(3))
    found = only(lint(file).findings, "external-data")
    assert found.severity == "error"
    assert said in found.message


class Plain(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = pyg.GCNConv(WIDTH, 3)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.conv(x, edge_index)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("dynamic", [True, False])
def test_a_plain_export_is_flagged(tmp_path: Path, dynamic: bool) -> None:
    dim = torch.export.Dim
    shapes = {"x": {0: dim("n", min=2)}, "edge_index": {1: dim("e", min=2)}} if dynamic else None
    torch.onnx.export(
        Plain().eval(),
        (torch.randn(9, WIDTH), torch.randint(0, 9, (2, 17))),
        tmp_path / "plain.onnx",
        input_names=["x", "edge_index"],
        dynamic_shapes=shapes,
        external_data=False,
        verbose=False,
    )
    report = lint(tmp_path / "plain.onnx")
    hazards = [f.hazard for f in report.findings]
    assert "slow-scatter" in hazards
    assert ("baked-in-size" in hazards) is not dynamic
    assert "whole-graph" not in hazards
    assert report.ok is dynamic


class Adding(torch.nn.Module):
    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return x.new_zeros(x.shape).index_add(0, edge_index[1], x[edge_index[0]])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_what_the_older_exporter_makes_of_index_add(tmp_path: Path) -> None:
    torch.onnx.export(
        Adding(),
        (torch.randn(9, WIDTH), torch.randint(0, 9, (2, 17))),
        tmp_path / "old.onnx",
        input_names=["x", "edge_index"],
        dynamic_axes={"x": {0: "n"}, "edge_index": {1: "e"}},
        dynamo=False,
    )
    only(lint(tmp_path / "old.onnx").errors, "overwriting-scatter")


def test_our_own_export_is_clean(tmp_path: Path) -> None:
    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.ModuleList(
                [
                    pyg.GCNConv(WIDTH, 8),
                    pyg.GATConv(8, 4, heads=2),
                    pyg.SAGEConv(8, 5, aggr="max"),
                ]
            )

        def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
            for layer in self.layers:
                x = layer(x, edge_index).relu()
            return x

    export(Net(), (torch.randn(9, WIDTH), torch.randint(0, 9, (2, 17))), tmp_path / "b")
    assert lint(tmp_path / "b").findings == []
    assert lint(tmp_path / "b" / "model.onnx").findings == []


def test_a_norm_over_the_graph_is_named_in_our_export(tmp_path: Path) -> None:
    net = pyg.GCN(WIDTH, 8, 2, 3, norm="GraphNorm")
    export(net, (torch.randn(9, WIDTH), torch.randint(0, 9, (2, 17))), tmp_path / "b")
    report = lint(tmp_path / "b")
    assert {f.hazard for f in report.findings} == {"whole-graph"}  # its sums are no scatters
    assert Bundle.load(tmp_path / "b").manifest.warnings == [str(f) for f in report.findings]


def test_a_refused_bundle_says_why(tmp_path: Path) -> None:
    net = pyg.SAGEConv(WIDTH, 3)
    export(net, (torch.randn(9, WIDTH), torch.randint(0, 9, (2, 17))), tmp_path / "b")
    (tmp_path / "b" / "README.md").write_text("changed")
    found = only(lint(tmp_path / "b").findings, "refused-bundle")
    assert "README.md" in found.message


def test_what_is_no_onnx_file(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("this is no model")
    for name in ("nowhere.onnx", "text.onnx"):
        with pytest.raises(ValueError, match="no ONNX file"):
            lint(tmp_path / name)


def command(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["lint", *map(str, arguments)])


def test_the_command(tmp_path: Path) -> None:
    for name, nodes in (("racing", RACING), ("slow", SLOW), ("clean", [node("Relu", "x", "y")])):
        (tmp_path / name).write_bytes(model(*nodes).SerializeToString())
    racing = command(tmp_path / "racing")
    assert racing.exit_code == 1
    assert "error: racing-scatter: ScatterND the_ScatterND in the graph" in racing.output
    assert "1 error" in racing.output
    slow = command(tmp_path / "slow", "--json")
    assert slow.exit_code == 0
    said = json.loads(slow.output)
    assert said["ok"]
    assert [f["hazard"] for f in said["findings"]] == ["slow-scatter"]
    assert "nothing found" in command(tmp_path / "clean").output
    elsewhere = command(tmp_path / "racing", "--provider", "CUDAExecutionProvider")
    assert elsewhere.exit_code == 0
    assert "unordered-scatter" in elsewhere.output
    for wrong in ([tmp_path / "racing", "--provider", "Abacus"], [tmp_path / "nowhere"]):
        result = command(*wrong)
        assert result.exit_code == 2
        assert "error: " in result.stderr


def test_exporting_prints_what_the_lint_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = TensorSpec("x", "float32", ("num_nodes", 2))
    about = Manifest((spec,), (spec,), {"model.onnx": None}, graph="none", warnings=["warning: w"])
    made = Bundle.write(tmp_path / "b", about, {"model.onnx": b""})
    monkeypatch.setattr("graphstill.export.runs.export_run", lambda *_, **__: made)
    result = CliRunner().invoke(app, ["export", "run", "--out", "b"])
    assert result.exit_code == 0, result.output
    assert "warning: w" in result.output
