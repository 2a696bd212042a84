"""Directories of a format: they replace only what the same format wrote."""

from collections.abc import Callable
from pathlib import Path

from ...serve.directories import is_replaceable, write_directory
from ..errors import ExportError


def replace_directory(path: Path, mark: str, fill: Callable[[Path], None]) -> None:
    """Let a function fill a directory, and put it in its place in one step.

    Args:
        path: The directory.
        mark: A file, relative to it, that every directory of this format holds.
        fill: Writes the files into the directory that it is given.

    Raises:
        ExportError: If the path holds something that this format did not write.
    """
    if not is_replaceable(path, mark):
        raise ExportError(f"{path} exists and holds no {mark}; choose another place for the export")
    write_directory(path, fill)
