"""What the commands share: options, data, printing, and what happens when something goes wrong."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:
    import numpy as np

    from ...distill import NodeData

out = Console()
err = Console(stderr=True)

_EXTRAS = {
    "torch": "train",
    "torch_geometric": "train",
    "sklearn": "train",
    "safetensors": "train",
    "onnx": "export",
    "onnxscript": "export",
    "matplotlib": "export",
    "jinja2": "export",
    "mlperf_loadgen": "export",
    "optuna": "study",
}

Data = Annotated[
    str,
    typer.Option(
        help="digits, cora, citeseer, pubmed, amazon-computers, amazon-photo, coauthor-cs, "
        "coauthor-physics, ppi, citation-multilabel, twitch, ogbn-arxiv, ogbn-products, or "
        "package.module:function for a function of yours that returns a PyG Data object."
    ),
]
Root = Annotated[
    Path | None,
    typer.Option(help="Folder with PyG's raw files, for machines without a network; only read."),
]
SplitSeed = Annotated[int, typer.Option(help="Seed of the split, where the data brings none.")]
Inductive = Annotated[
    float,
    typer.Option(help="Share of the test nodes that training does not see, nor their edges."),
]
Threads = Annotated[int | None, typer.Option(help="Threads; all processors if not given.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


@contextmanager
def guarded(after_interrupt: str = "") -> Iterator[None]:
    """Turn what a user can mend into one line on stderr and exit code 2."""
    try:
        yield
    except ModuleNotFoundError as missing:
        extra = _EXTRAS.get((missing.name or "").partition(".")[0])
        if extra is None:
            raise
        err.print(
            f"this needs {missing.name}: pip install 'graphstill[{extra}]'",
            markup=False,
            soft_wrap=True,
        )
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        said = f"interrupted; {after_interrupt}" if after_interrupt else "interrupted"
        err.print(said, markup=False, soft_wrap=True)
        raise typer.Exit(130) from None
    except (ValueError, OSError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not type(error).__module__.startswith("graphstill."):
            raise  # not one of ours: a defect, show where
        err.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(2) from None


@contextmanager
def steps(total: int, title: str) -> Iterator[Callable[[str], None]]:
    """Show how many of a number of steps are done; call what is given before each."""
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description} {task.completed}/{task.total}"),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )
    with bar:
        task = bar.add_task(title, total=total)

        def step(label: str) -> None:
            bar.update(task, advance=1, description=f"{title} {label}")

        yield step


def native_state() -> str:
    """Return where the C++ operators are, or why they are not in use."""
    from ...serve import native

    try:
        return native.library()
    except FileNotFoundError as reason:
        return f"not in use, {reason}"


def torch_kernels_state() -> str:
    """Return whether torch runs the C++ kernels, or why not."""
    if importlib.util.find_spec("torch") is None:
        return "not in use, torch is not installed"
    from ...kernels import native

    problem = native.problem()
    return f"not in use, {problem}" if problem else native.path()


def load_data(name: str, root: Path | None, seed: int, inductive: float = 0.0) -> "NodeData":
    """Load a data set by name; a share of its test nodes may be kept from training."""
    from ...distill import load

    loaded = load(name, root, seed=seed)
    return loaded.with_unseen(inductive, seed) if inductive else loaded


def load_inputs(
    data: str | None, root: Path | None, seed: int
) -> tuple[dict[str, Any] | None, "np.ndarray | None", "np.ndarray | None"]:
    """Return a call's inputs, and classes and test nodes where the data has them.

    Inputs are arrays, or dictionaries of arrays by type of nodes or edges.
    """
    if data is None:
        return None, None, None
    if data.endswith(".npz"):
        import numpy as np

        with np.load(data, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}, None, None
    from ..real_inputs import as_arrays, inputs_of

    loaded = load_data(data, root, seed)
    labels = loaded.y.numpy() if loaded.y.dim() == 1 else None
    return as_arrays(inputs_of(loaded)), labels, loaded.split.test.numpy()


def imported(path: str) -> Any:
    """Return what a function of the user's, package.module:function, returns."""
    import importlib

    sys.path.insert(0, str(Path.cwd()))
    module, _, function = path.partition(":")
    try:
        return getattr(importlib.import_module(module), function)()
    except (ImportError, AttributeError) as error:
        raise ValueError(f"cannot load {path}: {error}") from error
    finally:
        sys.path.remove(str(Path.cwd()))


def print_table(header: list[str], rows: list[list[str]], title: str = "") -> None:
    """Print a table, the first column to the left and the others to the right."""
    table = Table(title=title or None)
    for i, name in enumerate(header):
        # a name that does not fit is wrapped, never cut: two could look the same
        table.add_column(name, justify="left" if i == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    out.print(table)
