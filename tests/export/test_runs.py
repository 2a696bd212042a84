"""Runs as bundles: what was measured is said by its name."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from graphstill.distill import Architecture, Run, TrainSettings, build, digits, train
from graphstill.export import check_parity, rebuild
from graphstill.export.runs import export_run
from graphstill.serve import Session


def test_a_card_names_the_metric(tmp_path: Path) -> None:
    data = digits()
    several = replace(data, y=F.one_hot(data.y, 10).float(), class_names=None)
    architecture = Architecture(
        name="GCN", in_channels=64, hidden_channels=8, num_layers=2, out_channels=10
    )
    run = train(architecture, several, TrainSettings(epochs=2), progress=False)
    bundle = export_run(run, tmp_path / "several")
    card = (tmp_path / "several" / "README.md").read_text()
    assert f"Micro-f1 on test: {run.accuracy['test']:.4f}." in card
    assert "Accuracy on" not in card
    answers = Session(bundle)(x=data.x.numpy(), edge_index=data.edge_index.numpy())["logits"]
    wanted = run.module(data.x, data.graph).detach()
    torch.testing.assert_close(torch.from_numpy(answers), wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize("more", [{}, {"featureless": True, "num_bases": 2}])
def test_a_run_with_relations(more: dict[str, Any], tmp_path: Path) -> None:
    architecture = Architecture(
        name="RGCN",
        in_channels=12,
        hidden_channels=8,
        num_layers=2,
        out_channels=3,
        arguments={"num_relations": 4, **more},
    )
    module = build(architecture).eval()
    run = Run(module=module, architecture=architecture, accuracy={}, provenance={})
    bundle = export_run(run, tmp_path / "b")
    assert [spec.name for spec in bundle.manifest.inputs] == ["x", "edge_index", "edge_type"]
    assert (bundle.manifest.hops, bundle.manifest.inputs[0].below) == (2, 12 if more else None)
    report = check_parity(rebuild(bundle), bundle)
    assert report.ok, report.failures
