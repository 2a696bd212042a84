"""lint: read a file or a bundle and ask every hazard about it."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from ...serve import Bundle, BundleError
from . import files, loops, operators, scatter, sizes, validity, whole_graph
from .findings import SEVERITIES, Finding, LintReport
from .scopes import scopes
from .subject import CPU, Subject

_MODEL = "model.onnx"
_HAZARDS = (
    validity.invalid_model,
    scatter.racing_scatter,
    scatter.overwriting_scatter,
    scatter.half_scatter,
    scatter.slow_scatter,
    scatter.scatter_elsewhere,
    sizes.fixed_inputs_and_outputs,
    sizes.fixed_reshapes,
    sizes.example_sizes,
    sizes.rows_from_ids,
    loops.loop_over_elements,
    loops.computing_branch,
    whole_graph.summary_of_all_nodes,
    operators.custom_operator,
    operators.unknown_version,
    operators.missing_on_cpu,
    operators.missing_in_provider,
    operators.data_dependent_size,
    files.external_data,
)


def lint(path: str | os.PathLike[str], *, providers: Sequence[str] = (CPU,)) -> LintReport:
    """Name the hazards in an ONNX file or a bundle.

    Args:
        path: The file, or the directory of a bundle.
        providers: Execution providers of ONNX Runtime it shall run on.

    Returns:
        The report, errors first; look at `ok`.

    Raises:
        ValueError: If there is no such file, or it is no ONNX file.
    """
    given = Path(path)
    refused: list[Finding] = []
    file = given
    if given.is_dir():
        file = given / _MODEL
        try:
            Bundle.load(given)
        except BundleError as error:
            refused.append(_refused(str(error)))
    report = lint_model(_read(file), providers=providers, folder=file.parent)
    return LintReport(str(path), report.providers, refused + report.findings)


def lint_model(
    model: onnx.ModelProto,
    *,
    providers: Sequence[str] = (CPU,),
    folder: Path | None = None,
    sizes: Mapping[str, int] | None = None,
) -> LintReport:
    """Name the hazards in a model in memory.

    Args:
        model: The model; it is not changed.
        providers: Execution providers it shall run on.
        folder: Where its external data would lie.
        sizes: num_nodes and num_edges of the example it was exported with, to find them again.

    Returns:
        The report, errors first.
    """
    subject = Subject(model, scopes(model), tuple(providers), folder, sizes or {})
    findings = [finding for hazard in _HAZARDS for finding in hazard(subject)]
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return LintReport("", subject.providers, findings)


def _read(file: Path) -> onnx.ModelProto:
    if not file.is_file():
        raise ValueError(f"no ONNX file at {file}")
    try:
        model = onnx.load(file, load_external_data=False)
    except (DecodeError, ValueError) as error:
        raise ValueError(f"{file} is no ONNX file, or a damaged one: {error}") from error
    if not model.HasField("graph"):
        raise ValueError(f"{file} is no ONNX file: it holds no graph")
    return model


def _refused(reason: str) -> Finding:
    advice = "Export it again, or copy it again."
    return Finding("error", "refused-bundle", "", "", "the bundle", f"{reason}.", advice)
