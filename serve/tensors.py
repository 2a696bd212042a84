"""TensorSpec: an input or output of a model, as its manifest describes it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import BundleError

DTYPES = "float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool".split()


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of the model.

    Attributes:
        name: Its name in the ONNX file.
        dtype: NumPy's name of its type.
        shape: Sizes; a string is a dimension whose size may differ from call to call.
        argument: The dictionary by type that it is an entry of, "x_dict"; None where it is none.
        key: Its key there: a type of nodes, "paper", or of edges, ("author", "writes", "paper").
        ends: Of edges between types: the dimensions that sources and destinations count in.
        below: Of ids that a table in the model has a row for: the number of its rows.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    argument: str | None = None
    key: str | tuple[str, ...] | None = None
    ends: tuple[str, str] | None = None
    below: int | None = None

    def __post_init__(self) -> None:
        if not self.name or self.dtype not in DTYPES:
            raise BundleError(
                f"the manifest has an input or output {self.name!r} of type {self.dtype!r}; it "
                f"must have a name, and a type of {', '.join(DTYPES)}"
            )
        for dim in self.shape:
            if not isinstance(dim, int | str) or isinstance(dim, bool) or _is_negative(dim):
                raise BundleError(
                    f"{self.name} has the size {dim!r} in the manifest; a size is a name or a "
                    "number that is not negative"
                )

    @property
    def is_edge_list(self) -> bool:
        """Whether it is sources and destinations, [2, E]."""
        return self.name == "edge_index" or (self.ends is not None and len(self.shape) == 2)

    @property
    def is_col(self) -> bool:
        """Whether it is the sources of sorted edges, [E]."""
        return self.name == "col" or (self.ends is not None and len(self.shape) == 1)

    @property
    def rowptr(self) -> str:
        """What the rows of sorted edges are called whose sources it is."""
        return rowptr_of(self.name)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "TensorSpec":
        """Read what `asdict` wrote."""
        key, ends = value.get("key"), value.get("ends")
        return cls(
            str(value["name"]),
            str(value["dtype"]),
            tuple(value["shape"]),
            value.get("argument"),
            tuple(key) if isinstance(key, list) else key,
            None if ends is None else (ends[0], ends[1]),
            value.get("below"),
        )


def sorted_names(edge_list: str) -> tuple[str, str]:
    """Return what rowptr and col of an edge list are called in a file."""
    label = edge_list.removeprefix("edge_index")
    return f"rowptr{label}", f"col{label}"


def rowptr_of(col: str) -> str:
    """Return what the rows are called that go with the sources `col`."""
    return f"rowptr{col.removeprefix('col')}"


def _is_negative(dim: int | str) -> bool:
    return dim < 0 if isinstance(dim, int) else not dim
