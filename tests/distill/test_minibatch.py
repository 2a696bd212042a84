"""Training on sampled parts: what it learns from, exact resume, kills, and several processes."""

import contextlib
import json
import multiprocessing
import random
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from graphstill.distill import (
    Architecture,
    BatchSettings,
    DataError,
    Distiller,
    DistillSettings,
    LogitKD,
    NodeData,
    Objective,
    Observed,
    Pass,
    Role,
    Run,
    Supervised,
    TeacherStore,
    Term,
    TrainingError,
    TrainSettings,
    build,
    digits,
    distill,
    load_run,
    observe,
    train,
    training,
)
from graphstill.distill.batches import SampledFeed
from graphstill.distill.inference import answers
from graphstill.distill.methods import LSP
from graphstill.distill.methods.settings import ABKDSetting, LSPSetting, STRIDESetting

GCN = Architecture(
    name="GCN",
    in_channels=64,
    hidden_channels=16,
    num_layers=2,
    out_channels=10,
    arguments={"dropout": 0.3},
)
SETTINGS = TrainSettings(epochs=4, lr=0.02, checkpoint_every=2, input_dropout=0.1, seed=3)
BATCHES = BatchSettings(batch_size=400, num_neighbors=(4, 3), checkpoint_steps=2)
METHOD = DistillSettings(
    terms=(ABKDSetting(weight=0.1), STRIDESetting(weight=0.1, nodes=32), LSPSetting(weight=0.1))
)


@pytest.fixture(scope="module")
def data() -> NodeData:
    return digits()


