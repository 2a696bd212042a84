"""A model repository of Triton Inference Server, and a KServe manifest for it.

models/
    kserve.yaml
    student/
        config.pbtxt          inputs, outputs and how the server may run it
        labels.txt            names of the classes, where they are known
        manifest.json         of the bundle
        operators/            the C++ operators, where the server shall load them
        1/model.onnx

Triton joins requests along the first dimension without shifting node ids, so a graph must never be
batched: one request, one graph. Models whose rows have nothing to do with each other are batched.

Servers run older releases of ONNX Runtime. Before 1.18 it refuses the file format of functions with
overloads, and before 1.27 it takes the wrong body where a file has two overloads of one operator.
Without the C++ operators the bodies are therefore put in place of the calls; with them no body is
looked at.
"""

import re
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

import onnx
import onnx.inliner
from google.protobuf import text_format

from ...serve import Bundle, Manifest, TensorSpec, native
from ..bodies import DOMAIN
from ..errors import ExportError
from .directories import replace_directory
from .kserve import kserve_manifest
from .triton_schema import ModelConfig

CONFIG = "config.pbtxt"
OPERATORS = "operators"

# KServe takes no other names for what serves the model
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")

# the oldest file format that may use operator set 18
_IR_VERSION = 8

_DTYPES = {"float16": "FP16", "float32": "FP32", "float64": "FP64"}


