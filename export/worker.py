"""The measured side of the harness: one process, one row.

    python -m graphstill.export.worker task.json

Reads what to measure, measures it phase by phase and writes the result next to the task. Nothing is
imported before the clock runs but the standard library.
"""

import importlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

CALM = 0.10  # windows agree when their medians differ by less
WINDOWS = 3
LONGEST = 60.0  # seconds of warm-up; calls of minutes have little left to warm


def main(task_path: str) -> None:
    """Measure one row in this process."""
    task = json.loads(Path(task_path).read_text())
    _pin(task["threads"])
    start = time.perf_counter()
    module, _, function = task["target"].partition(":")
    load = getattr(importlib.import_module(module), function)
    inputs = _read_inputs(task["inputs"])
    imported = time.perf_counter()
    call = load(inputs, task["threads"], **task["arguments"])
    loaded = time.perf_counter()
    if task["kind"] == "memory":
        result = measure_memory(call)
    else:
        first_call = call if task["scenario"] is None else partial(call.answer, [0])
        first_call()
        first = time.perf_counter()
        result = {
            "import_seconds": imported - start,
            "load_seconds": loaded - imported,
            "first_call_seconds": first - loaded,
            **_measure(call, task),
        }
    Path(task_path).with_suffix(".result").write_text(json.dumps(result))


def _measure(call: Any, task: dict[str, Any]) -> dict[str, Any]:
    enough = task["min_samples"], task["min_seconds"]
    if task["scenario"] is None:
        return measure_latency(call, *enough)
    calls, stable = _warm_up(call, max(task["min_seconds"], 0.2))
    scenario, seed = task["scenario"], task["round"]
    if scenario["kind"] == "phases":
        from .phases import measure_phases

        found = measure_phases(call, *enough, kept=scenario["kept"], seed=seed)
    else:
        from .scenarios import measure_scenario

        found = measure_scenario(call, scenario, *enough, seed=seed)
    return {**found, "warmup_calls": calls, "stable": stable}


def measure_latency(
    call: Callable[[], Any], min_samples: int, min_seconds: float
) -> dict[str, Any]:
    """Call until the time per call is stable, then take samples.

    Args:
        call: What is measured.
        min_samples: Fewest samples.
        min_seconds: Shortest time over which samples are taken.

    Returns:
        Samples in seconds, the number of warm-up calls, whether they became stable, and the energy
        of a call where the machine counts it.
    """
    from .energy import Meter

    budget = max(min_seconds, 0.2)
    warmup, stable = _warm_up(call, budget)
    meter = Meter()
    samples, start = [], time.perf_counter()
    while len(samples) < min_samples or time.perf_counter() - start < min_seconds:
        before = time.perf_counter()
        call()
        samples.append(time.perf_counter() - before)
    joules = meter.joules()
    energy = {} if joules is None else {"joules_per_call": joules / len(samples)}
    return {"samples": samples, "warmup_calls": warmup, "stable": stable, **energy}


def _warm_up(call: Callable[[], Any], budget: float) -> tuple[int, bool]:
    medians: list[float] = []
    calls, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < LONGEST:
        if spent >= 3 * budget and len(medians) >= WINDOWS:
            break
        window = []
        # a window has several calls, but a slow call is one of its own
        while len(window) < 3 and sum(window) < budget / 3:
            before = time.perf_counter()
            call()
            window.append(time.perf_counter() - before)
        calls += len(window)
        medians.append(statistics.median(window))
        last = medians[-WINDOWS:]
        if len(last) == WINDOWS and max(last) - min(last) <= CALM * min(last):
            return calls, True
    return calls, False


def measure_memory(call: Callable[[], Any]) -> dict[str, float]:
    """Return the process's memory before and at the peak of a few calls, in bytes.

    The kernel's own high-water mark is reset first, so that no peak is missed between two looks and
    loading does not count as calling.
    """
    loaded = _status("VmRSS")
    peak_of_loading = _status("VmHWM")
    Path("/proc/self/clear_refs").write_text("5")
    for _ in range(3):
        call()
    peak = _status("VmHWM")
    return {
        "loaded_bytes": loaded,
        "extra_bytes": peak - loaded,
        "peak_bytes": max(peak, peak_of_loading),
    }


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {key}")


def _read_inputs(path: str) -> dict[str, Any]:
    import numpy as np

    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _pin(threads: int) -> None:
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(threads)
    usable = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, usable[-threads:])


if __name__ == "__main__":
    main(sys.argv[1])
