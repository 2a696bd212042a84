"""Deliberately broken exports: `check` must see each fault, in the operators and in their bodies.

A model is exported once, its file is broken in one way, and the check that passed must fail. What
only the portable bodies do wrong must fail there and nowhere else.
"""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import Tensor
from torch_geometric import nn as pyg

from graphstill.export import ParityReport, check_parity, export, passes
from graphstill.export.lint import lint
from graphstill.serve import Bundle

WIDTH = 6
Edit = Callable[[onnx.ModelProto], None]


class Weighted(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = pyg.GCNConv(WIDTH, WIDTH)

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
        return self.conv(x, edge_index, edge_weight)


NETWORKS = {
    "GCN": lambda: pyg.GCN(WIDTH, WIDTH, 2, WIDTH),
    "SAGE": lambda: pyg.GraphSAGE(WIDTH, WIDTH, 2, WIDTH),
    "weighted": Weighted,
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], "Exported"]:
    made: dict[str, Exported] = {}

    def get(name: str) -> Exported:
        if name not in made:
            made[name] = Exported(name, tmp_path_factory.mktemp("bundle") / "b")
        return made[name]

    return get


class Exported:
    """A network with biases that are not zero, and its bundle."""

    def __init__(self, name: str, path: Path) -> None:
        torch.manual_seed(0)
        self.module = NETWORKS[name]().eval()
        for parameter in self.module.parameters():
            if parameter.dim() == 1:
                torch.nn.init.normal_(parameter)
        edges = torch.randint(0, 9, (2, 17))
        inputs = [torch.randn(9, WIDTH), edges, torch.rand(17)][: 3 if name == "weighted" else 2]
        self.bundle = export(self.module, tuple(inputs), path)
        self._reports: dict[Edit, ParityReport] = {}

    def checked(self, edit: Edit, path: Path) -> ParityReport:
        """Return what the check says of a broken file, checked once."""
        if edit not in self._reports:
            self._reports[edit] = check_parity(self.module, self.broken(edit, path))
        return self._reports[edit]

    def broken(self, edit: Edit, path: Path) -> Bundle:
        """Return a bundle that vouches for a changed file."""
        model = onnx.load_from_string(self.bundle.read_model())
        before = model.SerializeToString()
        edit(model)
        assert model.SerializeToString() != before, "the edit changed nothing"
        onnx.checker.check_model(model)
        files = {name: self.bundle.read(name) for name in self.bundle.manifest.files}
        manifest = replace(self.bundle.manifest, files={"model.onnx": None})
        return Bundle.write(path, manifest, {**files, "model.onnx": model.SerializeToString()})


Get = Callable[[str], Exported]


def nodes(model: onnx.ModelProto, op_type: str) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == op_type]


def before(model: onnx.ModelProto, node: onnx.NodeProto, *added: onnx.NodeProto) -> None:
    at = list(model.graph.node).index(node)
    kept = [*model.graph.node[:at], *added, *model.graph.node[at:]]
    del model.graph.node[:]
    model.graph.node.extend(kept)


def refresh_bodies(model: onnx.ModelProto) -> None:
    del model.functions[:]
    passes.attach_bodies(model)


def body_node(model: onnx.ModelProto, function: str, output: str) -> onnx.NodeProto:
    """Return the node of a body, of its Loop too, that computes a value."""
    for owner in model.functions:
        if owner.name == function:
            inner = [a.g for node in owner.node for a in node.attribute if a.HasField("g")]
            for node in [n for graph in (owner, *inner) for n in graph.node]:
                if output in node.output:
                    return node
    raise LookupError(output)


