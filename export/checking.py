"""check: everything that says whether a bundle may be trusted, and the report that stays in it.

Three parts: parity with PyG on graphs of every awkward kind, the lint of the file, and, where the
bundle knows its data set, accuracy and agreement on real labels. The report is written into the
bundle as check.json and check.md, and the manifest vouches for both.
"""

import copy
import inspect
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..distill import NodeData, accuracies, load
from ..serve import Bundle
from .answers import answers_of
from .lint import Finding, LintReport, lint
from .parity import TOLERANCE, ParityReport, check_parity
from .real_inputs import as_arrays, inputs_of

# nodes between two classes may fall to either side when sums are added in another order
AGREEMENT = 0.999
# how far an accuracy may be from the one of training, which may have run elsewhere
ACCURACY = 0.005

# how much of it leaving out neighbours may cost, where nodes have more than fit into blocks
ACCURACY_OF_BLOCKS = 0.02

# data sets that need no files
_ALWAYS_THERE = ("digits",)


@dataclass(frozen=True)
class Labels:
    """How the bundle and PyG do on real data.

    Attributes:
        data: Name of the data set.
        metric: What it is measured by.
        agreement: Fraction of nodes that both give the same answer.
        bundle: The bundle's accuracies, 0-1, by part of the data.
        pyg: PyG's.
        recorded: What the manifest says; empty where it was measured on another split.
        truncated: Share of the nodes whose neighbours do not fit into the bundle's blocks.
    """

    data: str
    metric: str
    agreement: float
    bundle: dict[str, float]
    pyg: dict[str, float]
    recorded: dict[str, float]
    truncated: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether both agree, and the bundle is as accurate as its manifest says.

        Where neighbours are left out, whether that costs little accuracy.
        """
        if self.truncated > 0:
            return self.pyg["test"] - self.bundle["test"] <= ACCURACY_OF_BLOCKS
        known = self.recorded.get("test", self.bundle["test"])
        return self.agreement >= AGREEMENT and abs(known - self.bundle["test"]) <= ACCURACY


@dataclass(frozen=True)
class CheckReport:
    """What `check` found.

    Attributes:
        model_sha256: Which file was checked.
        parity: Against PyG in float64.
        lint: What the file says.
        labels: On real data; None where there was none.
        labels_note: Why there was none.
    """

    model_sha256: str
    parity: ParityReport
    lint: LintReport
    labels: Labels | None
    labels_note: str = ""

    @property
    def ok(self) -> bool:
        """Whether all parts pass."""
        return self.parity.ok and self.lint.ok and (self.labels is None or self.labels.ok)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values."""
        labels = None if self.labels is None else {**asdict(self.labels), "ok": self.labels.ok}
        return {
            **self.parity.to_dict(),
            "ok": self.ok,
            "producer": f"graphstill {version('graphstill')}",
            "versions": {name: version(name) for name in ("onnxruntime", "torch")},
            "model_sha256": self.model_sha256,
            "lint": [asdict(finding) for finding in self.lint.findings],
            "labels": labels,
            "labels_note": self.labels_note,
        }


def check(
    module: torch.nn.Module,
    bundle: Bundle,
    *,
    tolerance: float = TOLERANCE,
    data: NodeData | None = None,
    labels_note: str = "",
) -> CheckReport:
    """Compare a module with its bundle, lint the file, and measure both on real data.

    Args:
        module: What was exported, with PyG's convolutions.
        bundle: What it was exported to.
        tolerance: See `check_parity`.
        data: Labelled data to measure both on.
        labels_note: Why there is no data, for the report.
    """
    return CheckReport(
        bundle.manifest.files[bundle.manifest.model].sha256,
        check_parity(module, bundle, tolerance=tolerance),
        _linted(bundle),
        None if data is None else _on_labels(bundle, module, data),
        labels_note,
    )


def _linted(bundle: Bundle) -> LintReport:
    """Return what the lint says of a file of ONNX, and of another that it does not read it."""
    if bundle.manifest.target is None:
        return lint(bundle.path)
    said = ("the lint reads files of ONNX, and did not read this one.", "Rely on parity.")
    unread = Finding("note", "not-onnx", "", "", bundle.manifest.model, *said)
    return LintReport(str(bundle.path), (), [unread])


def write_report(bundle: Bundle, report: CheckReport) -> Bundle:
    """Write a report into the bundle it is about, as check.json and check.md."""
    from .check_page import markdown

    text = json.dumps(report.to_dict(), indent=2, ensure_ascii=False) + "\n"
    return bundle.with_files(
        {"check.json": text.encode(), "check.md": markdown(bundle.manifest, report).encode()}
    )


def data_of(
    bundle: Bundle, name: str | None = None, root: Path | None = None
) -> tuple[NodeData | None, str]:
    """Return the data set a bundle was trained on, or why it is not at hand.

    Args:
        bundle: The bundle.
        name: What to load instead of what the bundle says. Only this may name a function to call:
            a bundle may come from anywhere, and must not choose what code runs.
        root: Folder with the raw files; without it only data sets that need none are loaded, and
            nothing is downloaded.
    """
    split = re.search(r"seed (\d+)$", str(bundle.manifest.provenance.get("split", "")))
    seed = int(split[1]) if split else 0
    if name is not None:
        return load(name, root, seed=seed), ""
    known = bundle.manifest.provenance.get("data")
    if not isinstance(known, str):
        return None, "the bundle does not say what data it was trained on"
    if ":" in known:
        return None, f"it was trained on data of your own; give --data {known}"
    if known not in _ALWAYS_THERE and root is None:
        return None, f"it was trained on {known}; give --root, the folder with its files"
    return load(known, root, seed=seed), ""


def _on_labels(bundle: Bundle, module: torch.nn.Module, data: NodeData) -> Labels:
    inputs = inputs_of(data)
    found, truncated = answers_of(bundle, as_arrays(inputs))
    answers = next(iter(found.values()))
    got, expected = torch.from_numpy(answers), _in_torch(module, inputs)
    same_split = bundle.manifest.provenance.get("split") == data.split_name
    several = data.y.dim() == 2  # labels, each answered by a sign
    same = (got > 0) == (expected > 0) if several else got.argmax(-1) == expected.argmax(-1)
    return Labels(
        data.name,
        data.metric_name,
        float(same.double().mean()),
        accuracies(got, data),
        accuracies(expected, data),
        dict(bundle.manifest.accuracy) if same_split else {},
        truncated,
    )


def _in_torch(module: torch.nn.Module, inputs: dict[str, Any]) -> Tensor:
    known = inspect.signature(module.forward).parameters
    with torch.no_grad():
        answer = copy.deepcopy(module).eval()(**{n: v for n, v in inputs.items() if n in known})
    if isinstance(answer, Mapping):
        answer = list(answer.values())
    return answer if isinstance(answer, Tensor) else answer[0]
