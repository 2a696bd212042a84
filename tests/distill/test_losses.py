"""The losses against their formulas."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from graphstill.distill import LogitKD, Objective, Observed, Pass, Supervised, digits
from graphstill.distill.methods import abkd
from graphstill.distill.schedule import Schedule

N, C = 30, 4


@pytest.fixture
def data() -> Observed:
    full = digits().observed()
    y = torch.arange(N) % C
    return Observed(torch.randn(N, 3), full.graph, y, torch.arange(10), torch.arange(10, 20), C)


def layers(*widths: int) -> list[Tensor]:
    return [torch.randn(N, width, dtype=torch.float64, requires_grad=True) for width in widths]


def test_supervised_reads_training_nodes_only(data: Observed) -> None:
    logits = torch.randn(N, C, requires_grad=True)
    loss = Supervised()(Pass(logits), None, data)
    torch.testing.assert_close(loss, F.cross_entropy(logits[:10], data.y[:10]))
    loss.backward()
    assert logits.grad is not None
    assert bool((logits.grad[10:] == 0).all())


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_logit_kd_is_the_mean_divergence_of_rows(temperature: float, data: Observed) -> None:
    student, teacher = torch.randn(2, N, C, dtype=torch.float64)
    p, q = (teacher / temperature).softmax(-1), (student / temperature).softmax(-1)
    wanted = temperature**2 * (p * (p / q).log()).sum(-1).mean()
    got = LogitKD(temperature)(Pass(student), Pass(teacher), data)
    torch.testing.assert_close(got, wanted)
    assert LogitKD(temperature)(Pass(teacher), Pass(teacher), data).abs() < 1e-12


def test_abkd_is_its_formula(data: Observed) -> None:
    teacher, student = layers(5, 7, 9), layers(4, 6)
    term = abkd([5, 7, 9], [4, 6], dim=8).double()
    wanted = torch.zeros((), dtype=torch.float64)
    for i, t in enumerate(teacher):
        scores, distances = [], []
        for j, s in enumerate(student):
            query = t.mean(0) @ term.attention.teacher.matrix(i)
            key = s.mean(0) @ term.attention.student.matrix(j)
            scores.append(query @ key / 8**0.5)
            a = term.dissimilarity.subspace(t.mean(0) @ term.dissimilarity.teacher.matrix(i))
            b = term.dissimilarity.subspace(s.mean(0) @ term.dissimilarity.student.matrix(j))
            distances.append((a / a.norm() - b / b.norm()).square().sum())
        wanted = wanted + (torch.stack(scores).softmax(0) * torch.stack(distances)).sum()
    logits = torch.zeros(N, C)
    got = term(Pass(logits, student), Pass(logits, teacher), data)
    torch.testing.assert_close(got, wanted / len(teacher))


def test_abkd_attends_over_student_layers() -> None:
    term = abkd([5, 7, 9], [4, 6]).double()
    logits = torch.zeros(N, C)
    attention = term.attention(Pass(logits, layers(4, 6)), Pass(logits, layers(5, 7, 9)))
    assert attention.shape == (3, 2)
    torch.testing.assert_close(attention.sum(dim=1), torch.ones(3, dtype=torch.float64))


def test_abkd_trains_the_student_and_its_own_maps(data: Observed) -> None:
    teacher, student = [t.detach() for t in layers(5, 7)], layers(4)
    term = abkd([5, 7], [4]).double()
    term(Pass(torch.zeros(N, C), student), Pass(torch.zeros(N, C), teacher), data).backward()
    assert student[0].grad is not None
    assert float(student[0].grad.abs().sum()) > 0
    for name, parameter in term.named_parameters():
        assert parameter.grad is not None, name


def test_abkd_of_a_layer_with_itself_is_zero_where_maps_agree() -> None:
    (layer,) = layers(6)
    term = abkd([6], [6]).double()
    distance = term.dissimilarity
    distance.student.load_state_dict(distance.teacher.state_dict())
    same = Pass(torch.zeros(N, C), [layer])
    torch.testing.assert_close(distance(same, same), torch.zeros(1, 1, dtype=torch.float64))


def test_an_objective_weighs_and_names(data: Observed) -> None:
    student, teacher = Pass(torch.randn(N, C)), Pass(torch.randn(N, C))
    objective = Objective(
        {"labels": (0.25, Supervised()), "soft": (0.5, LogitKD()), "off": (0.0, Supervised())}
    )
    losses = objective(student, teacher, data)
    assert set(losses) == {"labels", "soft", "total"}
    torch.testing.assert_close(losses["total"], 0.25 * losses["labels"] + 0.5 * losses["soft"])


def test_what_needs_a_teacher_says_so(data: Observed) -> None:
    for term in (LogitKD(), abkd([3], [3])):
        with pytest.raises(ValueError, match="needs a teacher"):
            term(Pass(torch.zeros(N, C), layers(3)), None, data)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="temperature"):
        LogitKD(0.0)
    with pytest.raises(ValueError, match="at least one term"):
        Objective({"off": (0.0, Supervised())})
    with pytest.raises(ValueError, match="at least one layer"):
        abkd([], [3])


def test_a_cap_holds_a_terms_gradient_down(data: Observed) -> None:
    weight = torch.randn(3, C, dtype=torch.float64, requires_grad=True)
    student = Pass(data.x.double() @ weight)
    teacher = Pass(5 * torch.randn(N, C, dtype=torch.float64))
    terms = {"labels": (1.0, Supervised()), "soft": (100.0, LogitKD())}

    def gradient(objective: Objective) -> Tensor:
        losses = objective(student, teacher, data, [weight])
        return torch.autograd.grad(losses["total"], weight, retain_graph=True)[0]

    labels = gradient(Objective({"labels": terms["labels"]}))
    soft = gradient(Objective({"soft": terms["soft"]}))
    assert soft.norm() > labels.norm()
    wanted = labels + soft * 0.3 * labels.norm() / soft.norm()
    torch.testing.assert_close(gradient(Objective(terms, {"soft": 0.3})), wanted)
    torch.testing.assert_close(gradient(Objective(terms, {"soft": 1e9})), labels + soft)


def test_a_cap_must_have_something_to_be_measured_by(data: Observed) -> None:
    with pytest.raises(ValueError, match="no cap"):
        Objective({"soft": (1.0, LogitKD())}, {"soft": 0.3})
    objective = Objective({"y": (1.0, Supervised()), "soft": (1.0, LogitKD())}, {"soft": 0.3})
    with pytest.raises(ValueError, match="trained parameters"):
        objective(Pass(torch.randn(N, C)), Pass(torch.randn(N, C)), data)


def test_soft_labels_of_training_nodes_alone(data: Observed) -> None:
    student, teacher = torch.randn(N, C, requires_grad=True), torch.randn(N, C)
    LogitKD(rows="train")(Pass(student), Pass(teacher), data).backward()
    assert student.grad is not None
    assert bool((student.grad[:10] != 0).any())
    assert bool((student.grad[10:] == 0).all())


def test_a_schedule_is_straight_between_its_points() -> None:
    schedule = Schedule(((2, 1.0), (4, 3.0), (5, 0.0)))
    assert [schedule.at(epoch) for epoch in range(8)] == [1, 1, 1, 2, 3, 0, 0, 0]
    for points in ((), ((3, 1.0), (3, 2.0)), ((4, 1.0), (2, 1.0)), ((-1, 1.0),)):
        with pytest.raises(ValueError, match="rising epochs"):
            Schedule(points)


def test_weights_and_temperatures_follow_the_epoch(data: Observed) -> None:
    student, teacher = Pass(torch.randn(N, C)), Pass(torch.randn(N, C))
    cooling = LogitKD(Schedule(((0, 4.0), (10, 1.0))))
    rising = Objective({"soft": (Schedule(((0, 0.0), (10, 1.0))), cooling)})
    for epoch, weight, temperature in ((0, 0.0, 4.0), (5, 0.5, 2.5), (20, 1.0, 1.0)):
        rising.begin(epoch)
        losses = rising(student, teacher, data)
        wanted = LogitKD(temperature)(student, teacher, data)
        torch.testing.assert_close(losses["soft"], wanted)
        torch.testing.assert_close(losses["total"], weight * wanted)