def initializer(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def number_of_nodes_baked_in(model: onnx.ModelProto) -> None:
    csr = nodes(model, "csr")[0]
    csr.input[1] = csr.input[2] = "nine"
    before(model, csr, helper.make_node("Constant", [], ["nine"], value_int=9))


def self_loops_dropped(model: onnx.ModelProto) -> None:
    for node in nodes(model, "gcn_norm"):
        next(a for a in node.attribute if a.name == "add_self_loops").i = 0
    refresh_bodies(model)


def mean_taken_as_sum(model: onnx.ModelProto) -> None:
    for node in nodes(model, "spmm_update"):
        next(a for a in node.attribute if a.name == "reduce").s = b"sum"
    refresh_bodies(model)


def direction_swapped(model: onnx.ModelProto) -> None:
    csr = nodes(model, "csr")[0]
    csr.input[0] = "swapped"
    order = helper.make_node("Constant", [], ["order"], value_ints=[1, 0])
    before(model, csr, order, helper.make_node("Gather", ["edge_index", "order"], ["swapped"]))


def duplicate_edges_merged(model: onnx.ModelProto) -> None:
    csr = nodes(model, "csr")[0]
    csr.input[0] = "merged"
    before(model, csr, helper.make_node("Unique", ["edge_index"], ["merged"], axis=1))


def weights_keep_the_order_of_the_edges(model: onnx.ModelProto) -> None:
    """Lose the permutation that brings edge_weight into the order of the sorted edges."""
    for node in nodes(model, "Gather"):
        if node.input[0] == "edge_weight":
            node.CopyFrom(helper.make_node("Identity", [node.input[0]], list(node.output)))


def last_bias_lost(model: onnx.ModelProto) -> None:
    tensor = initializer(model, "convs.1.bias")
    tensor.CopyFrom(numpy_helper.from_array(np.zeros(WIDTH, np.float32), tensor.name))


def weights_of_two_layers_swapped(model: onnx.ModelProto) -> None:
    first, second = (initializer(model, f"convs.{i}.lin.weight") for i in (0, 1))
    kept = copy.deepcopy(first.raw_data)
    first.raw_data, second.raw_data = second.raw_data, kept


def weights_rounded_to_float16(model: onnx.ModelProto) -> None:
    for tensor in model.graph.initializer:
        rounded = numpy_helper.to_array(tensor).astype(np.float16).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))


def answers_that_differ_from_run_to_run(model: onnx.ModelProto) -> None:
    """Add noise far below the tolerance, so that only a second call shows it."""
    last = model.graph.node[-1]
    last.output[0] = "still"
    noise = helper.make_node("RandomNormalLike", ["still"], ["noise"], scale=1e-6)
    model.graph.node.extend([noise, helper.make_node("Add", ["still", "noise"], ["logits"])])


def degrees_of_a_subgraph_ignored(model: onnx.ModelProto) -> None:
    for node in nodes(model, "gcn_norm"):
        del node.input[2:]
    refresh_bodies(model)


EVERYWHERE = {
    "number of nodes baked in": ("GCN", number_of_nodes_baked_in, "usual"),
    "self loops dropped": ("GCN", self_loops_dropped, "usual"),
    "mean taken as sum": ("SAGE", mean_taken_as_sum, "usual"),
    "direction swapped": ("GCN", direction_swapped, "usual"),
    "duplicate edges merged": ("GCN", duplicate_edges_merged, "duplicates and loops"),
    "order of the edges kept": ("weighted", weights_keep_the_order_of_the_edges, "usual"),
    "last bias lost": ("GCN", last_bias_lost, "no edges"),
    "weights swapped": ("GCN", weights_of_two_layers_swapped, "usual"),
    "weights rounded to float16": ("GCN", weights_rounded_to_float16, "larger"),
    "different from run to run": ("GCN", answers_that_differ_from_run_to_run, "usual"),
    "degrees of a subgraph ignored": ("GCN", degrees_of_a_subgraph_ignored, "2-hop subgraph"),
}


def degree_counted_without_loops(model: onnx.ModelProto) -> None:
    node = body_node(model, "gcn_norm", "own_degree")
    node.CopyFrom(helper.make_node("Identity", ["edge_sum"], ["own_degree"]))


def rows_of_hubs_truncated(model: onnx.ModelProto) -> None:
    """Let no piece of a row be larger than 256, so that a row of 3,000 edges loses most."""
    for function in (f for f in model.functions if f.name == "spmm_update"):
        graph = next(a.g for n in function.node for a in n.attribute if a.name == "body")
        next(n for n in graph.node if n.output[0] == "more_1d").input[1] = "limit"
        limit = helper.make_node("Constant", [], ["limit"], value_ints=[256])
        graph.node.insert(0, limit)


