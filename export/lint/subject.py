"""What the hazards look at: one model, read once."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx

from .scopes import Dims, Scope, dims_of
from .tensors import is_external, tensors_of

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"

_INTEGERS = (onnx.TensorProto.INT32, onnx.TensorProto.INT64)


@dataclass(frozen=True)
class Subject:
    """A model and what the lint is asked about it.

    Attributes:
        model: The model, without the data of tensors in other files.
        scopes: All its graphs and function bodies, the main graph first.
        providers: Execution providers it shall run on.
        folder: Where the file lies, None for a model in memory.
        sizes: num_nodes and num_edges of the example it was exported with, where they are known.
    """

    model: onnx.ModelProto
    scopes: list[Scope]
    providers: tuple[str, ...]
    folder: Path | None
    sizes: Mapping[str, int]

    @property
    def has_external_data(self) -> bool:
        """Whether any tensor keeps its data in another file."""
        return any(is_external(tensor) for _, tensor in tensors_of(self.model))

    @property
    def inputs(self) -> dict[str, tuple[int, Dims]]:
        """Element type and sizes of what a caller must give."""
        optional = {tensor.name for tensor in self.model.graph.initializer}
        return {n: t for n, t in _tensors(self.model.graph.input) if n not in optional}

    @property
    def outputs(self) -> dict[str, tuple[int, Dims]]:
        """Element type and sizes of what the model answers."""
        return dict(_tensors(self.model.graph.output))

    @property
    def edge_list(self) -> str | None:
        """The input that lists edges, by its shape [2, E] or its name; None if there is none."""
        for name, (element, dims) in self.inputs.items():
            if element in _INTEGERS and ((len(dims) == 2 and dims[0] == 2) or name == "col"):
                return name
        return None

    @property
    def symbols(self) -> set[str]:
        """The names of the sizes that a caller chooses."""
        return {dim for _, dims in self.inputs.values() for dim in dims if isinstance(dim, str)}


def _tensors(values: Iterable[onnx.ValueInfoProto]) -> Iterator[tuple[str, tuple[int, Dims]]]:
    for value in values:
        kind = value.type.tensor_type
        if value.type.HasField("tensor_type") and kind.HasField("shape"):
            yield value.name, (kind.elem_type, dims_of(kind))
