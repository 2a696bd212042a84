"""A page that runs a bundle's model in the browser: a directory for any server of static files.

index.html, style.css, *.js     ours
ort/                            onnxruntime-web, WebAssembly only
model.onnx, manifest.json       of the bundle
sample.json, sample.bin         a graph to show, where one is given

Nothing is requested from elsewhere. The C++ operators do not exist in a browser: there the function
bodies in the file run.
"""

import json
from pathlib import Path

from ...serve import Bundle
from ..errors import ExportError
from .directories import replace_directory
from .npm import runtime_files
from .samples import Sample, pack

_FORMS = ("edge_index", "none")


def write_page(
    bundle: Bundle,
    path: Path,
    *,
    sample: Sample | None = None,
    onnxruntime_web: Path | None = None,
) -> None:
    """Write a page that runs a bundle.

    Args:
        bundle: The bundle.
        path: Directory of the page.
        sample: A graph to show; a small made-up one if None.
        onnxruntime_web: A copy of the npm package; fetched with npm if None.

    Raises:
        ExportError: If the page cannot give the model its inputs, or the sample does not fit it, or
            onnxruntime-web is not to be had.
    """
    manifest = bundle.manifest
    if manifest.graph not in _FORMS:
        raise ExportError(
            f"a page shows graphs of one type of nodes, given as an edge list; this model takes "
            f'graph="{manifest.graph}"'
            + ('. Export it with graph="edge_index"' if manifest.graph == "csr" else "")
        )
    said, data = (None, b"") if sample is None else pack(sample.name, sample.tensors(manifest))
    runtime = runtime_files(onnxruntime_web)
    page = Path(__file__).parent / "page"

    def fill(place: Path) -> None:
        for file in page.iterdir():
            (place / file.name).write_bytes(file.read_bytes())
        (place / "ort").mkdir()
        for name, content in runtime.items():
            (place / "ort" / name).write_bytes(content)
        (place / "model.onnx").write_bytes(bundle.read_model())
        (place / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
        # a file that may be missing would be an error in the browser's console
        (place / "sample.json").write_text(json.dumps(said), encoding="utf-8")
        if data:
            (place / "sample.bin").write_bytes(data)

    replace_directory(path, "page.js", fill)
