"""What `export --format` does beyond a bundle: settings by format, and what is printed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .console import load_inputs, out

if TYPE_CHECKING:
    from ..formats.samples import Sample

# what each format takes of the options
_TAKES = {
    "triton": {"name", "mounted_at", "threads"},
    "web": {"onnxruntime_web"},
    "aoti": {"device"},
}


def is_bundle(path: Path, format: str, graph: str, lowering: str, fuse: bool) -> bool:
    """Say whether a path holds a bundle, and not a run.

    Raises:
        ValueError: If it does, and a bundle is what shall be made of it.
    """
    from ..formats import AOTI, FORMATS, ONNX

    found = (path / "manifest.json").is_file()
    if found and format == ONNX:
        raise ValueError(f"{path} is a bundle already; say --format {' or '.join(FORMATS)}")
    if found and format == AOTI:
        raise ValueError(f"{path} is a bundle; --format {AOTI} compiles the network of a run")
    if found and (graph, lowering, fuse) != ("edge_index", "fused", True):
        raise ValueError(
            f"{path} is a bundle: --graph, --lowering and --no-fuse are chosen when a run is "
            "exported"
        )
    return found


def settings_of(
    format: str, given: Mapping[str, Any], data: str | None, root: Path | None
) -> dict[str, Any]:
    """Return the settings of a format among the options given.

    Raises:
        ValueError: If an option has no meaning for it.
    """
    chosen = {key: value for key, value in given.items() if value is not None}
    for key in chosen.keys() - _TAKES.get(format, set()):
        raise ValueError(f"--{key.replace('_', '-')} has no meaning with --format {format}")
    if format == "web" and data is not None:
        chosen["sample"] = _sample(data, root)
    return chosen


def _sample(data: str, root: Path | None) -> "Sample":
    from ..formats.samples import Sample

    inputs, labels, test = load_inputs(data, root, 0)
    name = Path(data).stem if data.endswith(".npz") else data
    return Sample(name, inputs or {}, labels, test)


def print_written(path: Path, format: str, as_json: bool) -> None:
    """Say what was written."""
    from ..formats import FORMATS

    sizes = {str(p.relative_to(path)): p.stat().st_size for p in path.rglob("*") if p.is_file()}
    if as_json:
        print(json.dumps({"path": str(path), "format": format, "files": sizes}, indent=2))
        return
    total = sum(sizes.values())
    out.print(f"{path}: {FORMATS[format].what}, {total:,} bytes", highlight=False, soft_wrap=True)
