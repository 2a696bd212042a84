"""quantise: a bundle in, a smaller one out, with what it costs measured beside it."""

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import safetensors.numpy
from numpy.typing import NDArray

from ...distill.int8 import INT8
from ...serve import Bundle, Manifest, Session, TensorSpec, quantise_features
from ..card import model_card
from ..errors import ExportError
from ..harness import measure
from ..report import Row, Settings
from ..splitting import split_updates
from .evidence import Evidence, compare
from .report import JSON, MARKDOWN, QuantisationReport, Speed, percent
from .rows import SCALE, quantise_rows
from .settings import QuantiseSettings
from .static import quantise_static
from .storage import store_fp16, store_int8
from .weights import Int8Weight


class AgreementError(ExportError):
    """A quantised model agrees too rarely with the one it was made of; nothing was written."""


def quantise(
    bundle: Bundle | str | os.PathLike[str],
    path: str | os.PathLike[str],
    evidence: Evidence,
    settings: QuantiseSettings | None = None,
    *,
    on_step: Callable[[str], None] | None = None,
) -> QuantisationReport:
    """Quantise a bundle, measure what it costs, and write the new one with the report inside.

    Weights that training itself rounded (`--int8-weights`) keep their integers and scales.

    Args:
        bundle: A bundle as `export` wrote it.
        path: The bundle to write; one that is there already is replaced.
        evidence: Real inputs to calibrate, compare and measure on.
        settings: How.
        on_step: Called with a label before each measured process starts; there are
            `measured_processes(settings)` of them.

    Returns:
        The report, which also lies in the new bundle as quantisation.json and quantisation.md.

    Raises:
        AgreementError: If too few decisions stay and `force` was not set. Nothing is written then.
        ExportError: If the bundle is quantised already, or has nothing to quantise.
    """
    settings = settings or QuantiseSettings()
    bundle = bundle if isinstance(bundle, Bundle) else Bundle.load(bundle)
    manifest, files, counts = shrink(bundle, evidence, settings)
    with tempfile.TemporaryDirectory() as folder:
        made = Bundle.write(Path(folder) / "quantised", manifest, files)
        before, after = Session(bundle), Session(made)
        report = QuantisationReport(
            settings.mode,
            settings.features,
            evidence.name,
            settings.min_agreement,
            compare(evidence, evidence.decisions(before), evidence.decisions(after)),
            _sizes(bundle, evidence, "float32"),
            _sizes(made, evidence, settings.features),
            counts,
        )
        if not report.agrees and not settings.force:
            raise AgreementError(_refusal(report))
        report = _measured(report, bundle, made, evidence, settings, on_step)
    manifest = replace(manifest, **_described(manifest, report))
    files |= {
        "README.md": f"{model_card(manifest)}\nWhat quantising cost is in {MARKDOWN}.\n".encode(),
        JSON: report.to_json().encode(),
        MARKDOWN: report.to_markdown().encode(),
    }
    Bundle.write(path, manifest, files)
    return report


def measured_processes(settings: QuantiseSettings) -> int:
    """Return how many processes `quantise` measures in."""
    return 2 * (settings.rounds + 1) * len(settings.usable_threads)


def shrink(
    bundle: Bundle, evidence: Evidence, settings: QuantiseSettings
) -> tuple[Manifest, dict[str, bytes], dict[str, int]]:
    """Return manifest and files of a quantised bundle, and how many weights training rounded.

    Raises:
        ExportError: If the bundle is quantised already, or has nothing to quantise.
    """
    if bundle.manifest.graph == "blocks":
        raise ExportError(
            'bundles of blocks are not quantised; export with lowering="fused" and quantise that'
        )
    manifest = bundle.manifest
    if manifest.quantisation is not None:
        raise ExportError(
            f"{bundle.path} is quantised already ({manifest.quantisation.get('mode')}); "
            "quantise the bundle that it was made of"
        )
    model = onnx.load_from_string(bundle.read_model())
    if settings.mode in ("dynamic", "static"):  # which put integers into products, and into sums
        split_updates(model)
    trained = safetensors.numpy.load(bundle.read(INT8)) if INT8 in manifest.files else {}
    state = safetensors.numpy.load(bundle.read("weights.safetensors"))
    weights: Mapping[str, Int8Weight] = {}
    if settings.mode == "dynamic":
        weights = quantise_rows(model, trained, features=settings.features == "int8")
    elif settings.mode == "static":
        feeds = _plain_feeds(bundle, evidence)
        model, weights = quantise_static(model, trained, feeds, calibration=settings.calibration)
    elif settings.mode == "weights":
        weights = store_int8(model, trained)
    else:
        store_fp16(model)
        state = {n: v.astype(np.float16) if v.dtype == np.float32 else v for n, v in state.items()}
    if settings.mode != "fp16" and not weights:
        raise ExportError(f"{bundle.path} has no product with a constant weight: nothing is left")
    onnx.checker.check_model(model)
    files = {
        "model.onnx": model.SerializeToString(),
        "weights.safetensors": safetensors.numpy.save(_small_state(state, weights)),
    }
    inputs = manifest.inputs
    if settings.features == "int8":
        inputs = _int8_inputs(inputs)
    kept = sum(weight.trained for weight in weights.values())
    counts = {"trained": kept, "rounded": len(weights) - kept}
    described = {"mode": settings.mode, "features": settings.features}
    return replace(manifest, inputs=inputs, quantisation=described), files, counts


