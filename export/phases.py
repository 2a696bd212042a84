"""Phases: where the time of a request goes, and how it grows with what the request sees.

Requests of all sizes and popularities take turns, one after the other. Each is sampled, fetched,
run and serialised, and each of these is timed. Serialising makes the body that the Open Inference
Protocol answers with in JSON; there is no network in it. On a CPU features are read where they were
gathered, so copying to a device is no phase.

Reference: Open Inference Protocol v2, https://github.com/kserve/open-inference-protocol
"""

import json
import time
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

PHASES = ("sample", "fetch", "model", "serialise")


class System(Protocol):
    """What answers requests in phases; see `neighbourhoods.Neighbourhoods`."""

    count: int

    def sample(self, requests: Sequence[int]) -> Any:
        """Cut out what the nodes of some requests see."""
        ...

    def fetch(self, part: Any) -> Any:
        """Gather features."""
        ...

    def run(self, part: Any, feeds: Any) -> Sequence[np.ndarray]:
        """Run the model."""
        ...

    def size(self, part: Any) -> tuple[int, int]:
        """Return the nodes and edges of a neighbourhood."""
        ...


def measure_phases(
    system: System, min_samples: int, min_seconds: float, *, kept: int, seed: int
) -> dict[str, Any]:
    """Time every request in phases, in an order of its own each time round.

    Args:
        system: What answers.
        min_samples: Fewest requests to time; every one is timed equally often.
        min_seconds: Shortest time of sampling.
        kept: How many answers to keep.
        seed: Seed of the order.

    Returns:
        samples (seconds of whole requests), the request of each, seconds of each phase, nodes and
        edges that each request sees, and kept answers.
    """
    rng = np.random.default_rng(seed)
    times, order, sizes, answers = [], [], {}, []
    start = time.perf_counter()
    while len(order) < min_samples or time.perf_counter() - start < min_seconds:
        for request in rng.permutation(system.count).tolist():
            marks, part, answer = _timed(system, request)
            times.append(np.diff(marks))
            order.append(request)
            sizes[request] = system.size(part)
            if len(answers) < kept:
                answers.append((request, np.ravel(answer).tolist()))
    of_phase = np.array(times).T
    return {
        "samples": of_phase.sum(axis=0).tolist(),
        "requests": order,
        "phases": dict(zip(PHASES, of_phase.tolist(), strict=True)),
        "sizes": [list(sizes[request]) for request in range(system.count)],
        "answers": answers,
    }


def _timed(system: System, request: int) -> tuple[list[float], Any, np.ndarray]:
    """Return when each phase began and the last one ended, the neighbourhood, and the answer."""
    marks = [time.perf_counter()]
    part = system.sample([request])
    marks.append(time.perf_counter())
    feeds = system.fetch(part)
    marks.append(time.perf_counter())
    answer = system.run(part, feeds)[0]
    marks.append(time.perf_counter())
    serialise("model", "logits", answer)
    marks.append(time.perf_counter())
    return marks, part, answer


def serialise(model: str, output: str, values: np.ndarray) -> bytes:
    """Return the body of an answer in JSON, as the Open Inference Protocol v2 has it."""
    tensor = {
        "name": output,
        "datatype": "FP32",
        "shape": list(values.shape),
        "data": values.ravel().tolist(),
    }
    return json.dumps({"model_name": model, "outputs": [tensor]}).encode()
