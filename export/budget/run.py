"""find_student: search, compare the front side by side, choose, and only then read the test nodes.

The folder holds

    budget.json    the result: settings, every candidate, the comparison with raw samples
    table.md       the front as a table
    report.html    the same to look at
    student/       run directory of the chosen student, and bundle/, its export
    front/         a bundle of every student that was compared, and of the teacher
    candidates/    what was found out of each candidate
    search.json    what must not change when a search goes on; search.log is Optuna's journal
"""

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...distill import NodeData, Run, distill, fingerprint
from ...distill.checkpoint import write_in_one_step
from ...serve import Session
from ..harness import measure
from ..intervals import ratio_interval
from ..parity import ParityReport, check_parity
from ..rebuilding import rebuild
from ..report import Report, Settings
from ..runs import export_run
from .errors import BudgetError
from .front import Facts, best, front, nearest
from .search import search
from .settings import BudgetSettings
from .workbench import Workbench, bundle_row

TEACHER, CANDIDATES = "teacher", "candidates"
_SLACK = 1.25  # latencies of the search were not taken side by side
_MOST_COMPARED = 12


@dataclass(frozen=True, eq=False)
class Found:
    """What a search found.

    Attributes:
        settings: The search.
        teacher: Whom all learned from.
        data: On what.
        candidates: What is known of every candidate that was looked at.
        front: The front by the comparison, the fastest first.
        chosen: The best within the limits, None where none is.
        nearest: Where none is, the candidate that came nearest.
        report: The comparison; None where nothing could be trained.
        student: The chosen student.
        parity: The proof of its export.
    """

    settings: BudgetSettings
    teacher: Run
    data: NodeData
    candidates: list[Facts]
    front: list[Facts] = field(default_factory=list)
    chosen: Facts | None = None
    nearest: Facts | None = None
    report: Report | None = None
    student: Run | None = None
    parity: ParityReport | None = None


class Watcher:
    """Told how a search goes. Does nothing; override what you want to see."""

    def examined(self, facts: Facts, trained: int) -> None:
        """A candidate was looked at, and so many are trained by now."""

    def comparing(self, processes: int) -> None:
        """The comparison begins; it takes so many processes."""

    def measuring(self, label: str) -> None:
        """One of them begins."""

    def chosen(self, facts: Facts) -> None:
        """A student was chosen; its test nodes are read and its export is proved."""


def find_student(
    teacher: Run,
    data: NodeData,
    settings: BudgetSettings,
    folder: Path,
    *,
    watcher: Watcher | None = None,
    progress: bool = True,
) -> Found:
    """Find the most accurate student within limits, and the front around it.

    Students are compared by validation alone. Test labels are read once, for the chosen one.

    Args:
        teacher: A trained network, on the same data and split.
        data: The data; latency is that of one call for its whole graph.
        settings: The search.
        folder: Where everything goes. A search that was stopped goes on there, and one with other
            limits, another space or more trials uses again what was trained before.
        watcher: Told how it goes.
        progress: Whether to show a progress bar of each training on a terminal.

    Raises:
        BudgetError: If the folder holds a search with another teacher, other data or training.
        DataError: If the teacher was trained on other data or another split.
    """
    measuring = settings.measuring
    harness = Settings(
        measuring.threads, measuring.rounds, measuring.min_samples, measuring.min_seconds
    )
    watcher = watcher or Watcher()
    _claim(folder / "search.json", teacher, data, settings)
    bench = Workbench(teacher, data, settings, folder / CANDIDATES, progress=progress)
    known = search(bench, settings, folder / "search.log", watcher.examined)
    found = Found(settings, teacher, data, known)
    trained = [facts for facts in known if facts.val_accuracy is not None]
    if not trained:
        return replace(found, nearest=nearest(known, settings.limits))
    finalists = _finalists(trained)
    watcher.comparing((len(finalists) + 1) * (harness.rounds + 1))
    report = _compare(bench, finalists, folder / "front", harness, watcher)
    compared = {facts.candidate: _compared(facts, report) for facts in finalists}
    found = replace(
        found,
        candidates=[compared.get(facts.candidate, facts) for facts in known],
        front=front(list(compared.values())),
        report=report,
    )
    chosen = best(compared.values(), settings.limits)
    if chosen is None:
        return replace(found, nearest=nearest(found.candidates, settings.limits))
    watcher.chosen(chosen)
    student = _finish(bench, chosen, folder)
    bundle = export_run(student, folder / "bundle")
    parity = check_parity(rebuild(bundle), bundle)
    return replace(found, chosen=chosen, student=student, parity=parity)


def _claim(path: Path, teacher: Run, data: NodeData, settings: BudgetSettings) -> None:
    """Write what must not change, or make sure that it did not."""
    measuring = settings.measuring
    claimed = {
        "data": data.name,
        "split": data.split_name,
        "teacher": fingerprint(teacher.module, data.x, data.edge_index),
        "train": settings.train.model_dump(),
        "distill": settings.method.model_dump(mode="json"),
        "arguments": settings.space.arguments,
        "threads": measuring.threads,
        "prepared": measuring.prepared,
    }
    text = json.dumps(claimed, indent=2, sort_keys=True) + "\n"
    if path.is_file():
        before, now = json.loads(path.read_text()), json.loads(text)
        changed = [name for name in now if before.get(name) != now[name]]
        if changed:
            raise BudgetError(
                f"{path.parent} holds a search with another {', '.join(changed)} (see {path}); "
                "choose another folder, or remove this one. Limits, trials, kinds, depths and "
                "widths may change"
            )
    write_in_one_step(path, text.encode())


def _finalists(trained: Sequence[Facts]) -> list[Facts]:
    """Return the front, and what may belong to it once latencies are taken side by side."""
    sure, maybe = front(trained), front(trained, _SLACK)
    others = sorted((f for f in maybe if f not in sure), key=lambda f: -(f.val_accuracy or 0))
    return sorted([*sure, *others[: max(0, _MOST_COMPARED - len(sure))]], key=lambda f: f.cost)


def _compare(
    bench: Workbench,
    finalists: Iterable[Facts],
    folder: Path,
    harness: Settings,
    watcher: Watcher,
) -> Report:
    bundles = {TEACHER: export_run(bench.teacher, folder / TEACHER)}
    for facts in finalists:
        candidate = facts.candidate
        bundles[str(candidate)] = bench.export(candidate, folder / candidate.folder)
    rows = [bundle_row(name, b, bench.settings.measuring) for name, b in bundles.items()]
    size = bundles[TEACHER].size_bytes
    native = Session(bundles[TEACHER]).native_operators
    facts = {"data": bench.data.name, "native_operators": native, "teacher_bytes": size}
    return measure(rows, bench.inputs, harness, facts=facts, on_step=watcher.measuring)


def _compared(facts: Facts, report: Report) -> Facts:
    row = report.row(str(facts.candidate))
    _, low, high = ratio_interval(row.medians, [1.0] * len(row.medians))
    return replace(facts, latency_seconds=row.latency_seconds, latency_interval=(low, high))


def _finish(bench: Workbench, chosen: Facts, folder: Path) -> Run:
    """Put the chosen run where it stays and read the test nodes."""
    place, partial = folder / "student", folder / "student.partial"
    for old in (partial, place):
        shutil.rmtree(old, ignore_errors=True)
    shutil.copytree(bench.run_directory(chosen.candidate), partial)
    partial.replace(place)
    return distill(
        bench.teacher,
        bench.architecture(chosen.candidate),
        bench.data,
        bench.settings.train,
        bench.settings.method,
        directory=place,
        progress=False,
    )
