"""The machine that something was measured on."""

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .energy import counters


def describe_machine() -> dict[str, Any]:
    """Return what the numbers depend on: processor, memory, system, versions, load."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in info if "model name" in line), "")
    page, pages = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES")
    packages = ("graphstill", "onnxruntime", "numpy", "torch", "torch_geometric")
    return {
        "processor": model or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": page * pages,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "versions": {name: found for name in packages if (found := version_of(name))},
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "energy": counters()[1],
        "load_before": os.getloadavg()[0],
    }


def version_of(name: str) -> str:
    """Return the version of a package, "" where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