def mean_of_nothing_is_nan(model: onnx.ModelProto) -> None:
    for function in model.functions:
        for node in function.node:
            if "counted" in node.output:
                node.CopyFrom(helper.make_node("Identity", ["degree"], ["counted"]))


def edges_not_sorted(model: onnx.ModelProto) -> None:
    body_node(model, "csr", "sorted_src").input[0] = "dst"


BODIES_ONLY = {
    "degree counted without loops": ("GCN", degree_counted_without_loops, "usual"),
    "rows of hubs truncated": ("GCN", rows_of_hubs_truncated, "a hub"),
    "isolated node gives NaN": ("SAGE", mean_of_nothing_is_nan, "isolated nodes"),
    "destination taken for source": ("GCN", edges_not_sorted, "usual"),
}


def failing(report: ParityReport, *, native: bool) -> set[str]:
    return {f.case for f in report.failures if f.native is native}


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_not_broken_passes(name: str, exported: Get) -> None:
    whole = exported(name)
    report = check_parity(whole.module, whole.bundle)
    assert report.ok, report.failures
    assert report.native_operators


@pytest.mark.parametrize(("name", "edit", "case"), EVERYWHERE.values(), ids=EVERYWHERE)
def test_a_broken_graph_fails(
    name: str, edit: Edit, case: str, exported: Get, tmp_path: Path
) -> None:
    report = exported(name).checked(edit, tmp_path / "b")
    assert case in failing(report, native=True)
    assert case in failing(report, native=False)
    assert not report.ok


@pytest.mark.parametrize(("name", "edit", "case"), BODIES_ONLY.values(), ids=BODIES_ONLY)
def test_a_broken_body_fails_where_it_runs(
    name: str, edit: Edit, case: str, exported: Get, tmp_path: Path
) -> None:
    report = exported(name).checked(edit, tmp_path / "b")
    assert case in failing(report, native=False)
    assert not failing(report, native=True)


def test_a_fault_of_hubs_is_seen_by_the_hub_alone(exported: Get, tmp_path: Path) -> None:
    report = exported("GCN").checked(rows_of_hubs_truncated, tmp_path / "b")
    assert failing(report, native=False) == {"a hub"}


def test_a_fault_of_the_order_of_edges_hides_from_sorted_ones(
    exported: Get, tmp_path: Path
) -> None:
    report = exported("weighted").checked(weights_keep_the_order_of_the_edges, tmp_path / "b")
    failed = failing(report, native=True)
    assert "edges from last to first" in failed
    assert "sorted edges" not in failed


def test_a_wrong_degree_of_subgraphs_hides_from_whole_graphs(exported: Get, tmp_path: Path) -> None:
    report = exported("GCN").checked(degrees_of_a_subgraph_ignored, tmp_path / "b")
    assert failing(report, native=True) == failing(report, native=False) == {"2-hop subgraph"}


def test_hops_that_are_too_few_fail(exported: Get, tmp_path: Path) -> None:
    whole = exported("SAGE")
    files = {name: whole.bundle.read(name) for name in whole.bundle.manifest.files}
    near = Bundle.write(tmp_path / "b", replace(whole.bundle.manifest, hops=1), files)
    report = check_parity(whole.module, near)
    assert failing(report, native=True) == failing(report, native=False) == {"1-hop subgraph"}


def racing(model: onnx.ModelProto) -> None:
    """Place the pieces of rows by a ScatterND that adds, which is right on one thread only."""
    node = body_node(model, "spmm_update", "total_out")
    node.attribute.add(name="reduction", type=onnx.AttributeProto.STRING, s=b"add")


def test_a_racing_scatter_in_a_body_is_named_by_the_lint(exported: Get, tmp_path: Path) -> None:
    """Whether threads race shows in some runs only, so this fault is read, not run."""
    exported("GCN").broken(racing, tmp_path / "b")
    report = lint(tmp_path / "b")
    assert [(f.severity, f.hazard) for f in report.findings] == [("error", "racing-scatter")]
    assert "graphstill.spmm" in report.findings[0].place
