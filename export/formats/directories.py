"""Directories that appear whole or not at all, and replace only what the same format wrote."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from ..errors import ExportError


def write_directory(path: Path, mark: str, fill: Callable[[Path], None]) -> None:
    """Let a function fill a directory, and put it in its place in one step.

    Args:
        path: The directory.
        mark: A file, relative to it, that every directory of this format holds.
        fill: Writes the files into the directory that it is given.

    Raises:
        ExportError: If the path holds something that this format did not write.
    """
    if path.exists() and not (path / mark).is_file() and not _is_empty(path):
        raise ExportError(f"{path} exists and holds no {mark}; choose another place for the export")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent))
    try:
        fill(partial)
        partial.chmod(0o755)
        _put_in_place(partial, path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _put_in_place(partial: Path, path: Path) -> None:
    if not path.exists():
        partial.rename(path)
        return
    old = partial.with_suffix(".old")
    path.rename(old)
    partial.rename(path)
    shutil.rmtree(old)
