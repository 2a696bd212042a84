"""What a network is exported as: a table of formats, and the functions that write them.

`export` writes a bundle of ONNX itself, and AOTInductor compiles the module (`formats.aoti`); every
other format is made from a bundle of ONNX.
"""

import importlib
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...serve import Bundle
from ..errors import ExportError

ONNX, AOTI = "onnx", "aoti"


@dataclass(frozen=True)
class Format:
    """A format that a bundle can be turned into.

    Attributes:
        what: What it is, for people.
        module: The module of this package that writes it, imported when it is needed.
        function: The function there: (bundle, path, **settings) -> None.
    """

    what: str
    module: str
    function: str

    def write(self, bundle: Bundle, path: Path, **settings: Any) -> None:
        """Write the bundle in this format."""
        module = importlib.import_module(f".{self.module}", __name__)
        getattr(module, self.function)(bundle, path, **settings)


FORMATS: dict[str, Format] = {
    "triton": Format(
        "a model repository of Triton Inference Server, and a KServe manifest",
        "triton",
        "write_repository",
    ),
    "web": Format("a page that runs the model in the browser", "web", "write_page"),
}
NAMES = (ONNX, AOTI, *FORMATS)


def convert(
    bundle: Bundle | str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    format: str,
    **settings: Any,
) -> Path:
    """Write a bundle in another format.

    Args:
        bundle: The bundle, or its directory.
        path: The directory to write; what this wrote there before is replaced, any other directory
            that holds something is not.
        format: "triton" or "web".
        settings: What the format takes: see `formats.triton.write_repository` and
            `formats.web.write_page`.

    Returns:
        The directory.

    Raises:
        ExportError: If there is no such format, or it cannot hold this model.
    """
    if format not in FORMATS:
        raise ExportError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    opened = bundle if isinstance(bundle, Bundle) else Bundle.load(bundle)
    if opened.manifest.target is not None:
        raise ExportError(f"{opened.path} holds {opened.manifest.model}; {format} takes ONNX")
    FORMATS[format].write(opened, Path(path), **settings)
    return Path(path)


def export_as(
    format: str,
    export: Callable[[Path], Bundle],
    path: str | os.PathLike[str],
    called: str,
    settings: Mapping[str, Any],
) -> Path:
    """Export a bundle to a temporary place, and write it in another format.

    Args:
        format: See `convert`.
        export: Writes the bundle to the path that it is given.
        path: See `convert`.
        called: Name of the bundle, which what is made of it is called after.
        settings: See `convert`.
    """
    if format not in FORMATS:
        raise ExportError(f"format must be one of {', '.join(NAMES)}, got {format!r}")
    with tempfile.TemporaryDirectory() as place:
        return convert(export(Path(place) / called), path, format=format, **settings)
