"""The field's methods against their formulas, written out anew."""

import typing

import pytest
import torch
import torch.nn.functional as F
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from graphstill.distill import Observed, Pass, TapError
from graphstill.distill.methods import (
    GCRD,
    GSP,
    LSP,
    Alignahead,
    AttentionTransfer,
    DeepSupervision,
    FitNet,
    cka,
    stride,
    unexplained,
)
from graphstill.distill.methods.pairs import AttentionKind, attention
from graphstill.distill.methods.settings import TermSetting
from graphstill.export.commands.training_options import TERMS
from graphstill.kernels import CSRGraph

N, C, EDGES = 24, 4, 90


@pytest.fixture
def data() -> Observed:
    torch.manual_seed(0)
    graph = CSRGraph.from_edge_index(torch.randint(0, N - 2, (2, EDGES)), N)  # two are isolated
    return Observed(
        torch.randn(N, 3), graph, torch.arange(N) % C, torch.arange(8), torch.arange(8, 16), C
    )


def made(*widths: int) -> Pass:
    layers = [torch.randn(N, width, dtype=torch.float64, requires_grad=True) for width in widths]
    return Pass(torch.randn(N, C, dtype=torch.float64), layers)


def unit(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("kernel", ["rbf", "l2", "cosine", "poly"])
def test_lsp_is_its_formula(kernel: str, data: Observed) -> None:
    student, teacher = made(5, 3), made(7)
    wanted = torch.zeros((), dtype=torch.float64)
    for node in range(N):
        begin, end = data.graph.rowptr[node : node + 2].tolist()
        near = data.graph.col[begin:end].long()
        h, g = teacher.layers[0], student.layers[1]
        p, q = (similarity(kernel, layer[near], layer[node]).softmax(0) for layer in (h, g))
        wanted = wanted + (p * (p / q).log()).sum()
    torch.testing.assert_close(LSP(kernel)(student, teacher, data), wanted / EDGES)  # type: ignore[arg-type]


def test_a_frozen_teachers_structure_is_found_once(data: Observed) -> None:
    student, teacher = made(5), made(7)
    before = LSP()(student, teacher, data)
    with torch.no_grad():
        student.layers[0].mul_(2)
    after = LSP()(student, teacher, data)
    fresh = Pass(teacher.logits, teacher.layers)
    assert float(before.detach()) != float(after.detach())
    torch.testing.assert_close(after, LSP()(student, fresh, data))
    assert len(teacher._kept) == 1
    assert not next(iter(teacher._kept.values())).requires_grad


def similarity(kernel: str, a: Tensor, b: Tensor) -> Tensor:
    cosine = (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1))
    distance = (a - b).square().sum(-1)
    known = {"rbf": (-distance / 2).exp(), "l2": distance.sqrt(), "cosine": cosine}
    return known.get(kernel, cosine**2)


def test_gsp_compares_all_pairs(data: Observed) -> None:
    student, teacher = made(5), made(7)
    last = (student.layers[0], teacher.layers[0])
    s, t = (similarity("cosine", h[:, None], h[None]) for h in last)
    torch.testing.assert_close(GSP("cosine")(student, teacher, data), (s - t).square().mean())


def test_gcrd_is_its_formula(data: Observed) -> None:
    student, teacher = made(5), made(7)
    term = GCRD(7, 5, dim=6, temperature=0.5).double()
    s = F.normalize(term.student(student.layers[0]), dim=1)
    t = F.normalize(term.teacher(teacher.layers[0]), dim=1)
    exp = (s @ t.T / 0.5).exp()
    wanted = -(exp.diag() / exp.sum(1)).log().mean()
    torch.testing.assert_close(term(student, teacher, data), wanted)


def test_fitnet_and_attention_transfer_are_their_formulas(data: Observed) -> None:
    student, teacher = made(5), made(7)
    s, t = student.layers[0], teacher.layers[0]
    fitnet = FitNet(7, 5, dim=6).double().eval()
    a, b = fitnet.student(s), fitnet.teacher(t)
    a, b = (h / h.norm(dim=1, keepdim=True).clamp(min=1e-12) for h in (a, b))
    torch.testing.assert_close(fitnet(student, teacher, data), (a - b).square().mean())
    a, b = (h.square().sum(1) for h in (s, t))
    wanted = (a / a.norm() - b / b.norm()).square().mean()
    torch.testing.assert_close(AttentionTransfer()(student, teacher, data), wanted)


def test_stride_is_its_formula(data: Observed) -> None:
    student, teacher = made(5, 3), made(7, 6, 7)
    # layers of one width are mapped in one product, and come back in their order
    term = stride([7, 6, 7], [5, 3], dim=8, gamma=0.7, temperature=0.5, nodes=N).double()
    nodes, structure = term.dissimilarity.nodes, term.dissimilarity.structure
    distance = torch.zeros(3, 2, dtype=torch.float64)
    for i, t in enumerate(teacher.layers):
        for j, s in enumerate(student.layers):
            a = unit(nodes.subspace(t @ nodes.teacher.matrix(i)))
            b = unit(nodes.subspace(s @ nodes.student.matrix(j)))
            distance[i, j] = (a - b).square().sum(1).mean()
            a, b = unit(t @ structure.teacher.matrix(i)), unit(s @ structure.student.matrix(j))
            score = (b @ a.T / 0.5).log_softmax(1)
            distance[i, j] -= 0.7 * score.diag().mean()
    weight = term.attention(student, teacher)
    wanted = (weight * distance).sum() / 3
    torch.testing.assert_close(term(student, teacher, data), wanted)


