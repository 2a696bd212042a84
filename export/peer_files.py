"""Files and rows of the peers: a network compiled ahead of time, or exported as it is."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..serve import Bundle
from .bench import differences
from .errors import ExportError
from .peers import PEERS
from .rebuilding import rebuild
from .report import Row
from .runs import example_of
from .tracing import quiet

TOLERANCE = 1e-3  # of a peer's answers, relative to the largest of PyG's

Example = Sequence[torch.Tensor]


def peer_rows(
    path: Path, label: str, peers: Sequence[str], threads: int, folder: Path
) -> tuple[list[Row], dict[str, str]]:
    """Return a row for each peer of a bundle.

    Args:
        path: The bundle.
        label: Its label.
        peers: Names of `PEERS`.
        threads: Threads that they will have.
        folder: Where files go that have to be made.

    Returns:
        The rows; and by label, why a peer cannot be measured.

    Raises:
        ValueError: If there is no such peer.
        ExportError: If the bundle does not say what network it holds.
    """
    if unknown := [name for name in peers if name not in PEERS]:
        raise ValueError(f"no peer {unknown[0]!r}; there are {', '.join(PEERS)}")
    rows, left_out = [], {}
    for name in peers:
        named = f"{label}, {PEERS[name]}"
        try:
            made = folder / f"{label.replace('/', '_')}-{name}"
            rows.append(Row(named, *_loaded_by(name, path, threads, made)))
        except (ExportError, ValueError):
            raise
        except Exception as error:  # whatever torch's compilers and exporters cannot do
            left_out[named] = " ".join(str(error).split())[:300]
    return rows, left_out


def _loaded_by(name: str, path: Path, threads: int, made: Path) -> tuple[str, dict[str, Any]]:
    """Return target and arguments of a peer's row, and make the file it needs."""
    if name == "pyg":
        return "graphstill.export.targets:pyg", {"path": str(path)}
    if name == "pyg-csr":
        return "graphstill.export.peers:pyg_csr", {"path": str(path)}
    module, example = rebuild(path), _example(path)
    if name in ("compile", "aoti"):
        alone = {} if len(example) > 1 else {"takes_graph": False}
        if name == "compile":
            return "graphstill.export.peers:compiled", {"path": str(path), **alone}
        package = compile_ahead(module, example, threads, made.with_name(made.name + ".pt2"))
        return "graphstill.export.peers:aot_inductor", {"path": str(package), **alone}
    file = export_plainly(module, example, made.with_name(made.name + ".onnx"))
    return "graphstill.export.peers:plain_onnx", {"path": str(file)}


def with_peers(
    rows: Sequence[Row],
    peers: Sequence[str],
    inputs: Mapping[str, np.ndarray],
    threads: int,
    folder: Path,
    on_step: Callable[[str], None],
) -> tuple[list[Row], dict[str, Any]]:
    """Put peers after the rows of bundles, those that answer as PyG does.

    Args:
        rows: Rows of bundles.
        peers: Names of `PEERS`.
        inputs: What will be measured with.
        threads: Threads.
        folder: Where files go that have to be made.
        on_step: Told about each row.

    Returns:
        All rows; and as facts for the report, how far each peer is from PyG in eager mode, and why
        some are left out.
    """
    all_rows, errors, left_out = list[Row](), dict[str, float](), dict[str, str]()
    folder.mkdir(parents=True, exist_ok=True)
    for row in rows:
        on_step(f"{row.label}, its peers")
        path = Path(row.arguments["path"])
        found, impossible = peer_rows(path, row.label, peers, threads, folder)
        left_out |= impossible
        reference = Row(row.label, "graphstill.export.targets:pyg", {"path": str(path)})
        compared = dict(differences([reference, *found], inputs, threads))
        for peer in found:
            error = compared[peer.label]
            if isinstance(error, str):
                left_out[peer.label] = error
            elif not error <= TOLERANCE:
                left_out[peer.label] = f"answers otherwise than PyG, by {error:.0e}"
            else:
                errors[peer.label] = error
        all_rows += [row, *(peer for peer in found if peer.label in errors)]
    return all_rows, {"peers_differ_by": errors, "left_out": left_out}


def compile_ahead(module: torch.nn.Module, example: Example, threads: int, path: Path) -> Path:
    """Compile a module of x and edge_index by AOTInductor, for graphs of any size.

    The code is for a fixed number of threads; another number of them shares its work badly.
    """
    with torch.no_grad(), quiet():
        program = torch.export.export(module, tuple(example), dynamic_shapes=_any_size(example))
        torch._inductor.aoti_compile_and_package(
            program, package_path=str(path), inductor_configs={"cpp.threads": threads}
        )
    return path


def export_plainly(module: torch.nn.Module, example: Example, path: Path) -> Path:
    """Export a module of x and edge_index by `torch.onnx.export`, for graphs of any size."""
    with quiet():
        torch.onnx.export(
            module,
            tuple(example),
            str(path),
            dynamo=True,
            dynamic_shapes=_any_size(example),
            input_names=["x", "edge_index"][: len(example)],
            external_data=False,
            verbose=False,
        )
    return path


def _any_size(example: Example) -> Any:
    nodes, edges = torch.export.Dim("num_nodes", min=2), torch.export.Dim("num_edges", min=2)
    return ({0: nodes}, {1: edges})[: len(example)]


def _example(path: Path) -> list[torch.Tensor]:
    from ..distill import Architecture

    inputs = example_of(Architecture(**(Bundle.load(path).manifest.architecture or {})))
    if set(inputs) - {"x", "edge_index"} or any(isinstance(v, dict) for v in inputs.values()):
        raise ValueError(f"{path} takes more than x and edge_index; its peers are pyg alone")
    return [value for value in inputs.values() if isinstance(value, torch.Tensor)]
