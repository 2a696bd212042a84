"""quantise."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import AsJson, Root, SplitSeed, err, guarded, load_data, out, print_table, steps

if TYPE_CHECKING:
    from ..quantisation import Evidence


def quantise(
    bundle: Annotated[Path, typer.Argument(help="A bundle of `export`.")],
    out_dir: Annotated[Path, typer.Option("--out", help="Directory of the new bundle.")],
    data: Annotated[
        str,
        typer.Option(
            help="Data set, or an .npz file with x, edge_index and, if you like, y: what the new "
            "bundle is calibrated, compared and measured on."
        ),
    ],
    mode: Annotated[
        str,
        typer.Option(
            help="dynamic: int8 weights, features rounded row by row in the call. static: int8 "
            "weights and QDQ nodes with calibrated scales. weights: int8 on disk, float32 "
            "arithmetic. fp16: half the bytes, float32 arithmetic."
        ),
    ] = "dynamic",
    features: Annotated[
        str, typer.Option(help="How the new bundle takes x: float32, or int8 with x_scale.")
    ] = "float32",
    calibration: Annotated[
        str, typer.Option(help="How static finds its scales: minmax, entropy or percentile.")
    ] = "minmax",
    min_agreement: Annotated[
        float, typer.Option(help="Least share of decisions that must stay, 0-1.")
    ] = 0.99,
    force: Annotated[bool, typer.Option("--force", help="Write it even so.")] = False,
    root: Root = None,
    split_seed: SplitSeed = 0,
    rounds: Annotated[int, typer.Option(help="Interleaved rounds of the measurement.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Make a bundle smaller, and show accuracy, agreement, bytes and latency before and after.

    Exits with 1, and writes nothing, if fewer decisions stay than --min-agreement asks for.

    graphstill quantise bundles/student --out bundles/student-int8 --data cora
    """
    with guarded():
        from ..quantisation import (
            AgreementError,
            QuantiseSettings,
            measured_processes,
            quantise as run,
        )

        settings = QuantiseSettings(
            mode, features, calibration, min_agreement, force, rounds=rounds
        )
        evidence = _evidence(data, root, split_seed)
        try:
            with steps(measured_processes(settings), "measuring") as step:
                report = run(bundle, out_dir, evidence, settings, on_step=step)
        except AgreementError as refused:
            err.print(str(refused), style="red", markup=False, highlight=False, soft_wrap=True)
            raise typer.Exit(1) from None
        if as_json:
            print(report.to_json(), end="")
            return
        for title, header, rows in report.tables():
            print_table(header, rows, title=title)
        agreement = f"agreement {100 * report.quality.agreement:.2f} % on {report.data}"
        if not report.agrees:
            agreement += f", less than the {100 * min_agreement:.2f} % asked for"
        out.print(agreement, highlight=False, soft_wrap=True)
        out.print(report.verdict(), highlight=False, soft_wrap=True)
        out.print(f"{out_dir}: the new bundle, report inside", highlight=False, soft_wrap=True)


def _evidence(data: str, root: Path | None, split_seed: int) -> "Evidence":
    import numpy as np

    from ..quantisation import Evidence

    if data.endswith(".npz"):
        with np.load(data, allow_pickle=False) as file:
            inputs = {name: file[name] for name in file.files}
        labels = inputs.pop("y", None)
        nodes = {} if labels is None else {"all": np.arange(len(labels))}
        return Evidence(Path(data).name, inputs, labels, nodes)
    return Evidence.of(load_data(data, root, split_seed))
