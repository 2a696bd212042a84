"""Build hook: compiles serve/native into the ONNX Runtime operator library of a wheel.

Where there is no C++ compiler, or compiling fails, the wheel is pure Python and the exported models
run their portable function bodies; `graphstill --version` says which of the two an installation
has.
"""

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LIBRARY = Path("serve/native/libgraphstill_ort.so")
FLAGS = ["-O3", "-std=c++17", "-shared", "-fPIC", "-fvisibility=hidden", "-Wno-psabi", "-pthread"]


class NativeLibraryHook(BuildHookInterface):
    """Adds the compiled library to the wheel, or leaves the wheel pure."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before the wheel is packed; an sdist ships the source alone."""
        if self.target_name != "wheel":
            return
        library = Path(self.root) / LIBRARY
        problem = compile_library(library.parent, library)
        if problem:
            library.unlink(missing_ok=True)
            self.app.display_warning(f"graphstill: no C++ operators in this build: {problem}")
            return
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform}"
        build_data["artifacts"].append(f"/{LIBRARY}")


def compile_library(source: Path, library: Path) -> str:
    """Compile all of a folder into one library; return what went wrong, or nothing."""
    names = [os.environ.get("CXX", ""), "c++", "g++", "clang++"]
    compiler = next((found for name in names if name and (found := shutil.which(name))), None)
    if compiler is None:
        return "no C++ compiler found"
    partial = library.with_suffix(".partial")
    command = [compiler, *FLAGS, *map(str, sorted(source.glob("*.cpp"))), "-o", str(partial)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        partial.unlink(missing_ok=True)
        return next((line for line in result.stderr.splitlines() if "error" in line), "it failed")
    partial.replace(library)  # a session that has the old file open keeps it
    return ""