@pytest.fixture(scope="module")
def teacher_folder(data: NodeData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    batches = BatchSettings(batch_size=64, num_neighbors=(8, 8))
    settings = SETTINGS.model_copy(update={"epochs": 12})
    train(GCN, data, settings, batches=batches, directory=folder, progress=False)
    return folder


@pytest.fixture(scope="module")
def teacher(teacher_folder: Path) -> Run:
    return load_run(teacher_folder)


def bits(folder: Path) -> list[bytes | str]:
    """Everything a finished run wrote but its store."""
    names = ("weights.safetensors", "objective.safetensors")
    texts = ("metrics.jsonl", "summary.json", "settings.json")
    assert not list(folder.glob("*.partial"))
    assert not (folder / "checkpoint.safetensors").exists()
    return [
        *((folder / name).read_bytes() for name in names),
        *((folder / name).read_text() for name in texts),
    ]


def student(teacher: Run, data: NodeData, folder: Path | None = None, **changes: object) -> Run:
    batches = BATCHES.model_copy(update=changes)
    return distill(
        teacher, GCN, data, SETTINGS, METHOD, batches=batches, directory=folder, progress=False
    )


@pytest.fixture(scope="module")
def whole(data: NodeData, teacher: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student's run that nobody interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    student(teacher, data, folder)
    return folder


class Stop(Exception):
    pass


def test_batches_train_a_teacher_that_is_right(teacher: Run) -> None:
    assert teacher.accuracy["test"] > 0.9


@pytest.mark.parametrize("steps", [1, 5, 8, 14])
def test_an_interrupted_run_ends_with_the_same_bits(
    data: NodeData,
    teacher: Run,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    steps: int,
) -> None:
    original, done = training._step, []

    def step(*arguments: object) -> object:
        if len(done) == steps:
            raise Stop
        done.append(1)
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(training, "_step", step)
        with pytest.raises(Stop):
            student(teacher, data, tmp_path)
    torch.rand(7)  # the generator is somewhere else by now
    student(teacher, data, tmp_path)
    assert bits(tmp_path) == bits(whole)


# what a fresh process does, told by settings alone
RUN = """
import torch
from pathlib import Path
from graphstill.distill import *

torch.set_num_threads(1)
torch.manual_seed(0)
if world > 1:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{meet}", rank=rank, world_size=world
    )
run = distill(
    load_run(Path(teacher)),
    Architecture(**architecture),
    digits(),
    TrainSettings(**settings),
    DistillSettings(**method),
    batches=BatchSettings(**batches),
    directory=Path(folder),
    progress=False,
)
if world > 1:
    torch.save(run.module.state_dict(), f"{folder}/rank{rank}.pt")
    torch.distributed.destroy_process_group()
"""


def start(teacher: Path, folder: Path, **changes: object) -> multiprocessing.process.BaseProcess:
    """Start a run in a process of its own, which has imported everything already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["graphstill.distill", "sklearn.datasets"])
    told = {
        "rank": 0,
        "world": 1,
        "teacher": str(teacher),
        "folder": str(folder),
        "meet": f"{folder}.meet",
        "architecture": GCN.model_dump(),
        "settings": SETTINGS.model_dump(),
        "method": METHOD.model_dump(),
        "batches": BATCHES.model_dump(),
    }
    process = context.Process(target=exec, args=(RUN, {**told, **changes}))
    process.start()
    return process


def test_a_run_killed_again_and_again_ends_with_the_same_bits(
    teacher_folder: Path, tmp_path: Path
) -> None:
    every_step = BATCHES.model_copy(update={"checkpoint_steps": 1}).model_dump()
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    start(teacher_folder, whole, batches=every_step).join()
    chance, kills = random.Random(0), 0
    while not (killed / "summary.json").exists():
        process = start(teacher_folder, killed, batches=every_step)
        after(chance.randint(0, 6), killed / "checkpoint.safetensors", process)
        process.join(chance.uniform(0, 0.05))
        if process.is_alive():
            process.kill()  # SIGKILL
            kills += 1
        process.join()
        assert process.exitcode in (0, -9)
    assert kills > 2
    assert bits(whole) == bits(killed)


def after(changes: int, file: Path, process: multiprocessing.process.BaseProcess) -> None:
    """Wait until a file was replaced so many times, or the process ended."""
    seen = {file.stat().st_mtime_ns} if file.exists() else set()
    known = len(seen)
    while len(seen) - known < changes and process.is_alive():
        with contextlib.suppress(FileNotFoundError):
            seen.add(file.stat().st_mtime_ns)
        time.sleep(0.001)


def test_two_processes_with_half_the_batch_are_one_with_all_of_it(
    teacher_folder: Path, tmp_path: Path
) -> None:
    plain = GCN.model_copy(update={"arguments": {}}).model_dump()
    changes = {
        "architecture": plain,
        "settings": SETTINGS.model_copy(update={"input_dropout": 0.0, "epochs": 2}).model_dump(),
        "batches": {"batch_size": 701, "num_neighbors": (-1, -1), "checkpoint_steps": 2},
        "method": DistillSettings(alpha=0.7, terms=()).model_dump(),
    }
    start(teacher_folder, tmp_path / "one", **changes).join()
    ranks = [
        start(teacher_folder, tmp_path / "two", rank=rank, world=2, **changes) for rank in (0, 1)
    ]
    for process in ranks:
        process.join()
        assert process.exitcode == 0
    ends = [torch.load(tmp_path / "two" / f"rank{rank}.pt") for rank in (0, 1)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    one, two = (
        safetensors.torch.load_file(tmp_path / name / "weights.safetensors")
        for name in ("one", "two")
    )
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)
    lines = [
        (tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("one", "two")
    ]
    for a, b in zip(*(map(json.loads, some) for some in lines), strict=True):
        assert a == pytest.approx(b, rel=1e-4)


def test_processes_agree_where_parameters_take_no_part(
    teacher_folder: Path, tmp_path: Path
) -> None:
    terms = (ABKDSetting(attention="detached"), STRIDESetting(weight=0.1, nodes=32))
    changes = {
        "settings": SETTINGS.model_copy(update={"epochs": 1}).model_dump(),
        "method": DistillSettings(terms=terms).model_dump(),
    }
    ranks = [start(teacher_folder, tmp_path, rank=rank, world=2, **changes) for rank in (0, 1)]
    for process in ranks:
        process.join()
        assert process.exitcode == 0
    ends = [torch.load(tmp_path / f"rank{rank}.pt") for rank in (0, 1)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_batches_change_neither_evaluation_nor_stored_answers(
    data: NodeData, teacher: Run, whole: Path, tmp_path: Path
) -> None:
    parts = student(teacher, data, tmp_path, eval_batch_size=500)
    assert parts.accuracy == load_run(whole).accuracy
    for name in ("logits", "layer0"):
        stored = (np.load(run / "teacher" / f"{name}.npy") for run in (whole, tmp_path))
        np.testing.assert_allclose(*stored, rtol=1e-4, atol=1e-5)
    lines = (run / "metrics.jsonl" for run in (whole, tmp_path))
    for a, b in zip(*(path.read_text().splitlines() for path in lines), strict=True):
        assert json.loads(a) == pytest.approx(json.loads(b), rel=1e-3)


def test_answers_in_batches_are_those_of_the_whole_graph(data: NodeData, teacher: Run) -> None:
    seen, role = data.observed(), Role(teacher.module, ["act#0", ""])
    whole = observe(role, seen)
    nodes = torch.randperm(data.num_nodes)[:700]
    found = list(answers(role, seen, nodes, 2, 300))
    assert torch.equal(torch.cat([some for some, _ in found]), nodes)
    assert found[0][1].layers[1] is found[0][1].logits
    layers = [torch.cat(parts) for parts in zip(*(part.layers for _, part in found), strict=True)]
    for mine, theirs in zip(layers, whole.layers, strict=True):
        torch.testing.assert_close(mine, theirs[nodes])


def test_a_live_teacher_with_all_neighbours_says_what_a_stored_one_does(
    data: NodeData, teacher: Run
) -> None:
    settings = SETTINGS.model_copy(update={"epochs": 1, "input_dropout": 0.0})
    plain = GCN.model_copy(update={"arguments": {}})
    runs = [
        distill(
            teacher,
            plain,
            data,
            settings,
            DistillSettings(terms=(ABKDSetting(weight=0.1),)),
            batches=BatchSettings(batch_size=600, num_neighbors=(-1, -1), teacher=kind),
            progress=False,
        )
        for kind in ("stored", "live")
    ]
    states = [run.module.state_dict() for run in runs]
    torch.testing.assert_close(*states, rtol=1e-4, atol=1e-5)


def feed(data: Observed, **changes: object) -> SampledFeed:
    settings = BatchSettings(batch_size=300, num_neighbors=(-1, -1), **changes)
    return SampledFeed(data, torch.arange(data.graph.num_nodes), settings, seed=1)


def test_a_batch_shows_no_label_that_training_may_not_see(data: NodeData) -> None:
    seen = data.observed()
    parts = feed(seen)
    hidden = data.split.test
    for step in range(parts.steps):
        batch = parts.batch(0, step)
        assert torch.isin(batch.n_id[batch.train], data.split.train).all()
        assert bool((batch.y[torch.isin(batch.n_id, hidden)] == -1).all())
        assert bool((batch.train < batch.num_seeds).all())


def test_losses_of_an_epoch_add_up_to_the_whole_graphs(data: NodeData) -> None:
    """Nodes count once each, as do edges, whatever batch they fall into."""
    seen, module = data.observed(), build(GCN).eval()
    layers = Role(module, ["act#0"])
    taught = Pass(torch.randn(data.num_nodes, 10), [torch.randn(data.num_nodes, 16)])
    terms = {"labels": Supervised(), "logits": LogitKD(), "few": LogitKD(rows="train")}
    own = observe(layers, seen)
    whole = {name: float(term(own, taught, seen)) for name, term in terms.items()}
    structure = LSP()(own, taught, seen) * seen.graph.num_edges
    parts, found, edges = feed(seen), dict.fromkeys(terms, 0.0), 0.0
    for step in range(parts.steps):
        batch = parts.batch(0, step)
        objective = Objective({name: (1.0, term) for name, term in terms.items()})
        losses = Distiller(layers, objective, taught).eval()(batch)
        assert batch.num_seeds is not None
        share = batch.num_seeds / data.num_nodes
        counts = {"labels": share, "logits": share, "few": len(batch.train) / len(seen.train)}
        found = {name: found[name] + counts[name] * losses[name].item() for name in terms}
        local = Distiller(layers, Objective({"s": (1.0, LSP())}), taught).eval()(batch)["s"]
        edges += local.item() * int(batch.graph.rowptr[batch.num_seeds])
    assert found == pytest.approx(whole, rel=1e-4)
    assert edges == pytest.approx(float(structure), rel=1e-4)


def test_a_batch_without_training_nodes_has_no_labels_loss(data: NodeData) -> None:
    seen = data.observed()
    few = seen.training_on(seen.train[:1])
    parts, module = feed(few), build(GCN)
    losses = [
        Distiller(Role(module), Objective({"labels": (1.0, Supervised())}))(parts.batch(0, step))
        for step in range(parts.steps)
    ]
    assert sorted(loss["labels"].item() > 0 for loss in losses) == [False] * 5 + [True]
    losses[0]["total"].backward()


def test_other_terms_see_seeds_alone(data: NodeData) -> None:
    shapes = []

    class Spy(Term):
        def forward(self, student: Pass, teacher: Pass | None, data: Observed) -> torch.Tensor:
            assert data.num_seeds is None
            assert data.graph.num_nodes == len(data.y) == len(data.x) == len(data.n_id)
            shapes.append((len(student.logits), len(data.y)))
            return student.logits.sum()

    batch = feed(data.observed()).batch(0, 0)
    Distiller(Role(build(GCN)), Objective({"spy": (1.0, Spy())}))(batch)
    assert shapes == [(batch.num_seeds, batch.num_seeds)]


def test_what_does_not_fit_is_named_and_nothing_is_lost(
    data: NodeData, teacher: Run, whole: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="num_neighbors has 1 numbers, GCN has 2 layers"):
        student(teacher, data, tmp_path / "a", num_neighbors=(5,))
    with pytest.raises(ValueError, match="or -1 for all"):
        BatchSettings(num_neighbors=(0,))
    assert not (tmp_path / "a").exists()
    shutil.copytree(whole, tmp_path / "a")
    kept = bits(tmp_path / "a")
    with pytest.raises(TrainingError, match=r"batches\.batch_size is 400 there, 200 here"):
        student(teacher, data, tmp_path / "a", batch_size=200)
    other = train(GCN, data, SETTINGS, progress=False)
    with pytest.raises(DataError, match="answers of another teacher"):
        student(other, data, tmp_path / "a")
    with pytest.raises(DataError, match=r"holds the layers \['act#0', ''\], \[\] are asked for"):
        distill(
            teacher,
            GCN,
            data,
            SETTINGS,
            DistillSettings(terms=()),
            batches=BATCHES,
            store=tmp_path / "a" / "teacher",
            progress=False,
        )
    assert bits(tmp_path / "a") == kept
    control = METHOD.model_copy(update={"control": "shuffled"})
    live = BATCHES.model_copy(update={"teacher": "live"})
    with pytest.raises(ValueError, match="cannot be asked live"):
        distill(teacher, GCN, data, SETTINGS, control, batches=live, progress=False)


def test_a_store_in_parts_must_hold_every_node(tmp_path: Path) -> None:
    half = [(torch.arange(5), Pass(torch.randn(5, 3)))]
    with pytest.raises(DataError, match="answers for 5 nodes came, the graph has 10"):
        TeacherStore.write_parts(tmp_path, half, 10, "mark", [])
    assert not TeacherStore.is_at(tmp_path)
    bad = [(torch.arange(10), Pass(torch.full((10, 3), torch.nan)))]
    with pytest.raises(DataError, match=r"NaN, or numbers beyond float32$"):
        TeacherStore.write_parts(tmp_path, bad, 10, "mark", [], "float32")


def test_students_share_a_store_and_an_mlp_needs_no_neighbours(
    data: NodeData, teacher: Run, tmp_path: Path
) -> None:
    settings = SETTINGS.model_copy(update={"epochs": 8, "lr": 0.05})
    mlp = GCN.model_copy(update={"name": "MLP", "hidden_channels": 32})
    store = tmp_path / "store"
    for name in ("one", "two"):
        run = distill(
            teacher,
            mlp if name == "one" else GCN,
            data,
            settings,
            DistillSettings(terms=()),
            batches=BATCHES,
            store=store,
            directory=tmp_path / name,
            progress=False,
        )
        assert run.accuracy["test"] > 0.7
        assert not (tmp_path / name / "teacher").exists()
    assert TeacherStore.is_at(store)


def test_several_processes_need_batches(data: NodeData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.Workers, "here", lambda: training.Workers(0, 2))
    with pytest.raises(TrainingError, match="2 processes have nothing to share"):
        train(GCN, data, SETTINGS, progress=False)


@pytest.mark.parametrize("eval_batch_size", [None, 500])
def test_answers_on_the_graph_without_unseen_nodes_are_found(
    eval_batch_size: int | None, tmp_path: Path
) -> None:
    data, method = digits().with_unseen(0.2, seed=1), DistillSettings(alpha=1.0, terms=())
    taught = train(GCN, data, SETTINGS, progress=False)
    plain, once = GCN.model_copy(update={"arguments": {}}), TrainSettings(epochs=1)
    # one step with all neighbours is the whole graph
    batches = BatchSettings(
        batch_size=5000, num_neighbors=(-1, -1), eval_batch_size=eval_batch_size
    )
    losses = []
    for name, given in (("whole", None), ("batch", batches)):
        folder = tmp_path / name
        distill(taught, plain, data, once, method, batches=given, directory=folder, progress=False)
        losses.append(json.loads((folder / "metrics.jsonl").read_text())["kd"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
