"""The workbench: candidates are counted, exported, timed and trained, in this order.

A candidate is put aside at the first limit it passes. Latency and size do not depend on what the
parameters are, so a network is exported and timed before anything is spent on training it. What is
found out is kept in the candidate's folder, whatever the limits are at that time:

    facts.json    bytes, latency with raw samples, what validation says
    run/          run directory; test labels are not read for it
"""

import json
import statistics
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ...distill import Architecture, NodeData, Result, Run, build
from ...distill.checkpoint import write_in_one_step
from ...distill.directory import load_finished
from ...distill.distillation import teach
from ...distill.errors import DivergedError
from ...serve import Bundle
from ..harness import measure
from ..manifests import count_parameters
from ..report import Row, Settings
from ..runs import export_run
from .front import Facts, is_within
from .settings import BudgetSettings, Candidate, Measuring

FACTS, RUN = "facts.json", "run"
_QUICK: dict[str, Any] = {"rounds": 2, "min_samples": 5, "min_seconds": 0.1}


class Workbench:
    """Finds out what candidates are worth.

    Args:
        teacher: Whom they learn from.
        data: The data. Only what it shows to training is used.
        settings: The search.
        folder: Where candidates' folders are.
        progress: Whether to show a progress bar of each training on a terminal.
    """

    def __init__(
        self,
        teacher: Run,
        data: NodeData,
        settings: BudgetSettings,
        folder: Path,
        *,
        progress: bool = True,
    ) -> None:
        self.teacher, self.data, self.settings = teacher, data, settings
        self.folder, self.progress = folder, progress
        self.inputs = {"x": data.x.numpy(), "edge_index": data.edge_index.numpy()}

    def architecture(self, candidate: Candidate) -> Architecture:
        """Return the network of a candidate."""
        return self.settings.space.architecture(candidate, self.data)

    def parameters(self, candidate: Candidate) -> int:
        """Return the number of parameters, counted in the network itself."""
        return count_parameters(build(self.architecture(candidate), fused=False))

    def examine(self, candidate: Candidate) -> Facts:
        """Find out all there is to know of a candidate, or until it passes a limit."""
        facts = Facts(candidate, self.parameters(candidate))
        for find_out in (self._probe, self._training):
            if not is_within(facts, self.settings.limits):
                break
            facts = replace(facts, **find_out(candidate))
        return facts

    def run_directory(self, candidate: Candidate) -> Path:
        """Return where a candidate is trained."""
        return self.folder / candidate.folder / RUN

    def export(self, candidate: Candidate, path: Path) -> Bundle:
        """Export a trained candidate; of its accuracies validation's alone is known."""
        architecture = self.architecture(candidate)
        module = build(architecture, fused=False)
        result = load_finished(module, self.run_directory(candidate))
        provenance = {
            "data": self.data.name,
            "split": self.data.split_name,
            "method": self.settings.method.name,
            "seed": self.settings.train.seed,
            "best_epoch": result.epoch,
            "epochs": result.epochs,
            "teacher": self.teacher.architecture.name,
        }
        names = list(self.data.class_names) if self.data.class_names else None
        accuracy = {"val": result.val_accuracy}
        transform = self.data.feature_transform
        run = Run(module, architecture, accuracy, provenance, names, transform)
        return export_run(run, path)

    def _probe(self, candidate: Candidate) -> dict[str, Any]:
        """Return bytes and, if they are within the limit, latency."""
        kept, limit = kept_facts(self.folder, candidate), self.settings.limits.bytes
        fits = limit is None or kept.get("bytes", 0) <= limit
        if "bytes" not in kept or (fits and "rounds" not in kept):
            with tempfile.TemporaryDirectory() as folder:
                bundle = self._untrained(candidate, Path(folder) / "bundle")
                kept = self._keep(candidate, {"bytes": bundle.size_bytes})
                if limit is None or bundle.size_bytes <= limit:
                    kept = self._keep(candidate, {"rounds": self._time(bundle)})
        if "rounds" not in kept:
            return {"bytes": kept["bytes"]}
        # of two rounds the quieter one: nothing is put aside for what else the machine did
        seconds = min(statistics.median(r["samples"]) for r in kept["rounds"])
        return {"bytes": kept["bytes"], "latency_seconds": seconds}

    def _time(self, bundle: Bundle) -> list[dict[str, Any]]:
        row = bundle_row("candidate", bundle, self.settings.measuring)
        settings = Settings(self.settings.measuring.threads, **_QUICK)
        return measure([row], self.inputs, settings).rows[0].rounds

    def _training(self, candidate: Candidate) -> dict[str, Any]:
        kept = kept_facts(self.folder, candidate)
        if "trained" not in kept and "problem" not in kept:
            start = time.perf_counter()
            try:
                result = self._teach(candidate)
            except DivergedError as error:
                kept = self._keep(candidate, {"problem": str(error)})
            else:
                seconds = time.perf_counter() - start
                kept = self._keep(candidate, {"trained": {**asdict(result), "seconds": seconds}})
        if "problem" in kept:
            return {"problem": kept["problem"]}
        return {"val_accuracy": kept["trained"]["val_accuracy"]}

    def _teach(self, candidate: Candidate) -> Result:
        taught = teach(
            self.teacher,
            self.architecture(candidate),
            self.data,
            self.settings.train,
            self.settings.method,
            directory=self.run_directory(candidate),
            progress=self.progress,
        )
        return taught.result

    def _untrained(self, candidate: Candidate, path: Path) -> Bundle:
        architecture = self.architecture(candidate)
        provenance = {"method": "not trained, for measuring"}
        return export_run(Run(build(architecture).eval(), architecture, {}, provenance), path)

    def _keep(self, candidate: Candidate, found: dict[str, Any]) -> dict[str, Any]:
        kept = {**kept_facts(self.folder, candidate), **found}
        text = json.dumps(kept) + "\n"
        write_in_one_step(self.folder / candidate.folder / FACTS, text.encode())
        return kept


def kept_facts(folder: Path, candidate: Candidate) -> dict[str, Any]:
    """Return what is kept of a candidate, raw samples included."""
    path = folder / candidate.folder / FACTS
    return json.loads(path.read_text()) if path.is_file() else {}


def bundle_row(label: str, bundle: Bundle, measuring: Measuring) -> Row:
    """Return the row that measures a bundle."""
    arguments = {"path": str(bundle.path), "prepared": measuring.prepared}
    return Row(label, "graphstill.export.targets:bundle", arguments)