def test_halves_of_stride(data: Observed) -> None:
    student, teacher = made(5), made(7)
    widths = ([7], [5])
    halves = (stride(*widths, structure=False), stride(*widths, embedding=False))
    for term in halves:
        assert float(term.double()(student, teacher, data).detach()) > 0
    with pytest.raises(ValueError, match="embedding, structure or both"):
        stride(*widths, embedding=False, structure=False)


def test_unexplained_variance_is_that_of_a_regression(data: Observed) -> None:
    student, teacher = made(3, 5), made(6, 4)
    term = unexplained([6, 4], [3, 5], ridge=1e-9)
    found = term.dissimilarity(student, teacher)
    for i, t in enumerate(teacher.layers):
        for j, s in enumerate(student.layers):
            s, t = s - s.mean(0), t - t.mean(0)
            residual = t - s @ torch.linalg.lstsq(s, t).solution
            wanted = residual.square().sum() / t.square().sum()
            torch.testing.assert_close(found[i, j], wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", [unexplained, cka])
def test_what_a_linear_map_may_change_costs_nothing(make: typing.Any, data: Observed) -> None:
    teacher = made(4)
    turned = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q
    student = Pass(teacher.logits, [3 * teacher.layers[0] @ turned + 1])
    assert float(make([4], [4])(student, teacher, data).abs().detach()) < 2e-3
    assert 0.1 < float(make([4], [4])(made(4), teacher, data).detach()) <= 1


@pytest.mark.parametrize("make", [unexplained, cka])
def test_dead_layers_have_finite_gradients(make: typing.Any, data: Observed) -> None:
    student, teacher = made(4), made(4)
    with torch.no_grad():
        student.layers[0].zero_()
    loss = make([4], [4])(student, teacher, data)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(1)
    assert student.layers[0].grad is not None
    assert bool(student.layers[0].grad.isfinite().all())


@pytest.mark.parametrize("shift", [-1, 0, 1])
def test_alignahead_is_its_formula_and_wraps_around(shift: int, data: Observed) -> None:
    own, peer = made(6, 6, 6), made(6, 6, 6)
    wanted = torch.zeros((), dtype=torch.float64)
    for layer in range(3):
        a, b = own.layers[layer], peer.layers[(layer + shift) % 3]
        for node in range(N):
            begin, end = data.graph.rowptr[node : node + 2].tolist()
            near = data.graph.col[begin:end].long()
            q, p = ((-(h[near] - h[node]).abs().sum(1) / 100).exp().softmax(0) for h in (a, b))
            wanted = wanted + (p * (p / q).log()).sum() / N
    loss = Alignahead(shift)(own, peer, data)
    torch.testing.assert_close(loss, wanted)
    loss.backward()
    assert all(layer.grad is not None for layer in own.layers)
    assert all(layer.grad is None for layer in peer.layers)


def test_alignahead_plus_adds_features(data: Observed) -> None:
    own, peer = made(6, 6), made(6, 6)
    wanted = sum(F.mse_loss(own.layers[i], peer.layers[1 - i]) for i in range(2))
    plain, plus = (Alignahead(1, features)(own, peer, data) for features in (0.0, 0.5))
    torch.testing.assert_close(plus - plain, 0.5 * wanted)
    with pytest.raises(TapError, match=r"\[6, 6\] and \[6\]"):
        Alignahead()(own, made(6), data)


def test_deep_supervision_reads_training_nodes_only(data: Observed) -> None:
    student = made(6, 5)
    DeepSupervision([6, 5], C).double()(student, None, data).backward()
    for layer in student.layers:
        assert layer.grad is not None
        assert bool((layer.grad[8:] == 0).all())
        assert bool((layer.grad[:8] != 0).any())


@pytest.mark.parametrize("kind", typing.get_args(AttentionKind))
def test_attention_of_every_kind(kind: AttentionKind) -> None:
    teacher, student = made(7, 6, 4, 3), made(5, 3)
    weight = attention(kind, [7, 6, 4, 3], [5, 3], 8).double()(student, teacher)
    assert weight.shape == (4, 2)
    across = torch.ones(2 if kind == "teacher-axis" else 4, dtype=torch.float64)
    if kind in ("learned", "detached", "diagonal", "teacher-axis"):
        torch.testing.assert_close(weight.sum(0 if kind == "teacher-axis" else 1), across)
    assert weight.requires_grad == (kind in ("learned", "teacher-axis"))
    if kind == "diagonal":
        assert weight.argmax(1).tolist() == [0, 0, 1, 1]
    if kind == "last":
        assert weight.flatten().tolist() == [0, 0, 0, 0, 0, 0, 0, 1]


def test_settings_make_every_term(data: Observed) -> None:
    adapter = TypeAdapter(TermSetting)
    student, teacher = made(5, 3), made(7, 6)
    for name in TERMS.split(", "):
        setting = adapter.validate_python({"term": name, "weight": 2.0})
        term = setting.make(teacher, student).double()
        assert float(term(student, teacher, data).detach()) > 0
    members = typing.get_args(typing.get_args(TermSetting)[0])
    assert {m.model_fields["term"].default for m in members} == set(TERMS.split(", "))


@pytest.mark.parametrize(
    "given",
    [
        {"term": "abdk"},
        {"term": "abkd", "weight": -1},
        {"term": "lsp", "dim": 3},
        {"term": "g-crd", "nodes": 1},
    ],
)
def test_wrong_settings_are_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(TermSetting).validate_python(given)
