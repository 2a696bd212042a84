"""Students cut out of their teachers: exact where nothing is lost, refused where nothing fits."""

from typing import Any

import pytest
import torch
from torch import Tensor

from graphstill.distill import Architecture, Observed, build, call
from graphstill.distill.models import hidden_layers
from graphstill.distill.pruning import pruned
from graphstill.distill.taps import Taps
from graphstill.kernels import CSRGraph

N, F, C = 30, 6, 3
KINDS: dict[str, tuple[str, dict[str, Any], int]] = {
    "GCN": ("GCN", {}, 5),
    "GCN, normed": ("GCN", {"norm": "batch_norm", "act": "elu"}, 5),
    "GCN, normed over the graph": ("GCN", {"norm": "GraphNorm"}, 5),
    "GraphSAGE": ("GraphSAGE", {}, 5),
    "GraphSAGE, projecting": ("GraphSAGE", {"project": True, "normalize": True}, 5),
    "GAT": ("GAT", {"heads": 4}, 6),
    "GAT, residual": ("GAT", {"heads": 4, "residual": True}, 6),
    "GAT, second version": ("GAT", {"heads": 4, "v2": True}, 6),
    "GAT, averaged": ("GAT", {"heads": 4, "concat": False}, 5),
    "GCNII": ("GCNII", {"alpha": 0.3}, 5),
    "GCNII, two weights": ("GCNII", {"shared_weights": False}, 5),
    "SharedGCN": ("SharedGCN", {}, 5),
    "SharedGCNII": ("SharedGCNII", {}, 5),
    "MLP": ("MLP", {}, 5),
}
kinds = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def data() -> Observed:
    graph = CSRGraph.from_edge_index(torch.randint(0, N, (2, 120)), N)
    train = torch.arange(12)
    return Observed(torch.randn(N, F), graph, torch.arange(N) % C, train, train + 12, C)


def architectures(kind: str, heads: int = 4) -> tuple[Architecture, Architecture]:
    name, arguments, narrow = KINDS[kind]
    sizes = {"name": name, "in_channels": F, "num_layers": 3, "out_channels": C}
    fewer = {**arguments, "heads": heads} if "heads" in arguments else arguments
    if heads == 4 and name == "GAT" and arguments.get("concat", True):
        narrow = 4
    return (
        Architecture(hidden_channels=8, arguments={**arguments, "dropout": 0.5}, **sizes),
        Architecture(hidden_channels=narrow, arguments=fewer, **sizes),
    )


def answer(architecture: Architecture, state: dict[str, Tensor], data: Observed) -> Tensor:
    module = build(architecture)
    module.load_state_dict(state)
    return call(module.eval(), data.x, data.graph)


def trained(architecture: Architecture, data: Observed) -> torch.nn.Module:
    module = build(architecture)
    for parameter in module.parameters():  # biases and norms are not zero and one any more
        torch.nn.init.normal_(parameter, std=0.5)
    with torch.no_grad():
        call(module, data.x, data.graph)
    return module.eval()


@kinds
@pytest.mark.parametrize("importance", ["activation", "taylor"])
def test_every_network_is_cut_and_runs(kind: str, importance: str, data: Observed) -> None:
    wide, narrow = architectures(kind, heads=3)
    state = pruned(trained(wide, data), wide, narrow, data, importance)  # type: ignore[arg-type]
    logits = answer(narrow, state, data)
    assert logits.shape == (N, C)
    assert bool(logits.isfinite().all())


@kinds
def test_a_cut_to_the_same_width_changes_nothing(kind: str, data: Observed) -> None:
    wide, _ = architectures(kind)
    module = trained(wide, data)
    state = pruned(module, wide, wide, data)
    torch.testing.assert_close(answer(wide, state, data), call(module, data.x, data.graph))


@pytest.mark.parametrize("kind", [k for k in KINDS if k.isalnum() or "two" in k])
def test_channels_that_do_nothing_are_those_that_go(kind: str, data: Observed) -> None:
    wide, narrow = architectures(kind)
    module = trained(wide, data)
    silence(module, kind, narrow.hidden_channels)
    state = pruned(module, wide, narrow, data)
    torch.testing.assert_close(answer(narrow, state, data), call(module, data.x, data.graph))


