"""Energy that the machine has counted, where it lets itself be read.

Counters are those of whole packages and devices: whatever else runs is in them. They are read
before and after, never in between.

References:
    Linux, "Power Capping Framework", https://docs.kernel.org/power/powercap/powercap.html
    NVML, nvmlDeviceGetTotalEnergyConsumption
"""

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")

# returns joules since some time in the past, and after how many joules it starts anew (0: never)
Counter = tuple[Callable[[], float], float]


def counters(powercap: Path = POWERCAP) -> tuple[list[Counter], str]:
    """Return what can be read, and in words what that is, or why it is nothing."""
    found, said = _rapl(powercap)
    devices, of_devices = _nvml()
    return found + devices, f"{said}; {of_devices}"


class Meter:
    """Joules between `start` and `joules`; None where nothing can be read."""

    def __init__(self, powercap: Path = POWERCAP) -> None:
        self._counters, self.said = counters(powercap)
        self.start()

    def start(self) -> None:
        """Begin to count."""
        self._before = [read() for read, _ in self._counters]

    def joules(self) -> float | None:
        """Return the energy since the start, of all counters together."""
        if not self._counters:
            return None
        after = [read() for read, _ in self._counters]
        return sum(
            now - before + (limit if now < before else 0.0)
            for now, before, (_, limit) in zip(after, self._before, self._counters, strict=True)
        )


def _rapl(powercap: Path) -> tuple[list[Counter], str]:
    # packages alone: what is below one is counted by it
    zones = sorted(p for p in powercap.glob("*-rapl:*") if p.name.count(":") == 1)
    if not zones:
        return [], f"no RAPL counters in {powercap}"
    try:
        found = [_zone(zone) for zone in zones]
        for read, _ in found:
            read()
    except OSError as error:
        return [], f"RAPL counters cannot be read: {error.strerror} ({error.filename})"
    return found, f"RAPL counters of {', '.join(zone.name for zone in zones)}"


def _zone(zone: Path) -> Counter:
    limit = int((zone / "max_energy_range_uj").read_text()) / 1e6
    return lambda: int((zone / "energy_uj").read_text()) / 1e6, limit


def _nvml() -> tuple[list[Counter], str]:
    if importlib.util.find_spec("pynvml") is None:
        return [], "no NVML (nvidia-ml-py is not installed)"
    nvml = importlib.import_module("pynvml")
    try:
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
        found = [_device(nvml, handle) for handle in handles]
        for read, _ in found:
            read()
    except nvml.NVMLError as error:
        return [], f"NVML cannot be read: {error}"
    return found, f"NVML counters of {len(found)} devices"


def _device(nvml: object, handle: object) -> Counter:
    read = nvml.nvmlDeviceGetTotalEnergyConsumption  # type: ignore[attr-defined]
    return lambda: read(handle) / 1e3, 0.0
