"""The shape of the repository: links, public names, contracts that no tool checks."""

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ["distill", "export", "kernels", "serve"]

folders = pytest.mark.parametrize("folder", FOLDERS)


@folders
def test_link_points_at_root_folder(folder: str) -> None:
    link = ROOT / "src" / "graphstill" / folder
    assert link.is_symlink(), f"{link} is no link; on Windows: git config core.symlinks true"
    assert link.resolve() == ROOT / folder


def test_the_package_folder_holds_nothing_else() -> None:
    names = {p.name for p in (ROOT / "src" / "graphstill").iterdir()} - {"__pycache__"}
    assert names == {"__init__.py", "__main__.py", "cli.py", "py.typed", *FOLDERS}


@folders
def test_public_names_are_there_and_documented(folder: str) -> None:
    package = importlib.import_module(f"graphstill.{folder}")
    assert sorted(package.__all__, key=str.lower) == sorted(
        dict.fromkeys(package.__all__), key=str.lower
    )
    for name in package.__all__:
        assert getattr(package, name).__doc__, name


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    export = importlib.import_module("graphstill.export")
    with pytest.raises(AttributeError, match="no attribute 'exprot'"):
        _ = export.exprot


PUBLIC = {
    "kernels": "CSRGraph GATConv GATv2Conv GCN2Conv GCNConv GINConv GraphConv HGTConv "
    "RGCNConv RelationalGraph Report SAGEConv SGConv TransformerConv accelerate dot_attention "
    "edge_l1 edge_softmax gat gatv2 gcn_norm rgcn sddmm sign spmm spmm_int8 with_triton_kernels",
    "distill": "Absorbed Architecture BatchSettings DataError DistillSettings Distiller "
    "HeteroNodeData Int8Simulation LogitKD NeighborLoader NeighborSampler NodeData "
    "Objective Observed OnlineSettings Pass Peer Pruned RelationalData Result Role Run "
    "Sample Split Supervised TapError Taps TeacherStore Term TrainSettings TrainingError "
    "accuracies agreement build call digits distill fingerprint fit fit_together fitting "
    "hidden_layers join load load_run methods observe one_layer_of parameters_of predict "
    "train train_together",
    "serve": "Blocks Bundle BundleError FileEntry Graph InputError Manifest NativeLibraryWarning "
    "ProviderError ServeError Session TensorSpec block_inputs in_degree quantise_features "
    "sample_blocks",
    "export": "About AgreementError CheckReport Difference Evidence ExportError MeasurementError "
    "PackageSession ParityReport QuantisationReport QuantiseSettings Report Row Scenario Settings "
    "check check_parity convert export export_aoti export_run measure open_session quantise "
    "rebuild",
}


@folders
def test_public_names_are_the_ones_listed(folder: str) -> None:
    package = importlib.import_module(f"graphstill.{folder}")
    assert sorted(package.__all__) == sorted(PUBLIC[folder].split())


def test_measuring_and_the_command_line_do_not_import_torch() -> None:
    code = (
        "import sys, graphstill.export, graphstill.export.worker, graphstill.export.targets\n"
        "import graphstill.cli\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def sources() -> list[Path]:
    found = [p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py")]
    return [*found, ROOT / "hatch_build.py"]


def test_nothing_is_unpickled_and_no_error_is_swallowed() -> None:
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler):
                assert not all(isinstance(line, ast.Pass) for line in node.body), path
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
                assert "pickle" not in names, path
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) not in {("torch", "load"), ("torch", "save")}


def test_files_stay_small() -> None:
    for path in sources():
        assert len(path.read_text().splitlines()) <= 420, path


def test_no_home_of_anybody_is_named() -> None:
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if tracked.returncode:
        pytest.skip("not a git checkout")
    home = os.path.expanduser("~") + os.sep
    for name in tracked.stdout.split():
        path = ROOT / name
        if path.is_file() and path.suffix not in {".png", ".svg"} and not path.is_symlink():
            text = path.read_text(encoding="utf-8")
            assert home not in text, name
            assert str(ROOT) + os.sep not in text, name
