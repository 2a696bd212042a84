"""Hazards of tensors that lie in other files."""

import stat
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

import onnx
from onnx.external_data_helper import ExternalDataInfo

from .findings import Finding, Severity
from .subject import Subject
from .tensors import is_external, tensors_of

_ADVICE = "Save it as one file: onnx.save(model, path, save_as_external_data=False)."


def external_data(subject: Subject) -> Iterator[Finding]:
    """Find tensors that keep their data outside the file; outside its folder is an error."""
    inside: list[str] = []
    for place, tensor in tensors_of(subject.model):
        if not is_external(tensor):
            continue
        problem = _problem(tensor, subject.folder)
        if problem:
            yield _finding("error", tensor.name, place, problem)
        else:
            inside.append(tensor.name)
    if inside:
        more = f" and of {len(inside) - 1} more" if len(inside) > 1 else ""
        said = f"the data of this tensor{more} lie beside the file, which is nothing without them."
        yield _finding("warning", inside[0], "the file", said)


def _problem(tensor: onnx.TensorProto, folder: Path | None) -> str:
    """Return why the data of a tensor are out of reach or out of bounds, empty if they are not."""
    try:
        info = ExternalDataInfo(tensor)
    except (ValueError, TypeError) as error:
        return f"its place is damaged: {error}."
    location = str(info.location)
    path = Path(location)
    if path.is_absolute() or PureWindowsPath(location).is_absolute() or ".." in path.parts:
        return f"its data lie at {location!r}, outside the folder of the file."
    if folder is None:
        return ""
    target = folder / path
    if any((folder / part).is_symlink() for part in (path, *path.parents) if part != Path()):
        return f"its data lie behind the symbolic link {location!r}, which may lead anywhere."
    if not target.exists():
        return f"its data should lie at {location!r}, where there is no file."
    found = target.stat()
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        return f"{location!r} is no plain file of its own: it is a folder, a device or a hard link."
    end = (info.offset or 0) + (info.length or 0)
    if end > found.st_size:
        return f"its data should end at byte {end}, but {location!r} has {found.st_size} bytes."
    return ""


def _finding(severity: Severity, tensor: str, place: str, message: str) -> Finding:
    return Finding(severity, "external-data", "", tensor, place, message, _ADVICE)
