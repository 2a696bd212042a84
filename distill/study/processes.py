"""Tasks over several processes, each with one thread, stage after stage."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch


@dataclass(frozen=True)
class Progress:
    """How far a stage is: its name, tasks done and tasks in all, and what was last finished."""

    stage: str
    done: int
    total: int
    last: str


@dataclass(frozen=True)
class Task:
    """A function for another process, its arguments, what to call it, and who takes its result."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    keep: Callable[[Any], None] = lambda result: None


class Processes:
    """Processes that stay for all stages: each has torch and the data in memory by the second.

    Args:
        jobs: How many.
        on_progress: Called at the start of a stage and whenever a task is finished.
    """

    def __init__(self, jobs: int, on_progress: Callable[[Progress], None]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(jobs, context, _prepare_worker)
        self._on_progress = on_progress

    def __enter__(self) -> "Processes":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=error is None, cancel_futures=True)

    def run(self, stage: str, tasks: Sequence[Task]) -> None:
        """Run the tasks of a stage; what is finished is kept at once, whatever fails later."""
        self._on_progress(Progress(stage, 0, len(tasks), ""))
        pending: dict[Future[Any], Task] = {
            self._pool.submit(task.function, *task.arguments): task for task in tasks
        }
        while pending:
            finished, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in finished:
                task = pending.pop(future)
                task.keep(future.result())
                done = len(tasks) - len(pending)
                self._on_progress(Progress(stage, done, len(tasks), task.name))


def _prepare_worker() -> None:
    """Use one thread, and end with the parent: two processes must never write to one run."""
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
