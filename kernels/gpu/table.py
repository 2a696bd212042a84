"""The table of tiles: what was measured to be best, by operator, type, width and average degree.

It lies beside this file as JSON and is written by `benchmarks/tune.py`, never by hand:

    {"version": 1, "note": …, "runs": [{"gpu": …, "torch": …, "triton": …, "command": …}],
     "entries": [{"capability": "9.0", "operator": "spmm", "dtype": "float32", "width": 64,
                  "degree": 16, "block_e": 8, "block_f": 64, "num_warps": 1,
                  "seconds": …, "closed_form_seconds": …}]}

A width stands for those up to it, above the next smaller one of `WIDTHS`; a degree for average
degrees E / N from it on, up to the next one of `DEGREES`. Both are known on the host, so that
nothing waits for the device. What has no entry takes the closed form's tile. An operator only ever
looks up: it measures nothing, so the same graph gives the same bits in every process.
"""

import contextlib
import dataclasses
import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .tiles import OPERATORS, SPLIT, WIDTHS, Tile, candidates, closed_form

VERSION = 1
# average degrees from which on an entry holds
DEGREES = (0, 4, 16, 64)
DTYPES = {"float32": 32, "float16": 16, "bfloat16": 16}
SHIPPED = Path(__file__).with_name("table.json")
NOTHING_MEASURED = (
    "No GPU has been measured: every operator takes the tile of the closed form in tiles.py. "
    "`python benchmarks/tune.py` measures the GPU it runs on and writes its entries."
)

Key = tuple[str, str, str, int, int]


@dataclass(frozen=True)
class Entry:
    """A tile that was measured to be faster than the closed form's.

    Attributes:
        capability: Of the GPU, such as "9.0".
        operator: One of `tiles.OPERATORS`.
        dtype: Of the features; of the scale for spmm_int8.
        width: One of `tiles.WIDTHS`: features, or channels of a head.
        degree: One of `DEGREES`.
        tile: The fastest one.
        seconds: Its time.
        closed_form_seconds: That of the closed form's tile in the same run.
    """

    capability: str
    operator: str
    dtype: str
    width: int
    degree: int
    tile: Tile
    seconds: float
    closed_form_seconds: float

    def __post_init__(self) -> None:
        allowed = {
            "operator": OPERATORS,
            "dtype": tuple(DTYPES),
            "width": WIDTHS,
            "degree": DEGREES,
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ValueError(f"{name} must be one of {values}, got {getattr(self, name)!r}")
        if not re.fullmatch(r"\d+\.\d+|interpreter", self.capability):
            raise ValueError(f"capability must be like '9.0', got {self.capability!r}")
        if self.tile not in candidates(
            self.operator, bits_of(self.operator, self.dtype), self.width
        ):
            raise ValueError(f"{self.tile} is no candidate of {self.operator} at {self.width}")
        if not 0 < self.seconds < self.closed_form_seconds:
            raise ValueError(
                f"{self.key} took {self.seconds} s, the closed form {self.closed_form_seconds} s; "
                "a table holds only what was measured to be faster"
            )

    @property
    def key(self) -> Key:
        """What the entry is found by."""
        return self.capability, self.operator, self.dtype, self.width, self.degree


@dataclass(frozen=True)
class Table:
    """Entries, and the runs that measured them.

    Attributes:
        entries: At most one for each key.
        runs: GPU, versions and command of each run.
    """

    entries: Sequence[Entry] = ()
    runs: Sequence[dict[str, str]] = ()

    def __post_init__(self) -> None:
        if self.entries and not self.runs:
            raise ValueError("entries without the run that measured them")
        if len(self.tiles) < len(self.entries):
            raise ValueError("two entries for one operator, type, width and degree")

    @functools.cached_property
    def tiles(self) -> dict[Key, Tile]:
        """The tile of each entry."""
        return {entry.key: entry.tile for entry in self.entries}

    @classmethod
    def load(cls, path: Path) -> "Table":
        """Read a table.

        Raises:
            ValueError: If it is of another version, or holds what no run can have measured.
        """
        read = json.loads(path.read_text())
        if read.get("version") != VERSION:
            raise ValueError(f"{path} is version {read.get('version')}, expected {VERSION}")
        tile_fields = [field.name for field in dataclasses.fields(Tile)]
        entries = []
        for item in read["entries"]:
            tile = Tile(**{name: item.pop(name) for name in tile_fields})
            entries.append(Entry(tile=tile, **item))
        return cls(entries, read["runs"])

    def save(self, path: Path) -> None:
        """Write the table beside the path, then rename."""
        items: list[dict[str, Any]] = []
        for entry in sorted(self.entries, key=lambda entry: entry.key):
            item = dataclasses.asdict(entry)
            items.append(item | item.pop("tile"))
        note = "Written by benchmarks/tune.py." if items else NOTHING_MEASURED
        whole = {"version": VERSION, "note": note, "runs": list(self.runs), "entries": items}
        partial = path.with_name(path.name + ".partial")
        partial.write_text(json.dumps(whole, indent=1) + "\n")
        partial.rename(path)


def tile_for(operator: str, x: Tensor, width: int, rows: int, edges: int) -> Tile:
    """Return the tile of an operator's kernels.

    Args:
        operator: One of `tiles.OPERATORS`.
        x: Features of the type that is gathered; the scale for spmm_int8.
        width: Number of features, or of a head's channels.
        rows: Rows that programs walk.
        edges: Their edges. While an exporter traces, both are symbols: the degree is not known
            then, and the closed form's tile is taken.
    """
    known = _shipped() if _override is None else _override
    if known and isinstance(rows, int) and isinstance(edges, int):
        dtype = str(x.dtype).removeprefix("torch.")
        where = (width_bucket(width), degree_bucket(edges, rows))
        found = known.get((capability(x.device), operator, dtype, *where))
        # the parts of a wider row are as wide as a part; a wider head has no entry
        if found is not None and (operator in SPLIT or width <= WIDTHS[-1]):
            usual = closed_form(operator, min(width, WIDTHS[-1]))
            return dataclasses.replace(found, block_f=min(found.block_f, usual.block_f))
    return closed_form(operator, width)


def bits_of(operator: str, dtype: str) -> int:
    """Return the bits of a gathered element."""
    return 8 if operator == "spmm_int8" else DTYPES[dtype]


def width_bucket(width: int) -> int:
    """Return the width of `WIDTHS` that stands for a width."""
    return next((bound for bound in WIDTHS if width <= bound), WIDTHS[-1])


def degree_bucket(edges: int, rows: int) -> int:
    """Return the degree of `DEGREES` that stands for the average of some rows."""
    return max(bound for bound in DEGREES if bound * max(rows, 1) <= edges)


@contextlib.contextmanager
def using(tiles: Mapping[Key, Tile]) -> Iterator[None]:
    """Let all operators of the process use other tiles meanwhile: to measure, or to test."""
    global _override
    before, _override = _override, tiles
    try:
        yield
    finally:
        _override = before


@functools.cache
def capability(device: torch.device) -> str:
    """Return the compute capability of a device, where there is none "interpreter"."""
    if device.type != "cuda" or not torch.cuda.is_available():
        return "interpreter"
    return "{}.{}".format(*torch.cuda.get_device_capability(device))


_override: Mapping[Key, Tile] | None = None


@functools.cache
def _shipped() -> Mapping[Key, Tile]:
    return Table.load(SHIPPED).tiles
