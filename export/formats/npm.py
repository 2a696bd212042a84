"""onnxruntime-web, from npm or from a copy that is there already."""

import base64
import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ..errors import ExportError

PACKAGE = "onnxruntime-web"
VERSION = "1.30.0"
SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="

# what a page needs of the package: WebAssembly, and package.json that says version and licence
FILES = ("dist/ort.wasm.bundle.min.mjs", "dist/ort-wasm-simd-threaded.wasm", "package.json")

_ELSE = (
    f"; or run `npm install {PACKAGE}@{VERSION}` where there is a network, and give the folder "
    f"node_modules/{PACKAGE} as --onnxruntime-web"
)


def runtime_files(folder: Path | None) -> dict[str, bytes]:
    """Return the files of onnxruntime-web that a page needs, by their names without folders.

    Args:
        folder: The package, where there is a copy; fetched with npm if None, which keeps what it
            fetched for the next time.

    Raises:
        ExportError: If the copy is not complete, there is no npm, npm fails, or what it fetched is
            not the package that this version of graphstill was tested with.
    """
    found = _fetched() if folder is None else _copied(folder)
    return {Path(name).name: data for name, data in found.items()}


def _copied(folder: Path) -> dict[str, bytes]:
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise ExportError(
            f"{folder} is no copy of the npm package {PACKAGE}: it has no {', '.join(missing)}"
        )
    name = json.loads((folder / "package.json").read_text(encoding="utf-8")).get("name")
    if name != PACKAGE:
        raise ExportError(f"{folder} holds the npm package {name!r}, not {PACKAGE}")
    return {name: (folder / name).read_bytes() for name in FILES}


def _fetched() -> Mapping[str, bytes]:
    npm = shutil.which("npm")
    if npm is None:
        raise ExportError(
            f"the page needs {PACKAGE}, and there is no npm to fetch it: install npm{_ELSE}"
        )
    with tempfile.TemporaryDirectory() as place:
        # what npm fetched before is taken from its own cache
        command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--prefer-offline", "--silent"]
        done = subprocess.run(
            command, cwd=place, capture_output=True, text=True, check=False, timeout=600
        )
        archives = list(Path(place).glob("*.tgz"))
        if done.returncode or len(archives) != 1:
            said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()
            raise ExportError(f"npm could not fetch {PACKAGE}@{VERSION} ({said[-1]}){_ELSE}")
        _check(archives[0])
        with tarfile.open(archives[0]) as archive:
            return {name: _member(archive, f"package/{name}") for name in FILES}


def _check(archive: Path) -> None:
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if digest != SHA512:
        raise ExportError(
            f"npm fetched another {PACKAGE}@{VERSION} than was published (its SHA-512 differs)"
        )


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise ExportError(f"the npm package {PACKAGE} has no {name}")
    with file:
        return file.read()
