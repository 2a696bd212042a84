"""TeacherStore: what a teacher answered, on disk, by the node's id in the whole graph.

A folder holds `logits.npy`, `layer0.npy` … [num_nodes, width], memory-mapped when read, and
`store.json`: whose answers they are (a hash of the teacher's weights, of the graph and of the
features), their precision and their layers. A student that trains on sampled batches looks its
nodes up instead of running the teacher, and gets the answer of the whole graph.

A store is written part by part, so that a teacher's answers need not be in memory together.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..kernels import CSRGraph
from .checkpoint import write_in_one_step
from .errors import DataError
from .losses import Pass
from .sparse import SparseFeatures

_MANIFEST = "store.json"
_ROWS = 65536  # at a time, of answers that are in memory already


class TeacherStore:
    """Answers by global node id.

    Args:
        folder: Where `write` put them.
        fingerprint: What they must belong to, from `fingerprint`; None takes what is there.
        taps: The layers that must be there, in this order; None takes what is there.

    Raises:
        DataError: If there is no store, a part of one, another teacher's, or other layers.
    """

    def __init__(
        self, folder: Path, fingerprint: str | None = None, taps: Sequence[str] | None = None
    ) -> None:
        try:
            self.manifest: dict[str, Any] = json.loads((folder / _MANIFEST).read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise DataError(f"{folder} holds no teacher store: {error}") from error
        if fingerprint is not None and self.manifest["fingerprint"] != fingerprint:
            raise DataError(
                f"{folder} holds the answers of another teacher, or on other data; choose another "
                "folder, or remove this one to have it written again"
            )
        if taps is not None and self.manifest["taps"] != list(taps):
            raise DataError(
                f"{folder} holds the layers {self.manifest['taps']}, {list(taps)} are asked for; "
                "choose another folder, or remove this one to have it written again"
            )
        self._logits = _mapped(folder / "logits.npy")
        # the tap "" is the logits once more
        self._layers = [
            None if tap == "" else _mapped(folder / f"layer{i}.npy")
            for i, tap in enumerate(self.manifest["taps"])
        ]

    @staticmethod
    def is_at(folder: Path) -> bool:
        """Return whether a folder holds a whole store."""
        return (folder / _MANIFEST).is_file()

    @property
    def num_nodes(self) -> int:
        """Number of nodes of the whole graph."""
        return self._logits.shape[0]

    def look_up(self, nodes: Tensor) -> Pass:
        """Return the answers for some nodes, in their order.

        Args:
            nodes: Ids in the whole graph, [n] (`n_id` of a sampled batch).

        Raises:
            DataError: If one is out of range.
        """
        ids = nodes.cpu().numpy()
        if ids.size and not 0 <= ids.min() <= ids.max() < self.num_nodes:
            raise DataError(f"ids must be in [0, {self.num_nodes}), got {ids.min()} to {ids.max()}")

        def rows(array: np.ndarray) -> Tensor:
            return torch.from_numpy(array[ids].astype(np.float32)).to(nodes.device)

        logits = rows(self._logits)
        return Pass(logits, [logits if h is None else rows(h) for h in self._layers])

    @classmethod
    def write(
        cls,
        folder: Path,
        answer: Pass,
        fingerprint: str,
        taps: Sequence[str],
        precision: Literal["float16", "float32"] = "float16",
    ) -> "TeacherStore":
        """Write a teacher's answers on the whole graph and open them.

        Args:
            folder: Where to; a store that is there is replaced.
            answer: What the teacher answered for all nodes.
            fingerprint: What it belongs to, from `fingerprint`.
            taps: The layers, as they were tapped.
            precision: What numbers are stored in.

        Raises:
            DataError: If a number does not fit into the precision.
        """
        count = answer.logits.shape[0]
        parts = ((nodes, answer.rows(nodes)) for nodes in torch.arange(count).split(_ROWS))
        return cls.write_parts(folder, parts, count, fingerprint, taps, precision)

    @classmethod
    def write_parts(
        cls,
        folder: Path,
        parts: Iterable[tuple[Tensor, Pass]],
        num_nodes: int,
        fingerprint: str,
        taps: Sequence[str],
        precision: Literal["float16", "float32"] = "float16",
    ) -> "TeacherStore":
        """Write what a teacher answers for some nodes after the other, as `answers` yields it.

        Args:
            folder: Where to; a store that is there is replaced.
            parts: Nodes and the answers for them; together all nodes, each once.
            num_nodes: Number of nodes of the whole graph.
            fingerprint: As in `write`.
            taps: As in `write`.
            precision: As in `write`.

        Raises:
            DataError: If a number does not fit into the precision, or nodes are missing.
        """
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _MANIFEST).unlink(missing_ok=True)  # nothing to be found while files change
        arrays: dict[str, np.ndarray] = {}
        written = 0
        for nodes, answer in parts:
            written += nodes.numel()
            for name, tensor in _named(answer, taps).items():
                rows = tensor.detach().cpu().to(getattr(torch, precision)).numpy()
                if not np.isfinite(rows).all():
                    raise DataError(
                        f"{name} holds NaN, or numbers beyond {precision}"
                        + ("; store it in float32" if precision == "float16" else "")
                    )
                if name not in arrays:
                    shape = (num_nodes, rows.shape[1])
                    arrays[name] = np.lib.format.open_memmap(
                        folder / f"{name}.partial.npy", "w+", rows.dtype, shape
                    )
                arrays[name][nodes.numpy()] = rows
        if written != num_nodes:
            raise DataError(f"answers for {written} nodes came, the graph has {num_nodes}")
        for name, array in arrays.items():
            array.flush()  # type: ignore[attr-defined]
            (folder / f"{name}.partial.npy").replace(folder / f"{name}.npy")
        manifest = {"fingerprint": fingerprint, "taps": list(taps), "precision": precision}
        text = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
        write_in_one_step(folder / _MANIFEST, text.encode())
        return cls(folder)


def fingerprint(
    module: torch.nn.Module,
    x: Tensor | SparseFeatures,
    edge_index: Tensor | CSRGraph,
    *,
    note: str = "",
) -> str:
    """Return a hash of a teacher's weights and of what it was asked about.

    Args:
        module: The teacher.
        x: Features, dense or sparse.
        edge_index: The graph.
        note: What else the answers depend on.
    """
    graph = edge_index
    edges = (
        {"rowptr": graph.rowptr, "col": graph.col}
        if isinstance(graph, CSRGraph)
        else {"edge_index": graph}
    )
    parts = {**module.state_dict(), **_dense_parts(x), **edges}
    return digest(parts, f"{type(module).__qualname__}{note}")


def digest(tensors: Mapping[str, Tensor], kind: str = "") -> str:
    """Return a hash of named tensors, and of what they belong to."""
    found = hashlib.sha256(kind.encode())
    for name, tensor in tensors.items():
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _named(answer: Pass, taps: Sequence[str]) -> dict[str, Tensor]:
    # the tap "" is the logits once more
    layers = enumerate(zip(taps, answer.layers, strict=True))
    return {"logits": answer.logits, **{f"layer{i}": h for i, (tap, h) in layers if tap != ""}}


def _dense_parts(x: Tensor | SparseFeatures) -> dict[str, Tensor]:
    if isinstance(x, Tensor):
        return {"x": x}
    graph = x.graph
    return {"x.rowptr": graph.rowptr, "x.col": graph.col, "x.value": x.value[graph.perm]}


def _mapped(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"the store is damaged: {error}; write it again") from error
