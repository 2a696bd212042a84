"""Runs as bundles: what was measured is said by its name."""

from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F

from graphstill.distill import Architecture, TrainSettings, digits, train
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
