"""The command line. Exit codes: 0 done, 1 a check failed, 2 used wrongly."""

from typing import Annotated

import typer

from . import __version__
from .export.commands import (
    benching,
    bundles,
    console,
    exporting,
    linting,
    measuring,
    quantising,
    study,
    training,
)

app = typer.Typer(
    name="graphstill",
    help="Make graph networks deployable: train, distil, study, export, check, lint, quantise, "
    "bench, predict.\n\n"
    "Start with `graphstill demo --out demo`: the whole road on real data in two minutes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
for command in (
    measuring.demo,
    training.train,
    training.distill,
    study.study,
    study.results,
    exporting.export,
    bundles.check,
    linting.lint,
    quantising.quantise,
    benching.bench,
    bundles.predict,
):
    app.command()(command)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print versions and exit.")] = False,
) -> None:
    """Say what is installed, or go on to a command."""
    if version:
        import onnxruntime

        print(f"graphstill {__version__}, onnxruntime {onnxruntime.__version__}")
        print(f"C++ operators of ONNX Runtime: {console.native_state()}")
        print(f"C++ kernels of torch: {console.torch_kernels_state()}")
        raise typer.Exit
