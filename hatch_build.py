"""Build hook: compiles the C++ kernels of torch and of ONNX Runtime into a wheel.

Each library is built for any processor of its kind and, on x86-64, once more for each level that
can be chosen when it is loaded. CXX and CXXFLAGS are heeded as in any C++ build. Where there is no
C++ compiler, or compiling fails, the wheel is pure Python: torch and the exported models then run
their portable forms, and `graphstill --version` says which of the two an installation has.
"""

import os
import platform
import shutil
import subprocess
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LIBRARIES = (Path("kernels/native/libgraphstill_torch"), Path("serve/native/libgraphstill_ort"))
LEVELS = ("", "x86-64-v3", "x86-64-v4") if platform.machine() == "x86_64" else ("",)
FLAGS = ["-O3", "-std=c++17", "-fPIC", "-fvisibility=hidden", "-Wno-psabi", "-pthread"]


class NativeLibraryHook(BuildHookInterface):
    """Adds the compiled libraries to the wheel, or leaves the wheel pure."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before the wheel is packed; an sdist ships the source alone."""
        if self.target_name != "wheel":
            return
        root = Path(self.root)
        problems = [compile_library(root / library) for library in LIBRARIES]
        if any(problems):
            self.app.display_warning(f"graphstill: C++ kernels are missing: {max(problems)}")
        tag = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        for library in LIBRARIES:
            for built in sorted(root.glob(f"{library}*.so")):
                build_data["pure_python"] = False
                build_data["tag"] = f"py3-none-{tag}"
                build_data["artifacts"].append(f"/{built.relative_to(root)}")


def compile_library(library: Path) -> str:
    """Compile the folder of a library, once for each level; return what went wrong, or nothing.

    Levels beyond the first are left out where the compiler does not know them.
    """
    for old in library.parent.glob(f"{library.name}*.so"):
        old.unlink()  # a process that has it open keeps it
    names = [os.environ.get("CXX", ""), "c++", "g++", "clang++"]
    compiler = next((found for name in names if name and (found := shutil.which(name))), None)
    if compiler is None:
        return "no C++ compiler found"
    with ThreadPoolExecutor(len(LEVELS)) as pool:
        problems = [*pool.map(lambda level: _compile(compiler, library, level), LEVELS)]
    return problems[0]


def _compile(compiler: str, library: Path, level: str) -> str:
    """Build one level; return what went wrong, or nothing."""
    target = library.with_name(f"{library.name}.{level}.so" if level else f"{library.name}.so")
    partial = target.with_suffix(".partial")
    command = [compiler, *FLAGS, *([f"-march={level}"] if level else [])]
    command += os.environ.get("CXXFLAGS", "").split()
    with tempfile.TemporaryDirectory() as folder:
        objects = []
        for source in sorted(library.parent.glob("*.cpp")):
            objects.append(f"{folder}/{source.stem}.o")
            problem = _run([*command, "-c", str(source), "-o", objects[-1]])
            if problem:
                return problem
        problem = _run([*command, "-shared", *objects, "-o", str(partial), "-ldl"])
    if not problem:
        partial.replace(target)
    return problem


def _run(command: list[str]) -> str:
    """Run a compiler; return its first error, or nothing."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode == 0:
        return ""
    return next((line for line in result.stderr.splitlines() if "error" in line), "it failed")
