"""Bundle: the directory that holds an exported model, and everything needed to trust and call it.

model.onnx            one file, not optimised for any machine
weights.safetensors   the same weights for torch
manifest.json         inputs, outputs, provenance, and the SHA-256 of every other file
README.md             the model card
"""

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from io import BufferedReader
from pathlib import Path

from .directories import is_replaceable, write_directory
from .errors import BundleError
from .manifest import FileEntry, Manifest
from .onnx_file import check_model

MODEL, MANIFEST = "model.onnx", "manifest.json"

# what a bundle may not exceed, so that reading one cannot exhaust a machine; protobuf holds 2 GiB
MAX_MANIFEST_BYTES = 2**24
MAX_MODEL_BYTES = 2**31 - 1
MAX_FILE_BYTES = 2**36
MAX_FILES = 1000


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk whose files are what the manifest says.

    Attributes:
        path: The directory.
        manifest: Its manifest.
    """

    path: Path
    manifest: Manifest

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Bundle":
        """Open a bundle and check every file against the manifest.

        Raises:
            BundleError: If there is none, a file is missing, changed, no regular file or outside
                the directory, or the model holds what is not allowed.
        """
        root = Path(path)
        if not root.is_dir():
            raise BundleError(f"no bundle at {root}: there is no such directory")
        try:
            text = _read(root, MANIFEST, MAX_MANIFEST_BYTES).decode()
        except UnicodeDecodeError as error:
            raise BundleError(f"{root / MANIFEST} is damaged: {error}") from error
        bundle = cls(root, Manifest.from_json(text))
        if len(bundle.manifest.files) > MAX_FILES:
            raise BundleError(
                f"{root} lists {len(bundle.manifest.files)} files, at most {MAX_FILES} are allowed"
            )
        for name in bundle.manifest.files:
            if name == MODEL and bundle.manifest.target is None:
                bundle.read_model()
            else:
                bundle._verify(name)
        return bundle

    def read(self, name: str) -> bytes:
        """Return the bytes of one file, which are the ones the manifest vouches for.

        Raises:
            BundleError: If they are not.
        """
        if name not in self.manifest.files:
            raise BundleError(f"the bundle {self.path} has no file {name!r}")
        with self._sized(name) as file:
            data = file.read()
        self._compare(name, hashlib.sha256(data).hexdigest())
        return data

    def read_model(self) -> bytes:
        """Return the bytes of the ONNX file, checked.

        Raises:
            BundleError: If it is not allowed, or the bundle holds a model of another format.
        """
        if self.manifest.target is not None:
            raise BundleError(
                f"{self.path} holds {self.manifest.model}, which ONNX Runtime does not run; use "
                "graphstill.export.open_session, which needs torch"
            )
        data = self.read(MODEL)
        check_model(data, self.manifest)
        return data

    def _verify(self, name: str) -> None:
        """Compare a file with the manifest without holding it in memory."""
        with self._sized(name) as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        self._compare(name, found)

    def _sized(self, name: str) -> BufferedReader:
        """Open a file that has the size of the manifest, and not too large a one."""
        limit = MAX_MODEL_BYTES if name == MODEL else MAX_FILE_BYTES
        file, path, expected = _opened(self.path, name), self.path / name, self.manifest.files[name]
        size = os.fstat(file.fileno()).st_size
        try:
            if size != expected.bytes:
                raise BundleError(
                    f"{path} has {size} bytes, the manifest says {expected.bytes}; "
                    "it was cut short or changed, copy the bundle again"
                )
            _check_size(path, size, limit)
        except BundleError:
            file.close()
            raise
        return file

    def _compare(self, name: str, found: str) -> None:
        if found != self.manifest.files[name].sha256:
            raise BundleError(
                f"{self.path / name} is not the file the manifest describes (its SHA-256 differs); "
                "it was damaged or changed, copy the bundle again"
            )

    @property
    def size_bytes(self) -> int:
        """Size of the file that holds the model."""
        return self.manifest.files[self.manifest.model].bytes

    @classmethod
    def write(
        cls, path: str | os.PathLike[str], manifest: Manifest, files: Mapping[str, bytes]
    ) -> "Bundle":
        """Write a bundle in one step: an interrupted write leaves nothing under the final name.

        A bundle that is there already is replaced; any other directory that holds something is not.

        Args:
            path: The directory to make.
            manifest: Its `files` are filled in here.
            files: Contents by name, model.onnx among them.

        Raises:
            BundleError: If the path holds something that is no bundle.
        """
        root = Path(path)
        if not is_replaceable(root, MANIFEST):
            raise BundleError(
                f"{root} exists and is no bundle; choose another place for the export"
            )
        manifest = replace(manifest, files=_entries(files))

        def fill(place: Path) -> None:
            for name, data in {**files, MANIFEST: manifest.to_json().encode()}.items():
                (place / _plain(name)).write_bytes(data)

        write_directory(root, fill)
        return cls(root, manifest)

    def with_files(self, files: Mapping[str, bytes]) -> "Bundle":
        """Write files beside those it has; the model and whatever else lies there stay untouched.

        The manifest is written last, and first without the files that are replaced, so that the
        bundle can be loaded whenever this is interrupted.

        Args:
            files: Contents by name; a file that is there already is replaced.

        Raises:
            BundleError: If one of them is the model or the manifest.
        """
        for name in (self.manifest.model, MANIFEST):
            if name in files:
                raise BundleError(f"{name} is what a bundle is made of; write a new bundle")
        entries = _entries(files)
        if entries.items() <= self.manifest.files.items():
            return self
        kept = {name: e for name, e in self.manifest.files.items() if name not in files}
        if len(kept) < len(self.manifest.files):
            self._list(kept)
        for name, data in files.items():
            _replace(self.path / _plain(name), data)
        self._list({**kept, **entries})
        return Bundle(self.path, replace(self.manifest, files={**kept, **entries}))

    def _list(self, files: Mapping[str, FileEntry]) -> None:
        """Write the files of the manifest; what else it says, known here or not, stays."""
        value = json.loads(_read(self.path, MANIFEST, MAX_MANIFEST_BYTES))
        value["files"] = {name: asdict(entry) for name, entry in files.items()}
        text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
        _replace(self.path / MANIFEST, text.encode())


def _entries(files: Mapping[str, bytes]) -> dict[str, FileEntry]:
    return {
        name: FileEntry(hashlib.sha256(data).hexdigest(), len(data)) for name, data in files.items()
    }


def _replace(path: Path, data: bytes) -> None:
    """Write a file in one step; a link in its place is replaced, not followed."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _plain(name: str) -> str:
    """Return a file name that names a file of the directory and nothing else."""
    if name in ("", ".", "..") or Path(name).name != name or "\\" in name or "\0" in name:
        raise BundleError(f"{name!r} is no plain file name: a bundle's files lie in its directory")
    return name


def _read(root: Path, name: str, limit: int) -> bytes:
    with _opened(root, name) as file:
        _check_size(root / name, os.fstat(file.fileno()).st_size, limit)
        return file.read()


def _check_size(path: Path, size: int, limit: int) -> None:
    if size > limit:
        raise BundleError(f"{path} has {size:,} bytes, at most {limit:,} are allowed")


def _opened(root: Path, name: str) -> BufferedReader:
    """Open a file of the directory that is no link of any kind, and nothing but a file."""
    path = root / _plain(name)
    try:
        # without waiting for whoever might write to a pipe
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise BundleError(f"{root} is no complete bundle: {name} is missing") from None
    except OSError as error:
        raise BundleError(
            f"{path} is no regular file: a bundle must not point outside its directory ({error})"
        ) from error
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISREG(status.st_mode):
        raise BundleError(
            f"{path} is a hard link: the same file has another name somewhere, where it may be "
            "changed; copy the bundle (some package managers link files when they install)"
        )
    raise BundleError(f"{path} is no regular file: a bundle must not point outside its directory")
