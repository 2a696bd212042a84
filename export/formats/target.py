"""What a package of machine code was made for, and whether that is what it is to run on.

A package calls into the torch it was compiled with, and holds instructions of the processor it was
compiled on. Another torch may read memory where there is something else by now, and another
processor ends the process at the first instruction it does not know: both are refused beforehand.
"""

import platform
import re
from pathlib import Path
from typing import Any

import torch

from ...serve import BundleError, Manifest, ProviderError

FORMAT, MODEL = "aoti", "model.pt2"

# families of instructions that a compiler chooses from
_INSTRUCTIONS = re.compile(r"avx|sse4_|fma$|f16c|bmi|amx|adx|gfni|vaes|asimd|sve|i8mm|bf16|fphp")


def describe(device: str) -> dict[str, Any]:
    """Return what a package that is compiled here is for, as the manifest's `target` has it."""
    target = {
        "format": FORMAT,
        "model": MODEL,
        "device": device,
        "torch": _torch_version(),
        "machine": platform.machine(),
        "instructions": instructions(),
    }
    if target["device"] == "cuda":
        target |= {"cuda": torch.version.cuda, "capability": _capability()}
    return target


def check(manifest: Manifest) -> str:
    """Return the device a package runs on.

    Raises:
        BundleError: If the bundle is of another format, or compiled for another torch or processor.
        ProviderError: If it is for a CUDA device, and torch sees none.
    """
    target = manifest.target or {}
    if target.get("format") != FORMAT:
        raise BundleError(f"the bundle holds {manifest.model}, which is no package of AOTInductor")
    if target.get("torch") != _torch_version():
        raise BundleError(
            f"the package was compiled with torch {target.get('torch')}, this is torch "
            f"{_torch_version()}; install that one, or export again"
        )
    needed = target.get("instructions")
    if not isinstance(needed, list):
        raise BundleError(f"the manifest does not say what processor {manifest.model} is for")
    missing = set(map(str, needed)) - set(instructions())
    if target.get("machine") != platform.machine() or missing:
        lacks = f"lacks {', '.join(sorted(missing))}" if missing else f"is {platform.machine()}"
        raise BundleError(
            f"the package was compiled for a processor ({target.get('machine')}) that this one is "
            f"not: it {lacks}; export again on a machine like this one"
        )
    return "cpu" if target.get("device") == "cpu" else _cuda(target)


def instructions() -> list[str]:
    """Return the families of instructions that this processor knows."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    known = next((line for line in lines if re.match(r"flags|Features", line)), "")
    return sorted(filter(_INSTRUCTIONS.match, known.partition(":")[2].split()))


def _cuda(target: dict[str, Any]) -> str:
    if not torch.cuda.is_available():
        raise ProviderError("the package is for a CUDA device, and torch sees none here")
    here = {"cuda": torch.version.cuda, "capability": _capability()}
    differs = [name for name, value in here.items() if target.get(name) != value]
    if differs:
        raise BundleError(
            f"the package was compiled for {differs[0]} {target.get(differs[0])}, this is "
            f"{here[differs[0]]}; export again on a machine like this one"
        )
    return "cuda"


def _torch_version() -> str:
    return torch.__version__.partition("+")[0]


def _capability() -> str:
    return "{}.{}".format(*torch.cuda.get_device_capability())