def silence(module: torch.nn.Module, kind: str, narrow: int) -> None:
    """Make all hidden channels but the wanted number zero, not the first ones."""
    dead = torch.zeros(8, dtype=torch.bool)
    dead[[0, 3, 5, 7][: 8 - narrow]] = True  # of GAT's four heads of two, one channel each
    if kind == "GAT":
        dead = torch.tensor([1, 0, 0, 1, 0, 1, 1, 0]).bool()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            last = name.startswith(("convs.2.", "lins.2.", "lin_out."))
            if name.startswith("lin_out.") or (last and "II" not in kind and "Sh" not in kind):
                continue
            if name.endswith(("weight1", "weight2")):
                parameter[:, dead] = 0
            elif parameter.shape[0] == 8 and not ("project" in kind and ".lin." in name):
                parameter[dead] = 0
            elif parameter.shape[0] == 32:
                parameter.view(4, 8, -1)[:, dead] = 0
            elif parameter.shape[0] == 1 and parameter.shape[2] == 8:
                parameter[:, :, dead] = 0


@pytest.mark.parametrize("importance", ["activation", "taylor"])
def test_importance_is_its_formula(importance: str, data: Observed) -> None:
    wide, narrow = architectures("GCN")
    module = trained(wide, data)
    with Taps(module, hidden_layers(module)) as watched:
        logits = call(module, data.x, data.graph)
        first, second = watched.outputs()
    loss = torch.nn.functional.cross_entropy(logits[:12], data.y[:12])
    keep = []
    for h in (first, second):
        by_hand = torch.zeros(8)
        gradient = torch.autograd.grad(loss, h, retain_graph=True)[0]
        for c in range(8):
            if importance == "activation":
                by_hand[c] = sum(h[v, c] ** 2 for v in range(N)) ** 0.5
            else:
                by_hand[c] = abs(sum(h[v, c] * gradient[v, c] for v in range(N)))
        keep.append(by_hand.topk(5).indices.sort().values)
    state = pruned(module, wide, narrow, data, importance)  # type: ignore[arg-type]
    known = module.state_dict()
    assert torch.equal(state["convs.0.bias"], known["convs.0.bias"][keep[0]])
    weight = known["convs.1.lin.weight"][keep[1]][:, keep[0]]
    assert torch.equal(state["convs.1.lin.weight"], weight)
    assert torch.equal(state["convs.2.lin.weight"], known["convs.2.lin.weight"][:, keep[1]])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_layers": 2}, "num_layers, 3; got 2"),
        ({"name": "GraphSAGE"}, "name, GCN; got GraphSAGE"),
        ({"hidden_channels": 9}, "at most its teacher's 8 hidden channels"),
        ({"out_channels": 4}, "out_channels, 3; got 4"),
        ({"arguments": {"act": "elu"}}, r"\{\}; got \{'act': 'elu'\}"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], words: str, data: Observed) -> None:
    wide, narrow = architectures("GCN")
    with pytest.raises(ValueError, match=words):
        pruned(trained(wide, data), wide, narrow.model_copy(update=changes), data)


def test_more_heads_and_jumping_knowledge_are_refused(data: Observed) -> None:
    wide, narrow = architectures("GAT", heads=8)
    with pytest.raises(ValueError, match="at most its teacher's 4 heads"):
        pruned(trained(wide, data), wide, narrow.model_copy(update={"hidden_channels": 8}), data)
    wide, narrow = architectures("GCN")
    wide, narrow = (a.model_copy(update={"arguments": {"jk": "cat"}}) for a in (wide, narrow))
    with pytest.raises(ValueError, match="jk"):
        pruned(trained(wide, data), wide, narrow, data)


def test_cutting_draws_no_random_numbers(data: Observed) -> None:
    wide, narrow = architectures("GCN")
    module = trained(wide, data)
    before = torch.get_rng_state()
    pruned(module, wide, narrow, data, "taylor")
    assert torch.equal(before, torch.get_rng_state())
