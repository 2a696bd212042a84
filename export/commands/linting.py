"""lint."""

import json
from pathlib import Path
from typing import Annotated

import typer

from .console import AsJson, guarded, out

_STYLES = {"error": "red", "warning": "yellow", "note": "dim"}


def lint(
    file: Annotated[Path, typer.Argument(help="An ONNX file, of graphstill or not, or a bundle.")],
    provider: Annotated[
        list[str] | None,
        typer.Option(help="Execution provider it shall run on; CPUExecutionProvider if not given."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Name what is wrong, slow or not portable in an ONNX file, and what to do about it.

    Racing and slow scatters, sizes baked in, 16-bit scatters, loops over edges, norms over the
    whole graph, missing operators, tensors in other files. Exits with 1 if there are errors.

    graphstill lint model.onnx --provider CPUExecutionProvider --provider CUDAExecutionProvider
    """
    with guarded():
        from ..lint import known_providers, lint as read

        unknown = set(provider or []) - set(known_providers())
        if unknown:
            raise ValueError(
                f"unknown provider {', '.join(sorted(unknown))}; known: "
                f"{', '.join(known_providers())}"
            )
        report = read(file, **({"providers": provider} if provider else {}))
        if as_json:
            print(json.dumps(report.to_dict(), indent=2))
        else:
            for finding in report.findings:
                style = _STYLES[finding.severity]
                out.print(str(finding), style=style, markup=False, highlight=False, soft_wrap=True)
            out.print(f"{file}: {report.summary}", markup=False, highlight=False, soft_wrap=True)
        if not report.ok:
            raise typer.Exit(1)
