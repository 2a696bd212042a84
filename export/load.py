"""MLPerf LoadGen around anything that answers for samples by their number.

One `run_load` is one LoadGen test: it issues queries, waits for the answers and says whether the
test was valid. Latency is counted from the time a query was scheduled for, not from when it could
be issued, so that a system that stalls shows it in every query that had to wait (no coordinated
omission). Every latency comes from LoadGen's own trace, every kept answer from its accuracy log.

Reference: Reddi et al., "MLPerf Inference Benchmark", ISCA 2020, https://arxiv.org/abs/1911.02549
"""

import json
import queue
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlperf_loadgen as loadgen
import numpy as np

# the numbers of samples in, an array of float32 for each out
Answer = Callable[[Sequence[int]], Sequence[np.ndarray]]

_SCENARIOS = {
    "single-stream": loadgen.TestScenario.SingleStream,
    "server": loadgen.TestScenario.Server,
    "offline": loadgen.TestScenario.Offline,
}


@dataclass(frozen=True)
class Load:
    """What LoadGen issues.

    Attributes:
        scenario: "single-stream", one query after the other; "server", queries that arrive at
            random times (Poisson); "offline", one query with all samples.
        seconds: Shortest duration.
        min_queries: Fewest queries; offline, fewest samples.
        expected_seconds: About how long a query takes, for LoadGen to prepare enough of them.
        rate: Queries a second of the server scenario.
        slo_seconds: What the percentile must meet in the server scenario.
        percentile: Which percentile.
        seed: Seed of arrivals and of the order of samples.
        repeated: The one sample to issue again and again; all in turn if None.
        batch: How many samples of an offline query are answered together.
        kept: About how many answers to keep.
    """

    scenario: str
    seconds: float
    min_queries: int
    expected_seconds: float = 1e-3
    rate: float = 1.0
    slo_seconds: float = 1.0
    percentile: int = 99
    seed: int = 0
    repeated: int | None = None
    batch: int = 1
    kept: int = 0


@dataclass(frozen=True)
class LoadResult:
    """What one LoadGen test found.

    Attributes:
        valid: LoadGen's verdict: long enough, enough queries, limits met with 99 % confidence.
        why: What LoadGen says where it is not.
        samples: Number of each sample in the order of issue.
        latencies: How long each took in seconds, from the time it was scheduled for.
        rate: Answers a second.
        answers: Kept answers, as number of the sample and values.
    """

    valid: bool
    why: str
    samples: list[int]
    latencies: list[float]
    rate: float
    answers: list[tuple[int, list[float]]]


def run_load(answer: Answer, num_samples: int, load: Load) -> LoadResult:
    """Run one LoadGen test in this process.

    Args:
        answer: The system under test.
        num_samples: It answers for samples 0 to num_samples - 1.
        load: What to issue.

    Raises:
        Exception: Whatever `answer` raised, after LoadGen has finished.
    """
    failures: list[BaseException] = []
    system = _System(answer, load, failures)
    sut = loadgen.ConstructSUT(system.issue, lambda: None)
    library = loadgen.ConstructQSL(num_samples, num_samples, lambda _: None, lambda _: None)
    try:
        with tempfile.TemporaryDirectory() as folder:
            with system:
                loadgen.StartTestWithLogSettings(sut, library, _settings(load), _logs(folder))
            if failures:
                raise failures[0]
            return _read(Path(folder))
    finally:
        loadgen.DestroyQSL(library)
        loadgen.DestroySUT(sut)


