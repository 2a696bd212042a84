"""Nodes of several types on the command line, from training to prediction."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from graphstill.cli import app

DATA = """
import torch
from torch_geometric.data import HeteroData

def made():
    torch.manual_seed(0)
    data = HeteroData()
    data["paper"].x, data["paper"].y = torch.randn(40, 5), torch.arange(40) % 2
    for i, part in enumerate(("train", "val", "test")):
        data["paper"][f"{part}_mask"] = torch.arange(40) // 2 % 3 == i
    data["venue"].num_nodes = 4
    data["paper", "at", "venue"].edge_index = torch.stack([torch.arange(40), torch.arange(40) % 4])
    data["venue", "of", "paper"].edge_index = data["paper", "at", "venue"].edge_index.flip(0)
    return data
"""


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return result


def test_the_whole_road(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "papers.py").write_text(DATA)
    monkeypatch.chdir(tmp_path)
    data = ["--data", "papers:made"]
    shape = ["--model", "HeteroRGCN", "--hidden-channels", "4", "--num-layers", "2"]
    run("train", *data, *shape, "--argument", "embedding=3", "--epochs", "3", "--out", "run")
    run("export", "run", "--out", "bundle")
    assert json.loads(run("check", "bundle", "--json").stdout)["ok"]
    answers = json.loads(run("predict", "bundle", *data, "--nodes", "3,5", "--json").stdout)
    assert [answer["node"] for answer in answers] == [3, 5]