def write_repository(
    bundle: Bundle,
    path: Path,
    *,
    name: str | None = None,
    mounted_at: str | None = None,
    instances: int = 1,
    threads: int = 1,
    max_batch_size: int = 4096,
) -> None:
    """Write a bundle into a model repository; other models in it stay as they are.

    Args:
        bundle: The bundle.
        path: Directory of the repository.
        name: Name of the model; that of the bundle's directory if None.
        mounted_at: Where the server sees the repository, "/models". The C++ operators of this
            installation are then put beside the model and loaded from there, on x86 the build for
            AVX2. Without, the model is written in standard operators alone.
        instances: Copies of the model, each of which answers one request at a time.
        threads: Threads of each of them. Left to itself ONNX Runtime would count the cores of the
            machine, not those that a container may use.
        max_batch_size: Most rows that requests may be joined to, for models without a graph and for
            blocks.

    Raises:
        ExportError: If a setting will not do, there are no C++ operators to put in, or a server
            could batch the model wrongly.
    """
    name = name or bundle.path.name
    if not _NAME.fullmatch(name):
        raise ExportError(
            f"{name!r} cannot be the name of a model: a lower-case letter, then letters, digits "
            "and '-', 63 at most, as Kubernetes has them; give another one"
        )
    sizes = {"instances": instances, "threads": threads, "max_batch_size": max_batch_size}
    for setting, value in sizes.items():
        if value < 1:
            raise ExportError(f"{setting} must be at least 1, got {value}")
    manifest = bundle.manifest
    batched = _rows_are_independent(manifest)
    if not batched and all(isinstance(spec.shape[0], str) for spec in manifest.inputs):
        raise ExportError(
            f"every input ({', '.join(s.name for s in manifest.inputs)}) starts with a size that "
            "may vary, so Triton could take its rows for a batch and join two requests into one "
            'wrong graph; export it with graph="edge_index", which cannot be mistaken'
        )
    library = seen_at = None
    if mounted_at is not None:
        if not PurePosixPath(mounted_at).is_absolute():
            raise ExportError(f"mounted_at must be a path like /models, got {mounted_at!r}")
        library = _library()
        seen_at = str(PurePosixPath(mounted_at, name, OPERATORS, library.name))
    config = model_config(
        manifest,
        name,
        library=seen_at,
        instances=instances,
        threads=threads,
        max_batch_size=max_batch_size if batched else 0,
    )

    model = bundle.read_model() if library is not None else in_standard_operators(bundle)

    def fill(place: Path) -> None:
        (place / CONFIG).write_text(text_format.MessageToString(config), encoding="utf-8")
        (place / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
        (place / "1").mkdir()
        (place / "1" / "model.onnx").write_bytes(model)
        if manifest.class_names:
            labels = "\n".join(manifest.class_names) + "\n"
            (place / "labels.txt").write_text(labels, encoding="utf-8")
        if library is not None:
            (place / OPERATORS).mkdir()
            shutil.copyfile(library, place / OPERATORS / library.name)

    replace_directory(path / name, CONFIG, fill)
    service = path / "kserve.yaml"
    if not service.exists():  # whoever has one has filled it in
        service.write_text(kserve_manifest(name, instances * threads), encoding="utf-8")


def model_config(
    manifest: Manifest,
    name: str,
    *,
    library: str | None,
    instances: int,
    threads: int,
    max_batch_size: int,
) -> Any:
    """Return config.pbtxt as a message; see `write_repository`.

    Args:
        manifest: Of the model.
        name: Of the model.
        library: Where the server finds the C++ operators.
        instances: See `write_repository`.
        threads: See `write_repository`.
        max_batch_size: 0 where requests must not be joined.
    """
    config = ModelConfig(name=name, backend="onnxruntime", max_batch_size=max_batch_size)
    for spec in manifest.inputs:
        config.input.add(**_tensor(spec, max_batch_size))
    if manifest.in_degree:
        degrees = TensorSpec("in_degree", "float32", ("num_nodes",))
        config.input.add(optional=True, **_tensor(degrees, max_batch_size))
    for spec in manifest.outputs:
        config.output.add(**_tensor(spec, max_batch_size))
    if max_batch_size:
        config.dynamic_batching.max_queue_delay_microseconds = 100
        if manifest.class_names:
            # without batching Triton would rank all numbers of an answer as one row
            config.output[0].label_filename = "labels.txt"
    config.instance_group.add(count=instances, kind="KIND_CPU")
    if library is not None:
        config.model_operations.op_library_filename.append(library)
    settings = {
        "intra_op_thread_count": threads,
        "inter_op_thread_count": 1,
        # planned for one size, it doubles the peak when sizes change
        "enable_mem_pattern": 0,
    }
    for key, value in settings.items():
        config.parameters.add(key=key).value.string_value = str(value)
    return config


def in_standard_operators(bundle: Bundle) -> bytes:
    """Return the model of a bundle with function bodies in place of calls of our operators."""
    model = onnx.inliner.inline_local_functions(onnx.load_from_string(bundle.read_model()))
    others = [entry for entry in model.opset_import if entry.domain != DOMAIN]
    del model.opset_import[:]
    model.opset_import.extend(others)
    model.ir_version = _IR_VERSION
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _rows_are_independent(manifest: Manifest) -> bool:
    """Say whether a row's answer depends on nothing else: a node's features, a seed's tree."""
    first = {spec.shape[0] for spec in (*manifest.inputs, *manifest.outputs)}
    alone = manifest.graph == "blocks" or (manifest.graph == "none" and manifest.hops == 0)
    return alone and len(first) == 1 and isinstance(first.pop(), str)


def _tensor(spec: TensorSpec, max_batch_size: int) -> dict[str, Any]:
    """Return what ModelInput and ModelOutput say of a tensor; a batch's size is not said."""
    shape = spec.shape[1:] if max_batch_size else spec.shape
    return {
        "name": spec.name,
        "data_type": f"TYPE_{_DTYPES.get(spec.dtype, spec.dtype.upper())}",
        "dims": [-1 if isinstance(dim, str) else dim for dim in shape],
    }


def _library() -> Path:
    """Return the build of the C++ operators for a server whose processor is not known."""
    try:
        here = Path(native.library())
    except FileNotFoundError as reason:
        raise ExportError(f"there are no C++ operators to put in: {reason}") from reason
    common = here.with_name("libgraphstill_ort.x86-64-v3.so")
    return common if common.is_file() else here
