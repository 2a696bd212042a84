"""Reports against each other: what changed, if the intervals say so, and only where they may be."""

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from graphstill.cli import app
from graphstill.export.comparing import ComparisonError, compare, only_in_one, read_report
from graphstill.export.intervals import unpaired_ratio_interval


def report(**rows: list[float]) -> dict[str, Any]:
    return {
        "format": 1,
        "machine": {
            "processor": "P",
            "cores": 2,
            "python": "3.11",
            "versions": {"graphstill": "1", "onnxruntime": "1.31"},
            "time": "now",
        },
        "settings": {"threads": 2, "rounds": 3},
        "facts": {"data": "cora"},
        "rows": [
            {
                "label": label,
                "target": "t:t",
                "arguments": {"path": "p", "native": True},
                "rounds": [{"samples": [value, value, 9.0 * value]} for value in medians],
            }
            for label, medians in rows.items()
        ],
    }


STEADY = [1.0, 1.01, 0.99, 1.0, 1.02]


def test_rows_are_judged_by_their_interval() -> None:
    old = report(steady=STEADY, slower=STEADY, faster=STEADY, noisy=STEADY)
    new = report(
        faster=[0.5 * v for v in STEADY],
        noisy=[0.3, 4.0, 1.1, 0.6, 2.0],
        slower=[1.5 * v for v in STEADY],
        steady=STEADY[::-1],
    )
    found = {change.label: change for change in compare(old, new)}
    assert list(found) == ["faster", "noisy", "slower", "steady"]
    assert [change.verdict for change in found.values()] == [
        "faster",
        "no difference for certain",
        "slower",
        "no difference for certain",
    ]
    slower = found["slower"]
    assert slower.ratio == pytest.approx(1.5)
    assert (slower.old_seconds, slower.new_seconds) == (1.0, 1.5)
    assert slower.is_regression(0.4)
    assert not slower.is_regression(0.5)  # the interval reaches below what is allowed
    assert not found["noisy"].is_regression(0.0)


def test_one_round_decides_nothing() -> None:
    change = compare(report(a=[1.0]), report(a=[50.0]))[0]
    assert (change.low, change.high) == (0.0, math.inf)
    assert change.verdict == "no difference for certain"


def test_welchs_interval_by_hand() -> None:
    # logs 0, 1, 2 and 0, 0, 3, 3: means 1 and 1.5, variances 1 and 3
    a, b = [math.exp(v) for v in (0, 1, 2)], [math.exp(v) for v in (0, 0, 3, 3)]
    ratio, low, high = unpaired_ratio_interval(a, b)
    assert math.log(ratio) == pytest.approx(-0.5)
    # s² = 1/3 + 3/4, ν = s⁴ / ((1/3)²/2 + (3/4)²/3) = 4.8, and t of 4 is 2.7764451
    half = 2.7764451 * math.sqrt(1 / 3 + 3 / 4)
    assert math.log(low) == pytest.approx(-0.5 - half)
    assert math.log(high) == pytest.approx(-0.5 + half)


def test_an_unpaired_interval_covers_the_truth() -> None:
    rng, inside = np.random.default_rng(0), 0
    for _ in range(600):
        a, b = np.exp(rng.normal(0.3, 0.2, 5)), np.exp(rng.normal(0, 0.05, 8))
        _, low, high = unpaired_ratio_interval(list(a), list(b))
        inside += low <= math.exp(0.3) <= high
    assert 0.93 <= inside / 600 <= 0.99


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("machine", "processor"), "Q", "processor: 'P' in the old, 'Q' in the new"),
        (("machine", "cores"), 4, "cores: 2"),
        (("machine", "versions", "onnxruntime"), "1.32", "version of onnxruntime: '1.31'"),
        (("machine", "versions", "torch"), "2.13", "version of torch: None"),
        (("settings", "threads"), 1, "threads: 2"),
        (("settings", "scenario"), {"kind": "server"}, "scenario kind: None"),
        (("facts", "data"), "pubmed", "data: 'cora'"),
        (("rows", 0, "arguments", "native"), False, "a: native: True"),
    ],
)
def test_what_is_not_alike_is_refused_by_name(place: Any, value: Any, said: str) -> None:
    old = report(a=STEADY)
    new = copy.deepcopy(old)
    inner: Any = new
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    with pytest.raises(ComparisonError, match=said):
        compare(old, new)


def test_what_may_differ_does_not_matter() -> None:
    old = report(a=STEADY, gone=STEADY)
    new = copy.deepcopy(report(a=STEADY, fresh=STEADY))
    new["machine"]["versions"]["graphstill"] = "2"
    new["machine"]["time"] = "later"
    new["settings"]["rounds"] = 9
    new["rows"][0]["arguments"]["path"] = "elsewhere"
    assert [change.label for change in compare(old, new)] == ["a"]
    assert only_in_one(old, new) == ["fresh", "gone"]


def test_reports_without_a_row_in_common_are_refused() -> None:
    with pytest.raises(ComparisonError, match="no row in common"):
        compare(report(a=STEADY), report(b=STEADY))


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["bench", "--compare", *map(str, arguments)])


def test_the_command_exits_with_one_on_a_regression(tmp_path: Path) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text(json.dumps(report(a=STEADY, b=STEADY)))
    new.write_text(json.dumps(report(a=STEADY, b=[2 * v for v in STEADY])))
    worse = run(old, new)
    assert worse.exit_code == 1
    assert "slower by more than 5 %: b" in worse.output
    assert run(old, new, "--tolerance", 1.5).exit_code == 0
    assert run(new, old).exit_code == 0
    told = json.loads(run(old, new, "--json").output)
    assert told["regressions"] == ["b"]
    assert [row["verdict"] for row in told["rows"]] == ["no difference for certain", "slower"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"format": 0}', "no report of format 1 but of 0"),
        ("[]", "no report of format 1"),
        ("{", "is not JSON"),
    ],
)
def test_other_formats_are_refused(tmp_path: Path, text: str, said: str) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text(text)
    new.write_text(json.dumps(report(a=STEADY)))
    with pytest.raises(ComparisonError, match=said):
        read_report(old)
    refused = run(old, new)
    assert refused.exit_code == 2
    assert said in " ".join(refused.stderr.split())


def test_bench_needs_something_to_do() -> None:
    result = CliRunner().invoke(app, ["bench"])
    assert result.exit_code == 2
    assert "at least one bundle" in result.stderr
