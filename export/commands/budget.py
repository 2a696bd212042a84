"""distill --budget: the options of the search, what it shows, and what it prints at the end."""

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import err, out, print_table, steps

if TYPE_CHECKING:
    from ...distill import DistillSettings, NodeData, Run, TrainSettings
    from ..budget import Found

_PANEL = "Budget: search the student instead of naming it"
_BY_SEARCH = ("model", "hidden_channels", "num_layers")


def _option(help: str, *names: str) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=_PANEL)


Budget = Annotated[
    bool,
    _option("Search kind, depth and width. Without a limit: what can be had at all.", "--budget"),
]
MaxParameters = Annotated[int | None, _option("Most parameters; counted before training.")]
MaxLatency = Annotated[
    float | None,
    _option("Longest call for the whole graph, exported: its 95 % interval must lie below."),
]
MaxBytes = Annotated[int | None, _option("Largest model.onnx in bytes; known before training.")]
Trials = Annotated[int, _option("Students to train; give more later and the search goes on.")]
Kinds = Annotated[str, _option("Networks to try: any of GCN, GraphSAGE, GAT, GCNII, MLP.")]
Depths = Annotated[str, _option("Numbers of layers to try.")]
Widths = Annotated[str, _option("Widths of the hidden layers to try.")]
LatencyThreads = Annotated[int, _option("Threads of a call, as in the app that will serve it.")]
Rounds = Annotated[int, _option("Rounds of the last comparison; more make intervals narrower.")]
Prepared = Annotated[
    bool, _option("Sort the graph before the calls, as an app with one graph does.", "--prepared")
]


def check_use(context: typer.Context, budget: bool) -> None:
    """Refuse options that contradict --budget, or need it.

    Raises:
        ValueError: Says which.
    """
    given = [
        parameter
        for parameter in context.command.params
        if _is_given(context, parameter.name or "")
    ]
    if budget:
        wrong = [p.opts[0] for p in given if p.name in _BY_SEARCH]
        if wrong:
            raise ValueError(
                f"--budget searches what {', '.join(wrong)} would say; use --kinds, --widths and "
                "--depths to bound the search"
            )
        return
    wrong = [p.opts[0] for p in given if getattr(p, "rich_help_panel", None) == _PANEL]
    if wrong:
        raise ValueError(f"{', '.join(wrong)} needs --budget")


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def search_student(
    teacher: "Run",
    data: "NodeData",
    train: "TrainSettings",
    method: "DistillSettings",
    folder: Path,
    as_json: bool,
    *,
    limits: dict[str, Any],
    space: dict[str, Any],
    measuring: dict[str, Any],
    trials: int,
) -> None:
    """Search, write everything, print the front. Exits with 1 if nothing is within the limits."""
    from ..budget import BudgetSettings, Limits, Measuring, Space, find_student
    from ..budget.report import HEADER, sentence, summary, table, write_all

    settings = BudgetSettings(
        limits=Limits(**limits),
        space=Space(**{name: _items(value, name) for name, value in space.items()}),
        trials=trials,
        train=train,
        method=method,
        measuring=Measuring(**measuring),
    )
    with ExitStack() as stack:
        found = find_student(teacher, data, settings, folder, watcher=_shown(stack, trials))
    write_all(found, folder)
    if as_json:
        print(json.dumps(summary(found), indent=2))
    else:
        _print(found, folder, HEADER, table(found), sentence(found))
    if found.chosen is None:
        raise typer.Exit(1)


def _print(
    found: "Found", folder: Path, header: list[str], rows: list[list[str]], said: str
) -> None:
    if rows:
        print_table(header, rows, title=f"accuracy against latency and size, {found.data.name}")
    out.print(said, markup=False, highlight=False, soft_wrap=True)
    if found.chosen is not None:
        out.print(f"run {folder / 'student'}, bundle {folder / 'bundle'}", soft_wrap=True)
    out.print(f"open {folder / 'report.html'}", highlight=False, soft_wrap=True)


def _items(value: Any, name: str) -> Any:
    """Return the parts of "a,b,c", as numbers where they are depths or widths."""
    if not isinstance(value, str):
        return value
    parts = tuple(part.strip() for part in value.split(",") if part.strip())
    if name == "kinds":
        return parts
    try:
        return tuple(int(part) for part in parts)
    except ValueError:
        raise ValueError(f"--{name} takes numbers separated by commas, got {value!r}") from None


def _shown(stack: ExitStack, trials: int) -> Any:
    """Return what prints a line for each candidate and shows a bar of the comparison."""
    from ..budget import Facts, Watcher
    from ..budget.report import describe

    class Shown(Watcher):
        step: Callable[[str], None]

        def examined(self, facts: Facts, trained: int) -> None:
            trial = f"[{trained}/{trials}]" if facts.val_accuracy is not None else "put aside"
            err.print(f"{trial} {describe(facts)}", markup=False, highlight=False, soft_wrap=True)

        def comparing(self, processes: int) -> None:
            err.print("comparing the front and the teacher side by side")
            self.step = stack.enter_context(steps(processes, "measuring"))

        def measuring(self, label: str) -> None:
            self.step(label)

        def chosen(self, facts: Facts) -> None:
            err.print(f"chose {facts.candidate}; reading the test nodes, proving the export")

    return Shown()
