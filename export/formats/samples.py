"""A graph to show on a page: a little JSON that says what is where, and the numbers in one file.

{"name": "cora", "tensors": {
    "x": {"dtype": "float32", "shape": [2708, 1433], "sparse": {"rowptr": P, "col": P, "value": P}},
    "edge_index": {"dtype": "int64", "shape": [2, 10556], "dense": P}}}

P is {"dtype": …, "offset": bytes into the file, "length": elements}. Integers that are not negative
are stored in the narrowest type that holds them, features with many zeros as rows of a sparse
matrix; values stay as they are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...serve import InputError, Manifest, quantise_features
from ..errors import ExportError

Array = NDArray[Any]

# a page is loaded over a network
MAX_BYTES = 64 * 2**20


@dataclass(frozen=True, eq=False)
class Sample:
    """A graph with what is known of it.

    Attributes:
        name: What the page calls it.
        inputs: Inputs of a call; x and edge_index at least, to draw it.
        classes: True class of each node, [num_nodes] integers.
        test: Nodes that training did not see, to count what is right on.
    """

    name: str
    inputs: Mapping[str, Array]
    classes: Array | None = None
    test: Array | None = None

    def tensors(self, manifest: Manifest) -> dict[str, Array]:
        """Return what the page needs: inputs of the model, edges, classes and test nodes.

        Raises:
            ExportError: If an input of the model is missing or has another type or width.
        """
        inputs: dict[str, Array] = dict(self.inputs)
        wants = {spec.name: spec for spec in manifest.inputs}
        if "x" in wants and wants["x"].dtype == "int8" and "x" in inputs:
            try:
                inputs |= quantise_features(inputs["x"])
            except InputError as error:
                raise ExportError(f"{self.name}: {error}") from error
        for name, spec in wants.items():
            value = inputs.get(name)
            fits = (
                value is not None
                and value.dtype == np.dtype(spec.dtype)
                and value.ndim == len(spec.shape)
                and all(
                    isinstance(dim, str) or dim == size
                    for dim, size in zip(spec.shape, value.shape, strict=True)
                )
            )
            if not fits:
                got = "none" if value is None else f"{value.dtype} {list(value.shape)}"
                raise ExportError(
                    f"the model takes {name} {spec.dtype} {list(spec.shape)}, {self.name} has {got}"
                )
        known = {"classes": self.classes, "test": self.test}
        shown = {name: inputs[name] for name in (*wants, "edge_index") if name in inputs}
        return shown | {name: value for name, value in known.items() if value is not None}


def pack(name: str, tensors: Mapping[str, Array]) -> tuple[dict[str, Any], bytes]:
    """Return what is where, and the bytes.

    Raises:
        ExportError: If that is too much for a page.
    """
    data = bytearray()

    def part(array: Array) -> dict[str, Any]:
        data.extend(b"\0" * (-len(data) % 8))
        said = {"dtype": array.dtype.name, "offset": len(data), "length": array.size}
        data.extend(np.ascontiguousarray(array).tobytes())
        return said

    said: dict[str, Any] = {}
    for key, array in tensors.items():
        said[key] = {"dtype": array.dtype.name, "shape": list(array.shape)}
        if _is_sparse(array):
            row, col = np.nonzero(array)
            rowptr = np.searchsorted(row, np.arange(len(array) + 1))
            rows = {"rowptr": _narrow(rowptr), "col": _narrow(col), "value": array[row, col]}
            said[key]["sparse"] = {name: part(value) for name, value in rows.items()}
        else:
            said[key]["dense"] = part(_narrow(array))
        if len(data) > MAX_BYTES:
            raise ExportError(
                f"{name} is too large for a page: {key} alone brings it over {MAX_BYTES:,} bytes; "
                "show a smaller graph, or none"
            )
    return {"name": name, "tensors": said}, bytes(data)


def _is_sparse(array: Array) -> bool:
    """Say whether rows of a sparse matrix take less than the matrix does."""
    if array.ndim != 2 or array.dtype not in (np.float32, np.int8):
        return False
    # a column's number takes up to four bytes, besides the value
    each = array.itemsize + 4
    return bool(np.count_nonzero(array) * each < array.nbytes)


def _narrow(array: Array) -> Array:
    """Return int64 in the narrowest unsigned type that holds it; other types stay."""
    if array.dtype != np.int64 or (array.size and array.min() < 0):
        return array
    largest = int(array.max(initial=0))
    for kind in (np.uint8, np.uint16, np.uint32):
        if largest <= np.iinfo(kind).max:
            return array.astype(kind)
    return array
