"""The wheel: from the sdist, without torch, with and without a compiler or the library."""

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from torch_geometric import nn as pyg

from graphstill.export import export

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = (
    "graphstill/kernels/native/libgraphstill_torch",
    "graphstill/serve/native/libgraphstill_ort",
)

# by its path: with the root on sys.path our folders would shadow packages of the same names
_spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
assert _spec is not None
assert _spec.loader is not None
hatch_build = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(hatch_build)


def build(out: Path, *, path: str | None = None) -> Path:
    """Build sdist and wheel of a copy of the tree, with only `path` to find a compiler in."""
    tree = out / "tree"
    ignored = shutil.ignore_patterns(".venv", ".git", "*.so", "__pycache__", "demo", "runs")
    shutil.copytree(ROOT, tree, symlinks=True, ignore=ignored)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(tree)]
    environment = {**os.environ, "CXXFLAGS": "-O0"}  # quickly: what is fast is tested elsewhere
    environment |= {"PATH": path, "CXX": ""} if path is not None else {}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = out.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "b"
    torch.manual_seed(0)
    export(pyg.GAT(6, 8, 2, 3, heads=2), (torch.rand(4, 6), torch.randint(0, 4, (2, 9))), path)
    return path


@pytest.mark.slow
def test_the_wheel_holds_all_folders_and_the_libraries(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for name in (
        "kernels/ops/spmm.py",
        "distill/methods/abkd.py",
        "export/page.html.j2",
        "export/formats/page/index.html",
        "serve/session.py",
        "serve/native/cuda/library.cpp",
    ):
        assert f"graphstill/{name}" in names
    levels = ["", ".x86-64-v3", ".x86-64-v4"] if os.uname().machine == "x86_64" else [""]
    built = {name for name in names if name.endswith(".so")}
    assert built == {f"{library}{level}.so" for library in LIBRARIES for level in levels}
    assert wheel.name.startswith("graphstill-")
    assert "py3-none-linux" in wheel.name
    assert not any(name.startswith(("kernels/", "tests/", "src/")) for name in names)


def test_without_a_compiler_the_wheel_is_pure(tmp_path: Path) -> None:
    wheel = build(tmp_path, path="")
    assert wheel.name.endswith("-py3-none-any.whl")
    assert not any(name.endswith(".so") for name in zipfile.ZipFile(wheel).namelist())


def test_a_source_that_does_not_compile_says_why(tmp_path: Path) -> None:
    (tmp_path / "broken.cpp").write_text("int main( {")
    said = hatch_build.compile_library(tmp_path / "lib")
    assert "error" in said
    assert [p.name for p in tmp_path.iterdir()] == ["broken.cpp"]


@pytest.mark.slow
def test_a_bundle_runs_where_there_is_no_torch(wheel: Path, bundle: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", str(wheel)], check=True)
    installed = subprocess.run(
        [python, "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True, check=True
    ).stdout
    assert "torch" not in installed
    assert "onnx==" not in installed

    def embed() -> subprocess.CompletedProcess[str]:
        command = [python, str(ROOT / "examples" / "embed.py"), str(bundle)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)

    with_library = embed()
    assert with_library.stdout.count("class") == 5
    assert with_library.stderr == ""
    (library,) = (tmp_path / "venv").rglob("libgraphstill_ort.so")
    library.unlink()
    without = embed()
    assert without.stdout == with_library.stdout
    assert "C++ operators are not in use" in without.stderr
    said = subprocess.run(
        [tmp_path / "venv" / "bin" / "graphstill"], capture_output=True, text=True, check=False
    )
    assert said.returncode == 2
    assert "pip install 'graphstill[cli]'" in said.stderr


@pytest.mark.slow
@pytest.mark.parametrize("level", ["", ".x86-64-v3", ".x86-64-v4"])
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="instruction sets of x86-64")
def test_all_instruction_sets_compute_the_same(level: str, tmp_path: Path) -> None:
    torch_library, ort_library = (
        ROOT / f"{library.removeprefix('graphstill/')}{level}.so" for library in LIBRARIES
    )
    if level > _level(torch_library.with_name("libgraphstill_torch.so")):
        pytest.skip(f"this processor does not know {level}")
    alone = Path(shutil.copy(torch_library, tmp_path / "alone.so"))  # no better build beside it
    environment = {
        **os.environ,
        "GRAPHSTILL_TEST_TORCH_LIBRARY": str(alone),
        "GRAPHSTILL_TEST_LIBRARY": str(ort_library),
    }
    tests = [
        ROOT / "tests" / name
        for name in (
            "export/test_gatv2_updates.py",
            "export/test_onnx_int8.py",
            "export/test_onnx_operators.py",
            "kernels/test_native.py",
        )
    ]
    names = "test_spmm or test_it_at_every_width or test_onnx_int8"
    chosen = f"test_native or (C++ and ({names}) and not portable and not threads2)"
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-k", chosen, *map(str, tests)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout


def _level(library: Path) -> str:
    """Return what a library says the processor has, as file names have it."""
    loaded = ctypes.CDLL(str(library))
    loaded.graphstill_level.restype = ctypes.c_char_p
    return f".{loaded.graphstill_level().decode()}"