def _int8_inputs(inputs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    """Return the inputs with x of int8, and x_scale behind them."""
    x = next((spec for spec in inputs if spec.name == "x"), None)
    if x is None or x.dtype != "float32" or len(x.shape) != 2:
        raise ExportError("int8 features need a model with an input x [num_nodes, F] float32")
    changed = tuple(replace(s, dtype="int8") if s.name == "x" else s for s in inputs)
    return (*changed, TensorSpec(SCALE, "float32", x.shape[:1]))


def _plain_feeds(bundle: Bundle, evidence: Evidence) -> dict[str, NDArray[Any]]:
    """Return a call's inputs as ONNX Runtime itself takes them."""
    session = Session(bundle)
    feeds = evidence.feeds(session)
    if bundle.manifest.graph == "csr":
        graph = session.prepare(feeds.pop("edge_index"), len(feeds["x"]))
        feeds |= {"rowptr": graph.rowptr, "col": graph.col}
    return feeds


def _small_state(
    state: Mapping[str, NDArray[Any]], weights: Mapping[str, Int8Weight]
) -> dict[str, NDArray[Any]]:
    """Return parameters as int8.safetensors has them: NAME.q and NAME.scale, others as they are."""
    small = {}
    for name, value in state.items():
        found = next((pair for w in weights.values() if (pair := _stands_for(w, value))), None)
        if found is None:
            small[name] = value
        else:
            small[f"{name}.q"], small[f"{name}.scale"] = map(np.ascontiguousarray, found)
    return small


def _stands_for(
    weight: Int8Weight, value: NDArray[Any]
) -> tuple[NDArray[np.int8], NDArray[np.float32]] | None:
    """Return q and scale in a parameter's own orientation if they are its rounding."""
    q, scale = weight.q, weight.scale[:, None]
    for q_turned, scale_turned in ((q, scale), (q.T, scale.T)):
        if q_turned.shape == value.shape and np.all(
            np.abs(q_turned * scale_turned - value) <= 0.51 * scale_turned
        ):
            return q_turned, scale_turned
    return None


def _sizes(bundle: Bundle, evidence: Evidence, features: str) -> dict[str, int]:
    x = evidence.inputs["x"]
    stored = quantise_features(x).values() if features == "int8" else [x]
    return {
        "model": bundle.size_bytes,
        "weights": bundle.manifest.files["weights.safetensors"].bytes,
        "features": sum(value.nbytes for value in stored),
    }


def _measured(
    report: QuantisationReport,
    before: Bundle,
    after: Bundle,
    evidence: Evidence,
    settings: QuantiseSettings,
    on_step: Callable[[str], None] | None,
) -> QuantisationReport:
    """Return the report with the latency of both bundles, the graph prepared outside the calls."""
    target = "graphstill.export.targets:bundle"
    rows = [
        Row(label, target, {"path": str(bundle.path.resolve()), "prepared": True})
        for label, bundle in (("before", before), ("after", after))
    ]
    speeds, machine = [], {}
    for threads in settings.usable_threads:
        found = measure(
            rows,
            evidence.inputs,
            Settings(threads, settings.rounds, 5, settings.min_seconds),
            on_step=on_step,
        )
        slow, fast = (found.row(row.label).latency_seconds for row in rows)
        speeds.append(Speed(threads, slow, fast, *found.ratio("before", "after")))
        machine = found.machine
    return replace(report, speeds=speeds, machine=machine)


def _described(manifest: Manifest, report: QuantisationReport) -> dict[str, Any]:
    """Return what the manifest says of the measurement."""
    described = {
        **(manifest.quantisation or {}),
        "data": report.data,
        "agreement": report.quality.agreement,
        "min_agreement": report.min_agreement,
        "verdict": report.verdict(),
    }
    return {
        "quantisation": described,
        "accuracy": report.quality.accuracy.get("after") or manifest.accuracy,
    }


def _refusal(report: QuantisationReport) -> str:
    quality = report.quality
    parts = [(f"in-degree {share.of}", share) for share in quality.by_in_degree]
    parts += [(f"class {share.of}", share) for share in quality.by_class]
    name, worst = min(parts, key=lambda part: part[1].agreement)
    accuracies = "".join(
        f"; accuracy on {nodes} {percent(value)} before, "
        f"{percent(quality.accuracy['after'][nodes])} after"
        for nodes, value in quality.accuracy.get("before", {}).items()
    )
    return (
        f"{report.mode}: {percent(quality.agreement)} of the decisions on {report.data} stay, at "
        f"least {percent(report.min_agreement)} must{accuracies}; the least agreement is "
        f"{percent(worst.agreement)}, among the {worst.nodes} nodes of {name}. Nothing was "
        "written; --force writes it even so, another mode may agree more often"
    )
