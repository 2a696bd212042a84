"""Training on sampled parts: what it learns from, exact resume, kills, and several processes."""

import contextlib
import json
import multiprocessing
import random
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch

from graphstill.distill import (
    Architecture,
    BatchSettings,
    DistillSettings,
    NodeData,
    Run,
    TrainSettings,
    digits,
    distill,
    load_run,
    train,
    training,
)
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


class Stop(Exception):
    pass


def test_batches_train_a_teacher_that_is_right(teacher: Run) -> None:
    assert teacher.accuracy["test"] > 0.9


@pytest.mark.parametrize("steps", [1, 5, 8, 14])
def test_an_interrupted_run_ends_with_the_same_bits(
    data: NodeData, teacher: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    whole = student(teacher, data, tmp_path / "whole")
    original, done = training._step, []

    def step(*arguments: object) -> object:
        if len(done) == steps:
            raise Stop
        done.append(1)
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(training, "_step", step)
        with pytest.raises(Stop):
            student(teacher, data, tmp_path / "cut")
    torch.rand(7)  # the generator is somewhere else by now
    resumed = student(teacher, data, tmp_path / "cut")
    assert bits(tmp_path / "whole") == bits(tmp_path / "cut")
    assert whole.accuracy == resumed.accuracy


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
