"""Directories that appear whole or not at all."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def is_replaceable(path: Path, mark: str) -> bool:
    """Return whether a directory may be written to a path.

    That is so where nothing is, or an empty directory, or one that holds the file `mark`, as all
    directories of the same kind do.
    """
    if not path.exists() or (path / mark).is_file():
        return True
    return path.is_dir() and not any(path.iterdir())


def write_directory(path: Path, fill: Callable[[Path], None]) -> None:
    """Let a function fill a directory, and put it in its place in one step.

    Args:
        path: The directory; what is there is replaced.
        fill: Writes the files into the directory that it is given.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent))
    try:
        fill(partial)
        partial.chmod(0o755)
        _put_in_place(partial, path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _put_in_place(partial: Path, path: Path) -> None:
    if not path.exists():
        partial.rename(path)
        return
    old = partial.with_suffix(".old")
    path.rename(old)
    partial.rename(path)
    shutil.rmtree(old)
