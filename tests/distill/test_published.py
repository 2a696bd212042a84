"""Published sizes: networks with the layers of a paper have its number of parameters."""

from typing import Any

import pytest
import torch

from graphstill.distill import Architecture, TrainSettings, build, digits, hidden_layers, train

# Joshi et al. (https://arxiv.org/abs/2111.04964) on ogbn-arxiv: 128 features, 40 classes; its
# teacher takes labels as features too
ARXIV = {
    "GAT, 3 layers of 3 × 250": (
        1_441_580, "ResidualGAT", 128 + 40, 750, 3, {"heads": 3},
    ),
    "GCN, 2 layers of 256": (43_816, "GCN", 128, 256, 2, {"norm": "batch_norm"}),
    "GraphSAGE, 2 layers of 256": (86_824, "GraphSAGE", 128, 256, 2, {"norm": "batch_norm"}),
}  # fmt: skip


@pytest.mark.parametrize("network", ARXIV)
@pytest.mark.parametrize("fused", [True, False])
def test_networks_on_arxiv_have_the_published_size(network: str, fused: bool) -> None:
    parameters, name, features, width, layers, arguments = ARXIV[network]
    module = build(
        Architecture(
            name=name,
            in_channels=features,
            hidden_channels=width,
            num_layers=layers,
            out_channels=40,
            arguments=arguments,
        ),
        fused=fused,
    )
    trained = sum(p.numel() for p in module.parameters() if p.requires_grad)
    assert trained == parameters


def residual(**arguments: Any) -> Architecture:
    return Architecture(
        name="ResidualGAT",
        in_channels=64,
        hidden_channels=12,
        num_layers=3,
        out_channels=10,
        arguments=arguments,
    )


def test_a_residual_gat_is_pygs_and_attends_to_sources_alone() -> None:
    data = digits()
    torch.manual_seed(0)
    fused, plain = build(residual(heads=2)), build(residual(heads=2), fused=False)
    plain.load_state_dict(fused.state_dict())
    torch.testing.assert_close(
        fused.eval()(data.x, data.graph), plain.eval()(data.x, data.edge_index), atol=1e-5, rtol=0
    )
    run = train(residual(heads=2), data, TrainSettings(epochs=8, lr=0.02), progress=False)
    assert run.accuracy["test"] > 0.5
    assert all(not conv.att_dst.any() for conv in run.module.convs)
    assert hidden_layers(run.module) == ["act#0", "act#1"]


def test_heads_divide_the_width() -> None:
    with pytest.raises(ValueError, match="5 heads must divide hidden_channels, got 12"):
        build(residual(heads=5))