class _System:
    """Answers queries: in LoadGen's own thread, or in the server scenario in one of its own."""

    def __init__(self, answer: Answer, load: Load, failures: list[BaseException]) -> None:
        self._answer, self._batch, self._failures = answer, load.batch, failures
        self._waiting: queue.SimpleQueue[Any] | None = None
        if load.scenario == "server":
            self._waiting = queue.SimpleQueue()
            self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> None:
        if self._waiting is not None:
            self._thread.start()

    def __exit__(self, *_: object) -> None:
        if self._waiting is not None:
            self._waiting.put(None)
            self._thread.join()

    def issue(self, samples: Sequence[Any]) -> None:
        asked = [(sample.id, sample.index) for sample in samples]
        if self._waiting is not None:
            self._waiting.put(asked)
            return
        for first in range(0, len(asked), self._batch):
            self._complete(asked[first : first + self._batch])

    def _serve(self) -> None:
        waiting = self._waiting
        assert waiting is not None
        while (asked := waiting.get()) is not None:
            self._complete(asked)

    def _complete(self, asked: Sequence[tuple[int, int]]) -> None:
        try:
            if self._failures:  # the rest is only to bring the test to its end
                raise self._failures[0]
            found = self._answer([index for _, index in asked])
            arrays = [np.ascontiguousarray(values, np.float32) for values in found]
        except BaseException as error:
            self._failures.append(error)
            arrays = [np.zeros(0, np.float32)] * len(asked)
        # LoadGen copies what it keeps before this returns
        loadgen.QuerySamplesComplete(
            [
                loadgen.QuerySampleResponse(id_, array.ctypes.data, array.nbytes)
                for (id_, _), array in zip(asked, arrays, strict=True)
            ]
        )


def _settings(load: Load) -> Any:
    settings = loadgen.TestSettings()
    settings.scenario = _SCENARIOS[load.scenario]
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms = max(1, round(1e3 * load.seconds))
    settings.min_query_count = load.min_queries
    settings.single_stream_target_latency_percentile = load.percentile / 100
    settings.single_stream_expected_latency_ns = max(1, int(1e9 * load.expected_seconds))
    settings.server_target_qps = load.rate
    settings.server_target_latency_ns = int(1e9 * load.slo_seconds)
    settings.server_target_latency_percentile = load.percentile / 100
    settings.offline_expected_qps = 1 / load.expected_seconds
    # every sample equally often, in an order of its own each time round: sizes differ
    settings.sample_concatenate_permutation = load.repeated is None
    settings.performance_issue_same = load.repeated is not None
    settings.performance_issue_same_index = load.repeated or 0
    for name in ("qsl", "sample_index", "schedule", "accuracy_log"):
        setattr(settings, f"{name}_rng_seed", load.seed)
    settings.accuracy_log_sampling_target = load.kept
    return settings


def _logs(folder: str) -> Any:
    output = loadgen.LogOutputSettings()
    output.outdir = folder
    output.copy_summary_to_stdout = False
    logs = loadgen.LogSettings()
    logs.log_output = output
    logs.enable_trace = True
    return logs


def _read(folder: Path) -> LoadResult:
    details = dict(_details(folder / "mlperf_log_detail.txt"))
    issued = sorted(_issued(folder / "mlperf_log_trace.json"))
    latencies = [nanoseconds / 1e9 for _, _, nanoseconds in issued]
    rates = ("samples_per_second", "completed_samples_per_sec", "qps_with_loadgen_overhead")
    rate = next(details[f"result_{name}"] for name in rates if f"result_{name}" in details)
    valid = details["result_validity"] == "VALID" and details["num_errors"] == 0
    reasons = [details.get(key) for key in ("result_invalid_reason", "early_stopping_result")]
    why = "" if valid else " ".join(str(reason) for reason in reasons if reason)
    samples = [index for _, index, _ in issued]
    answers = list(_answers(folder / "mlperf_log_accuracy.json"))
    return LoadResult(valid, " ".join(why.split()), samples, latencies, rate, answers)


def _details(path: Path) -> Any:
    for line in path.read_text().splitlines():
        entry = json.loads(line.removeprefix(":::MLLOG "))
        yield entry["key"], entry["value"]


def _issued(path: Path) -> Any:
    """Yield place in the order of issue, sample, and nanoseconds since it was scheduled."""
    # other lines of the trace are not always JSON
    for line in path.read_text().splitlines():
        if line.startswith('{"name":"Sample","cat":"default","ph":"b"'):
            found = json.loads(line.rstrip(","))["args"]
            yield found["sample_seq"], found["sample_idx"], found["complete_ns"]


def _answers(path: Path) -> Any:
    for entry in json.loads(path.read_text() or "[]"):
        values = np.frombuffer(bytes.fromhex(entry["data"]), np.float32)
        yield entry["qsl_idx"], values.tolist()
