"""The distiller in a loop of somebody's own: batches, stores, and errors that say what is wrong."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.nn import GCN, MLP

from graphstill.distill import (
    DataError,
    Distiller,
    LogitKD,
    Objective,
    Observed,
    Pass,
    Role,
    Supervised,
    TeacherStore,
    TrainingError,
    fingerprint,
    observe,
)
from graphstill.distill.distiller import observed
from graphstill.distill.methods import FitNet, abkd

ROOT = Path(__file__).resolve().parents[2]
N, F, C = 40, 6, 4


@pytest.fixture
def batch() -> Data:
    torch.manual_seed(0)
    edge_index = torch.randint(0, N, (2, 160))
    mask = torch.arange(N) < 12
    return Data(x=torch.randn(N, F), edge_index=edge_index, y=torch.arange(N) % C, train_mask=mask)


def objective() -> Objective:
    return Objective({"labels": (0.5, Supervised()), "logits": (0.5, LogitKD())})


def test_a_batch_gives_the_losses_of_its_formula(batch: Data) -> None:
    student, teacher = GCN(F, 5, 2, C), GCN(F, 9, 3, C)
    losses = Distiller(Role(student), objective(), Role(teacher))(batch)
    own, taught = student(batch.x, batch.edge_index), teacher.eval()(batch.x, batch.edge_index)
    labels = torch.nn.functional.cross_entropy(own[:12], batch.y[:12])
    p, q = taught.softmax(1), own.softmax(1)
    soft = (p * (p / q).log()).sum(1).mean()
    torch.testing.assert_close(losses["labels"], labels)
    torch.testing.assert_close(losses["logits"], soft)
    torch.testing.assert_close(losses["total"], (labels + soft) / 2)


def test_the_teacher_is_not_trained_and_not_saved(batch: Data) -> None:
    student, teacher = GCN(F, 5, 3, C), GCN(F, 9, 3, C, dropout=0.9)
    terms = {"pairs": (1.0, abkd([9, 9], [5, 5], 4)), "labels": (1.0, Supervised())}
    taps = ["act#0", "act#1"]
    distiller = Distiller(Role(student, taps), Objective(terms), Role(teacher, taps))
    mine = {id(p) for p in distiller.parameters()}
    assert mine >= {id(p) for p in student.parameters()}
    assert not mine & {id(p) for p in teacher.parameters()}
    assert not any("teacher." in n and "objective" not in n for n in distiller.state_dict())
    distiller.train()
    distiller(batch)["total"].backward()
    assert not teacher.training
    assert all(p.grad is None for p in teacher.parameters())
    assert all(p.grad is not None for p in distiller.parameters())


def test_teacher_and_student_may_be_fed_differently(batch: Data) -> None:
    student = MLP([F, 8, C])
    teacher = GCN(F, 9, 2, C)
    odd = Role(teacher, feed=lambda m, b: m(b.x.flip(0), b.edge_index).flip(0))
    losses = Distiller(Role(student), objective(), odd)(batch)
    losses["total"].backward()
    assert all(p.grad is not None for p in student.parameters())


def test_labels_of_other_nodes_are_hidden(batch: Data) -> None:
    seen: list[Observed] = []

    class Spy(Supervised):
        def forward(self, student: Pass, teacher: Pass | None, data: Observed) -> torch.Tensor:
            seen.append(data)
            return super().forward(student, teacher, data)

    student = GCN(F, 5, 2, C)
    Distiller(Role(student), Objective({"labels": (1.0, Spy())}))(batch)
    del batch.train_mask
    batch.batch_size = 3  # a neighbour loader's: the first nodes are the seeds
    Distiller(Role(student), Objective({"labels": (1.0, Spy())}))(batch)
    assert seen[0].train.tolist() == list(range(12))
    assert bool((seen[0].y[12:] == -1).all())
    assert seen[1].train.tolist() == [0, 1, 2]
    assert bool((seen[1].y[3:] == -1).all())


@pytest.mark.parametrize("taps", [["act#0", "act#1"], ["act#0", ""], []])
@pytest.mark.parametrize("precision", ["float16", "float32"])
def test_a_store_answers_as_the_teacher_does(
    batch: Data, tmp_path: Path, taps: list[str], precision: str
) -> None:
    teacher = GCN(F, 9, 3, C)
    answer = observe(Role(teacher, taps), batch)
    mark = fingerprint(teacher, batch.x, batch.edge_index)
    TeacherStore.write(tmp_path, answer, mark, taps, precision)  # type: ignore[arg-type]
    store = TeacherStore(tmp_path, mark)
    nodes = torch.tensor([7, 3, 3, 39, 0])
    found = store.look_up(nodes)
    rough = {"rtol": 2e-3, "atol": 2e-3} if precision == "float16" else {}
    torch.testing.assert_close(found.logits, answer.logits[nodes], **rough)
    for mine, theirs in zip(found.layers, answer.layers, strict=True):
        torch.testing.assert_close(mine, theirs[nodes], **rough)
    if taps:
        assert found.last_hidden.shape == (5, 9)
    assert store.num_nodes == N


def test_a_distiller_looks_up_by_global_id(batch: Data, tmp_path: Path) -> None:
    teacher, student = GCN(F, 9, 2, C), GCN(F, 5, 2, C)
    whole = observe(Role(teacher, ["act#0"]), batch)
    TeacherStore.write(tmp_path, whole, "mark", ["act#0"], "float32")
    terms = {"fit": (1.0, FitNet(9, 5, 4)), "logits": (1.0, LogitKD())}
    distiller = Distiller(Role(student, ["act#0"]), Objective(terms), TeacherStore(tmp_path))
    n_id = torch.tensor([9, 2, 30, 4])
    edge_index = torch.tensor([[0, 1, 3], [1, 2, 0]])
    part = Data(x=batch.x[n_id], edge_index=edge_index, y=batch.y[n_id], n_id=n_id, batch_size=2)
    losses = distiller(part)
    own = Pass(student(part.x, part.edge_index))
    seeds = Pass(whole.logits[n_id[:2]])
    wanted = LogitKD()(own.first(2), seeds, observed(part, C))
    torch.testing.assert_close(losses["logits"], wanted)
    in_memory = Distiller(Role(student, ["act#0"]), distiller.objective, whole)
    torch.testing.assert_close(in_memory(part), losses)
    del part.n_id
    with pytest.raises(DataError, match="no n_id"):
        distiller(part)


def test_a_store_of_another_teacher_is_refused(batch: Data, tmp_path: Path) -> None:
    teacher = GCN(F, 9, 2, C)
    mark = fingerprint(teacher, batch.x, batch.edge_index)
    TeacherStore.write(tmp_path, observe(Role(teacher), batch), mark, [])
    with torch.no_grad():
        next(teacher.parameters()).add_(1e-3)
    assert fingerprint(teacher, batch.x, batch.edge_index) != mark
    with pytest.raises(DataError, match="another teacher"):
        TeacherStore(tmp_path, fingerprint(teacher, batch.x, batch.edge_index))
    assert fingerprint(teacher, batch.x, batch.edge_index.flip(0)) != fingerprint(
        teacher, batch.x, batch.edge_index
    )


def test_damaged_stores_and_wrong_ids_are_refused(batch: Data, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no teacher store"):
        TeacherStore(tmp_path)
    logits = torch.randn(N, C)
    store = TeacherStore.write(tmp_path, Pass(logits), "mark", [])
    with pytest.raises(DataError, match=r"in \[0, 40\), got 2 to 40"):
        store.look_up(torch.tensor([2, 40]))
    with pytest.raises(DataError, match="beyond float16"):
        TeacherStore.write(tmp_path, Pass(1e6 * logits), "mark", [])
    with pytest.raises(DataError, match="holds no teacher store"):
        TeacherStore(tmp_path)  # half written: it is not to be found
    TeacherStore.write(tmp_path, Pass(logits), "mark", [])
    (tmp_path / "logits.npy").write_bytes(b"no array")
    with pytest.raises(DataError, match="damaged"):
        TeacherStore(tmp_path)


def test_wrong_batches_and_teachers_say_what_is_wrong(batch: Data) -> None:
    student, teacher = GCN(F, 5, 2, C), GCN(F, 9, 2, C)
    distiller = Distiller(Role(student), objective(), Role(teacher))
    wrong = batch.clone()
    wrong.y[3] = C
    with pytest.raises(DataError, match=r"labels must be in \[0, 4\), got 0 to 4"):
        distiller(wrong)
    del wrong.train_mask
    with pytest.raises(DataError, match="batch_size or train_mask"):
        distiller(wrong)
    part = Role(teacher, feed=lambda m, b: m(b.x, b.edge_index)[:5])
    with pytest.raises(TrainingError, match="answered for 5 nodes, the student for 40"):
        Distiller(Role(student), objective(), part)(batch)
    with torch.no_grad():
        next(teacher.parameters()).fill_(torch.nan)
    with pytest.raises(TrainingError, match="for node 0 is not finite"):
        distiller(batch)


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["own_loop", "lightning_loop", "accelerate_loop"])
def test_the_example_of_a_loop_learns(loop: str) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / f"{loop}.py"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    teacher, student = (float(part.split()[1]) for part in done.stdout.split(", "))
    assert teacher > 0.9
    assert student > 0.85


def test_losses_are_float32_whatever_the_student_computes_in(batch: Data) -> None:
    student, teacher = GCN(F, 64, 2, C), GCN(F, 9, 2, C)
    exact, rough = (
        Distiller(Role(student, ["act#0", ""]), objective(), Role(teacher), precision=precision)
        for precision in (torch.float32, torch.bfloat16)
    )
    answers = [distiller.answer(batch) for distiller in (exact, rough)]
    for answer in answers:
        assert answer.logits.dtype == torch.float32
        assert answer.layers[1] is answer.logits
        assert answer.last_hidden.shape == (N, 64)
    assert not torch.equal(answers[0].logits, answers[1].logits)
    torch.testing.assert_close(answers[0].logits, answers[1].logits, rtol=0.05, atol=0.05)
    torch.testing.assert_close(exact(batch)["total"], rough(batch)["total"], rtol=0.05, atol=0.05)
