"""The table of tiles: what it may hold, how it is read, and that kernels take what it says."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from cases import assert_close
from graphstill.kernels import reference

table = pytest.importorskip("graphstill.kernels.gpu.table", reason="needs triton")
tiles = pytest.importorskip("graphstill.kernels.gpu.tiles", reason="needs triton")

RUN = {"gpu": "some", "torch": "2", "triton": "3", "command": "tune"}
ENTRY: dict[str, Any] = {
    "capability": "9.0",
    "operator": "spmm",
    "dtype": "float32",
    "width": 64,
    "degree": 16,
    "block_e": 8,
    "block_f": 32,
    "num_warps": 1,
    "seconds": 1.0,
    "closed_form_seconds": 2.0,
}


def written(path: Path, *entries: dict[str, Any], runs: object = (RUN,), version: int = 1) -> Path:
    path.write_text(json.dumps({"version": version, "runs": list(runs), "entries": entries}))
    return path


def test_the_shipped_table_holds_only_what_was_measured() -> None:
    shipped = table.Table.load(table.SHIPPED)  # checks each entry
    note = json.loads(table.SHIPPED.read_text())["note"]
    assert (note == table.NOTHING_MEASURED) == (not shipped.entries)
    assert bool(shipped.runs) == bool(shipped.entries)
    assert all(entry.capability != "interpreter" for entry in shipped.entries)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"operator": "spam"}, "operator must be one of"),
        ({"dtype": "float64"}, "dtype must be one of"),
        ({"width": 48}, "width must be one of"),
        ({"degree": 5}, "degree must be one of"),
        ({"capability": "hopper"}, "capability must be like"),
        ({"block_e": 64}, "is no candidate of spmm at 64"),
        ({"block_e": 3}, "must be a power of two"),
        ({"seconds": 2.5}, "only what was measured to be faster"),
        ({"seconds": 0.0}, "only what was measured to be faster"),
    ],
)
def test_a_table_is_refused_with(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = written(tmp_path / "table.json", ENTRY | change)
    with pytest.raises(ValueError, match=message):
        table.Table.load(path)


def test_a_table_is_refused_without_its_run_twice_the_same_and_of_another_version(
    tmp_path: Path,
) -> None:
    path = tmp_path / "table.json"
    with pytest.raises(ValueError, match="without the run"):
        table.Table.load(written(path, ENTRY, runs=()))
    with pytest.raises(ValueError, match="two entries"):
        table.Table.load(written(path, ENTRY, ENTRY | {"seconds": 1.5}))
    with pytest.raises(ValueError, match="version 2, expected 1"):
        table.Table.load(written(path, ENTRY, version=2))


def test_a_saved_table_is_read_back(tmp_path: Path) -> None:
    whole = table.Table.load(written(tmp_path / "table.json", ENTRY))
    whole.save(tmp_path / "again.json")
    assert table.Table.load(tmp_path / "again.json") == whole
    assert not list(tmp_path.glob("*.partial"))


def entry_of(**change: Any) -> dict[Any, Any]:
    """Return the tiles of a table with one entry, for the interpreter."""
    item = ENTRY | {"capability": "interpreter"} | change
    tile = tiles.Tile(*(item.pop(name) for name in ("block_e", "block_f", "num_warps")))
    return table.Table([table.Entry(tile=tile, **item)], [RUN]).tiles


@pytest.mark.parametrize(
    ("width", "rows", "edges", "dtype", "wanted"),
    [
        (64, 10, 160, torch.float32, (8, 32)),
        (33, 10, 639, torch.float32, (8, 32)),  # the same bucket of width and degree
        (64, 10, 159, torch.float32, None),
        (64, 10, 640, torch.float32, None),
        (32, 10, 160, torch.float32, None),
        (65, 10, 160, torch.float32, None),
        (64, 10, 160, torch.float16, None),
        (64, 0, 0, torch.float32, None),
    ],
)
def test_a_tile_is_looked_up_by_type_width_and_degree(
    width: int, rows: int, edges: int, dtype: torch.dtype, wanted: tuple[int, int] | None
) -> None:
    x = torch.zeros(1, dtype=dtype)
    with table.using(entry_of()):
        found = table.tile_for("spmm", x, width, rows, edges)
        assert table.tile_for("gat", x, width, rows, edges) == tiles.closed_form("gat", width)
    usual = tiles.closed_form("spmm", width)
    assert found == (usual if wanted is None else tiles.Tile(*wanted))


def test_heads_wider_than_measured_take_the_closed_form() -> None:
    x = torch.zeros(1)
    entry = entry_of(operator="gat", width=256, block_e=4, block_f=256, num_warps=2)
    with table.using(entry):
        assert table.tile_for("gat", x, 256, 1, 20) == tiles.Tile(4, 256, 2)
        assert table.tile_for("gat", x, 130, 1, 20) == tiles.Tile(4, 256, 2)
        assert table.tile_for("gat", x, 257, 1, 20) == tiles.closed_form("gat", 257)


def test_a_head_narrower_than_its_bucket_is_not_padded_to_it() -> None:
    entry = entry_of(operator="gat", width=32, block_e=16)
    with table.using(entry):
        assert table.tile_for("gat", torch.zeros(1), 5, 1, 20) == tiles.Tile(16, 8)


@pytest.mark.parametrize("operator", tiles.OPERATORS)
@pytest.mark.parametrize("width", tiles.WIDTHS)
def test_candidates_start_with_the_closed_form_and_load_wide(operator: str, width: int) -> None:
    for dtype in table.DTYPES:
        bits = table.bits_of(operator, dtype)
        some = tiles.candidates(operator, bits, width)
        assert some[0] == tiles.closed_form(operator, width)
        assert len(some) == len(set(some)) >= 1
        assert all(t.block_e * t.block_f * bits >= 128 * 32 * t.num_warps for t in some)


@pytest.mark.parametrize("place", range(1, 5))
def test_kernels_take_the_tile_of_the_table(place: int) -> None:
    from graphstill.kernels import gpu

    rowptr, col, _ = reference.csr(torch.randint(0, 5, (2, 100)), 5, 5)
    x = torch.randn(5, 64)
    tile = tiles.candidates("spmm", 32, 64)[place]
    seen = []
    run = gpu.spmm.__globals__["launch"]
    entry = entry_of(block_e=tile.block_e, block_f=tile.block_f, num_warps=tile.num_warps)

    def spy(*args: Any, **settings: Any) -> None:
        seen.append((args[2], settings))
        run(*args, **settings)

    with table.using(entry), pytest.MonkeyPatch.context() as patch:
        patch.setitem(gpu.spmm.__globals__, "launch", spy)
        got = gpu.spmm(rowptr, col, x, *[None] * 6, "sum", "none")
    ((blocks, settings),) = seen
    assert blocks == 64 // tile.block_f
    assert tile.settings("BLOCK_F").items() <= settings.items()
    assert_close(got, reference.spmm(rowptr, col, x.double()))
