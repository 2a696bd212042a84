"""Raw files of data sets: where they are, and copies of them where PyG may write.

A root folder may be read-only: raw files are copied into a cache and PyG works there.
"""

import filecmp
import os
import shutil
from pathlib import Path

from .errors import DataError


def cache_folder() -> Path:
    """Return where raw files and PyG's processed ones are kept: GRAPHSTILL_CACHE, or ~/.cache."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "graphstill"
    return Path(os.environ.get("GRAPHSTILL_CACHE", default))


def find_raw(root: Path, label: str, family: str | None = None) -> Path:
    """Return the folder of a data set's raw files.

    Args:
        root: The data set's own folder, or one that has it as <label>/raw or <family>/<label>/raw.
        label: What its folder is called.
        family: What the folder around it may be called.

    Raises:
        DataError: If there is none.
    """
    candidates = [root / "raw", root / label / "raw"]
    candidates += [root / family / label / "raw"] if family else []
    lower = [path.parent.parent / label.lower() / "raw" for path in candidates[1:]]
    for path in (*candidates, *lower):
        if path.is_dir():
            return path
    looked = ", ".join(str(path) for path in candidates)
    raise DataError(f"no raw files of {label} under {root}: looked for {looked}")


def copy_changed(source: Path, target: Path) -> bool:
    """Copy the files that the target lacks or has otherwise; return whether there were any."""
    target.mkdir(parents=True, exist_ok=True)
    changed = False
    for file in sorted(source.iterdir()):
        copy = target / file.name
        if copy.is_file() and filecmp.cmp(file, copy, shallow=False):
            continue
        partial = copy.with_name(copy.name + ".partial")
        shutil.copyfile(file, partial)
        partial.replace(copy)
        changed = True
    return changed


def required(root: str | os.PathLike[str] | None, label: str) -> Path:
    """Return the folder of raw files that nobody offers for download.

    Raises:
        DataError: If no root is given, or it does not have them.
    """
    if root is None:
        raise DataError(
            f"{label} is not downloaded: give a root folder with {label}/raw (--root on the "
            "command line)"
        )
    return find_raw(Path(root), label)
