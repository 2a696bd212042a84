"""TeacherStore: what a teacher answered, on disk, by the node's id in the whole graph.

A folder holds `logits.npy`, `layer0.npy` … [num_nodes, width], memory-mapped when read, and
`store.json`: whose answers they are (a hash of the teacher's weights, of the graph and of the
features), their precision and their layers. A student that trains on sampled batches looks its
nodes up instead of running the teacher, and gets the answer of the whole graph.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from .checkpoint import write_in_one_step
from .errors import DataError
from .losses import Pass

_MANIFEST = "store.json"


class TeacherStore:
    """Answers by global node id.

    Args:
        folder: Where `write` put them.
        fingerprint: What they must belong to, from `fingerprint`; None takes what is there.

    Raises:
        DataError: If there is no store, a part of one, or another teacher's.
    """

    def __init__(self, folder: Path, fingerprint: str | None = None) -> None:
        try:
            self.manifest: dict[str, Any] = json.loads((folder / _MANIFEST).read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise DataError(f"{folder} holds no teacher store: {error}") from error
        if fingerprint is not None and self.manifest["fingerprint"] != fingerprint:
            raise DataError(
                f"{folder} holds the answers of another teacher, or on other data; "
                "write the store again"
            )
        self._logits = _mapped(folder / "logits.npy")
        # the tap "" is the logits once more
        self._layers = [
            None if tap == "" else _mapped(folder / f"layer{i}.npy")
            for i, tap in enumerate(self.manifest["taps"])
        ]

    @property
    def num_nodes(self) -> int:
        """Number of nodes of the whole graph."""
        return self._logits.shape[0]

    def look_up(self, nodes: Tensor | None) -> Pass:
        """Return the answers for some nodes, in their order.

        Args:
            nodes: Ids in the whole graph, [n] (`n_id` of a sampled batch).

        Raises:
            DataError: If there are none, or one is out of range.
        """
        if nodes is None:
            raise DataError("a teacher store needs to know the nodes: the batch has no n_id")
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
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _MANIFEST).unlink(missing_ok=True)  # nothing to be found while files change
        layers = zip(taps, answer.layers, strict=True)
        named = {f"layer{i}": h for i, (tap, h) in enumerate(layers) if tap != ""}
        for name, tensor in {"logits": answer.logits, **named}.items():
            array = tensor.detach().cpu().to(getattr(torch, precision)).numpy()
            if not np.isfinite(array).all():
                raise DataError(f"{name} holds numbers beyond {precision}; store it in float32")
            partial = folder / f"{name}.partial.npy"
            np.save(partial, array)
            partial.replace(folder / f"{name}.npy")
        manifest = {"fingerprint": fingerprint, "taps": list(taps), "precision": precision}
        text = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
        write_in_one_step(folder / _MANIFEST, text.encode())
        return cls(folder)


def fingerprint(module: torch.nn.Module, x: Tensor, edge_index: Tensor) -> str:
    """Return a hash of a teacher's weights and of what it was asked about."""
    parts = {**module.state_dict(), "x": x, "edge_index": edge_index}
    return digest(parts, type(module).__qualname__)


def digest(tensors: Mapping[str, Tensor], kind: str = "") -> str:
    """Return a hash of named tensors, and of what they belong to."""
    found = hashlib.sha256(kind.encode())
    for name, tensor in tensors.items():
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _mapped(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"the store is damaged: {error}; write it again") from error
