"""export."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import AsJson, Root, guarded, load_inputs, out

if TYPE_CHECKING:
    from ...serve import Bundle
    from ..flattening import Nested


def export(
    run: Annotated[
        Path, typer.Argument(help="Run directory of `train` or `distill`; or a bundle.")
    ],
    out_dir: Annotated[Path, typer.Option("--out", help="Directory to write.")],
    format: Annotated[
        str,
        typer.Option(
            help="onnx, a bundle. aoti, a bundle that AOTInductor compiles for this machine. "
            "triton, a model repository of Triton Inference Server with a KServe manifest. web, a "
            "page that runs it in the browser."
        ),
    ] = "onnx",
    graph: Annotated[
        str, typer.Option(help="edge_index, or csr for rowptr and col.")
    ] = "edge_index",
    lowering: Annotated[
        str,
        typer.Option(
            help="fused; blocks: a fixed number of neighbours; or baked: the graph of --data is in "
            "the model."
        ),
    ] = "fused",
    fanouts: Annotated[
        str | None,
        typer.Option(help="Neighbours in each hop of blocks, from the seeds outwards: 10,10."),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(help="Seeds in every call of blocks; any number if not given.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="baked: the data set whose graph is in the model, the run's if not given. web: "
            "the one that the page shows."
        ),
    ] = None,
    root: Root = None,
    fuse: Annotated[
        bool,
        typer.Option(
            help="Whether sums and attention are one node with what follows them; the kernels for "
            "CUDA need --no-fuse."
        ),
    ] = True,
    name: Annotated[
        str | None,
        typer.Option(help="triton: name of the model; that of the run or bundle if not given."),
    ] = None,
    mounted_at: Annotated[
        str | None,
        typer.Option(
            help="triton: where the server will see the repository, /models; the C++ operators are "
            "put in, and the server told to load them from there."
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="triton: threads of a call on the server; 1 if not given.")
    ] = None,
    onnxruntime_web: Annotated[
        Path | None,
        typer.Option(help="web: a copy of the npm package onnxruntime-web; fetched if not given."),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="aoti: cpu, or cuda for this machine's GPU; cpu by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Export a trained network to ONNX as a bundle, or in another format.

    graphstill export runs/student --out bundles/student

    Where the graph never changes it can be in the model, sorted and normalised; a call then gives
    features for its nodes, and nothing else:

    graphstill export runs/student --out bundles/baked --lowering baked --root data

    For TensorRT, OpenVINO, WebGPU, phones and servers that batch: standard operators and fixed
    sizes, a row of features for each seed and its neighbours:

    graphstill export runs/student --out bundles/blocks --lowering blocks --fanouts 10,10

    A run or a bundle, for a fleet of servers and for the browser:

    graphstill export bundles/student --out models --format triton --mounted-at /models

    graphstill export bundles/student --out page --format web --data cora

    Compiled by AOTInductor, for a process that has torch:

    graphstill export runs/student --out packages/student --format aoti
    """
    with guarded():
        from ..formats import convert
        from ..runs import export_run
        from .formats import is_bundle, print_written, settings_of

        of_triton = {"name": name, "mounted_at": mounted_at, "threads": threads}
        given = {**of_triton, "onnxruntime_web": onnxruntime_web, "device": device}
        settings = settings_of(format, given, data, root)
        if is_bundle(run, format, graph, lowering, fuse):
            print_written(convert(run, out_dir, format=format, **settings), format, as_json)
            return
        example = _example(run, data, root) if lowering == "baked" else None
        written = export_run(
            run,
            out_dir,
            format=format,
            graph=graph,
            lowering=lowering,
            fanouts=None if fanouts is None else _numbers(fanouts, "fanouts"),
            batch=batch,
            fuse=fuse,
            example=example,
            **settings,
        )
        if isinstance(written, Path):
            print_written(written, format, as_json)
        else:
            _print_bundle(written, as_json)


def _print_bundle(bundle: "Bundle", as_json: bool) -> None:
    manifest = bundle.manifest
    if as_json:
        print(manifest.to_json(), end="")
        return
    shapes = ", ".join(f"{s.name} {list(s.shape)}" for s in manifest.inputs)
    out.print(
        f"{bundle.path}: {bundle.size_bytes:,} bytes, inputs {shapes}",
        highlight=False,
        soft_wrap=True,
    )
    for warning in manifest.warnings:
        out.print(warning, style="yellow", markup=False, highlight=False, soft_wrap=True)


def _numbers(text: str, what: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise ValueError(f"{what} must be whole numbers, such as 10,10, got {text!r}") from None


def _example(run: Path, data: str | None, root: Path | None) -> "dict[str, Nested]":
    """Return the inputs of the network on a data set."""
    import torch

    from ...distill import load_run

    name = data or load_run(run, fused=False).provenance["data"]
    inputs, _, _ = load_inputs(name, root, 0)
    return {
        name: torch.from_numpy(value)
        for name, value in (inputs or {}).items()
        if not isinstance(value, dict)
    }
