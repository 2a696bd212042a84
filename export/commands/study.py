"""study: arms × seeds × data sets, and what they can carry."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import Root, guarded, out

if TYPE_CHECKING:
    from ...distill.study import Progress, TakenOver


def study(
    file: Annotated[Path, typer.Argument(help="Study file, YAML; see examples/study.yaml.")],
    out_dir: Annotated[Path, typer.Option("--out", help="Folder; a stopped study goes on there.")],
    root: Root = None,
    jobs: Annotated[int, typer.Option(help="Processes, each with one thread.", min=1)] = 1,
    results: Annotated[
        Path | None,
        typer.Option(
            help="Folder for <study>.jsonl, and for results.md beside it. What it holds of this "
            "study from another machine is taken over first, and not run again."
        ),
    ] = None,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Write the report of what there is; run nothing.")
    ] = False,
) -> None:
    """Compare ways to make a student: arms × seeds × data sets, paired, tuned alike.

    Teachers are trained once for each seed, every arm's knobs are searched with the same number of
    trials on seeds of their own, by validation alone, and each arm is then run with the evaluation
    seeds. Scratch, label smoothing, logit KD, self-KD, KD on training nodes, an MLP and GLNN belong
    to every study. Stop it whenever you like: the same command goes on.

    graphstill study examples/study.yaml --out studies/digits --jobs 2
    """
    with guarded(f"the same command goes on from where it stopped in {out_dir}"):
        from ...distill.study import StudyRunner, estimate, read_study
        from ..results_page import kept_lines, write_all_results, write_results
        from ..study_figures import plots_to_keep
        from ..study_page import write_report

        settings = read_study(file)
        shown = _Shown()
        runner = StudyRunner(settings, out_dir, root=root, jobs=jobs, on_progress=shown)
        if not report_only:
            if results is not None:
                _say_taken_over(runner.take_over(results))
            if not runner.lines():
                seconds = estimate(settings, runner.place, jobs)
                out.print(f"training takes at most {_duration(seconds)}, were no run to stop early")
            runner.run()
        lines, kept = runner.lines(), results is not None and kept_lines(results, settings)
        table = write_report(settings, lines or kept or [], out_dir)
        out.print(table, markup=False, soft_wrap=True)
        if results is not None and lines:
            plots = plots_to_keep(settings, runner.place, lines)
            write_results(settings, file, lines, runner.knobs_to_keep(), results, plots)
        elif results is not None:
            write_all_results(results)
        out.print(f"open {out_dir / 'report.html'}", highlight=False, soft_wrap=True)


def results(
    folder: Annotated[Path, typer.Argument(help="Folder of study files and lines of results.")],
) -> None:
    """Write results.md beside a folder of results, from what is kept in it.

    Neither run directories nor data are needed.

    graphstill results docs/results
    """
    with guarded():
        from ..results_page import write_all_results

        out.print(f"wrote {write_all_results(folder)}", highlight=False, soft_wrap=True)


def _say_taken_over(found: "TakenOver") -> None:
    if found.knobs or found.lines or found.refused:
        out.print(str(found), markup=False, highlight=False, soft_wrap=True)


class _Shown:
    """Prints the stages, and each task as it is finished."""

    def __call__(self, progress: "Progress") -> None:
        if progress.total:
            done = f"{progress.done}/{progress.total}"
            text = f"{progress.stage} {done} {progress.last}".rstrip()
            out.print(text, markup=False, highlight=False, soft_wrap=True)


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 2:
        return f"{seconds:.0f} seconds"
    return f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"
