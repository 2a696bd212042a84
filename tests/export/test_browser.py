"""Pages in a real browser: what they answer is what Session answers.

Needs chromium, its driver and npm, which `.ci/run` installs and insists on; elsewhere skipped
without them.
"""

import functools
import http.server
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from torch_geometric import nn as pyg
from torch_geometric.nn.models import MLP

from graphstill.distill import Architecture, Run, build
from graphstill.export import About, convert, export, export_run
from graphstill.export.formats import npm
from graphstill.export.formats.samples import Sample
from graphstill.serve import Bundle, Session

pytestmark = pytest.mark.slow

X = torch.randn(9, 12)
EDGES = torch.randint(0, 9, (2, 17))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export(pyg.GCN(12, 16, 2, 5), (X, EDGES), tmp_path_factory.mktemp("web") / "b")


def _found(*names: str) -> str | None:
    return next((path for name in names if (path := shutil.which(name))), None)


class Page:
    """An open page, and the server of its files."""

    def __init__(self, driver: webdriver.Chrome, folder: Path) -> None:
        handler = functools.partial(QuietHandler, directory=str(folder))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.driver, self.requested = driver, list[str]()
        driver.get(f"http://127.0.0.1:{self.server.server_port}/index.html")
        state = (
            "return document.body.dataset.ready || document.getElementById('problem').textContent"
        )
        WebDriverWait(driver, 120).until(lambda d: d.execute_script(state))
        assert driver.execute_script(state) == "true"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def text(self, name: str) -> str:
        return self.driver.find_element(By.ID, name).text

    def click(self, name: str) -> None:
        self.driver.find_element(By.ID, name).click()

    def logits(self) -> np.ndarray:
        """Return what the model answered for the graph that is shown."""
        script = (
            "const done = arguments[arguments.length - 1];"
            "import('./page.js').then((page) => { const { data, width } = page.current();"
            "done([[...data], width]); });"
        )
        data, width = self.driver.execute_async_script(script)
        return np.array(data, np.float32).reshape(-1, width)

    def run(self, value: object) -> None:
        """Run JSON of one's own, and wait for the answer or the complaint."""
        self.driver.execute_script(
            "const at = (id) => document.getElementById(id); at('own').value = arguments[0];"
            "at('answers').hidden = at('own-problem').hidden = true;",
            value if isinstance(value, str) else json.dumps(value),
        )
        self.click("run")
        shown = (
            "return !document.getElementById('answers').hidden || "
            "!document.getElementById('own-problem').hidden"
        )
        WebDriverWait(self.driver, 60).until(lambda d: d.execute_script(shown))

    def said(self) -> list[str]:
        """Return what the browser's console shows: errors, warnings, broken security policies."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def hosts(self) -> set[str]:
        """Return where anything was loaded from."""
        script = (
            "return performance.getEntries().map((e) => e.name).filter((n) => /^\\w+:/.test(n))"
        )
        return {name.split("/")[2] for name in self.driver.execute_script(script)}


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    browser, tools = _found("chromium", "google-chrome"), _found("chromedriver")
    if browser is None or _found("npm") is None:
        missing = "a browser and npm are needed: apt-get install chromium chromium-driver npm"
        assert "GRAPHSTILL_BROWSER" not in os.environ, missing
        pytest.skip(missing)
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1200,1100"):
        options.add_argument(flag)
    options.add_argument("--disable-background-networking")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=tools) if tools else None
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


def assert_same(found: np.ndarray, expected: np.ndarray) -> None:
    # untrained answers are small: what counts is the error beside them
    atol = min(1e-4, 1e-5 * float(np.abs(expected).max()))
    np.testing.assert_allclose(found, expected, atol=atol, rtol=0)


Open = Callable[..., Page]


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The npm package, fetched once as `export` fetches it."""
    folder = tmp_path_factory.mktemp("ort")
    (folder / "dist").mkdir()
    files = npm.runtime_files(None)
    for name in npm.FILES:
        (folder / name).write_bytes(files[Path(name).name])
    return folder


@pytest.fixture
def opened(driver: webdriver.Chrome, runtime: Path, tmp_path: Path) -> Iterator[Open]:
    pages = list[Page]()

    def open_page(bundle: Bundle, graph: Sample | None = None) -> Page:
        folder = tmp_path / f"page-{len(pages)}"
        convert(bundle, folder, format="web", sample=graph, onnxruntime_web=runtime)
        pages.append(Page(driver, folder))
        return pages[-1]

    yield open_page
    for page in pages:
        page.close()


def citations() -> Sample:
    """A graph of Cora's size and sparsity, and features like its: few words of many."""
    random = np.random.default_rng(0)
    x = np.zeros((2708, 1433), np.float32)
    for row in x:
        row[random.choice(1433, 18, replace=False)] = 1 / 18
    source = (2708 * random.random(10556) ** 2).astype(np.int64)
    target = random.integers(0, 2708, 10556)
    classes, test = random.integers(0, 7, 2708), np.arange(1708, 2708)
    return Sample("citations", {"x": x, "edge_index": np.stack([source, target])}, classes, test)


@pytest.mark.parametrize("kind", [pyg.GCN, pyg.GAT, pyg.GraphSAGE])
def test_the_browser_answers_as_the_session_does(
    kind: type[torch.nn.Module], opened: Open, tmp_path: Path
) -> None:
    graph = citations()
    about = About(class_names=[f"subject {k}" for k in range(7)])
    tensors = {name: torch.from_numpy(value) for name, value in graph.inputs.items()}
    bundle = export(kind(1433, 64, 2, 7), tensors, tmp_path / "b", about=about)
    page = opened(bundle, graph)
    expected = Session(bundle)(graph.inputs)["logits"]
    assert_same(page.logits(), expected)
    right = (expected.argmax(1) == graph.classes)[graph.test].mean()
    facts = page.text("facts")
    assert re.search(r"Nodes\s+2,708\s+Edges\s+10,556", facts)
    assert f"{100 * right:.1f}".removesuffix(".0") + " %" in facts
    page.driver.execute_script(
        "const node = document.getElementById('node'); node.value = 5;"
        "node.dispatchEvent(new Event('input'));"
    )
    top = int(expected[5].argmax())
    assert page.text("verdict").startswith(f"subject {top} with")
    sources, targets = graph.inputs["edge_index"]
    heard = set(sources[targets == 5]) - {5}
    assert f"Node 5 hears from {len(heard)} neighbour" in page.text("caption")
    page.click("again")
    WebDriverWait(page.driver, 60).until(lambda _: "median of 5" in page.text("facts"))
    assert page.said() == []
    assert page.hosts() == {f"127.0.0.1:{page.server.server_port}"}


def test_a_graph_of_ones_own(opened: Open, bundle: Bundle) -> None:
    page = opened(bundle)
    assert page.text("node-title") == "A small made-up graph"
    page.click("example")
    value = json.loads(page.driver.execute_script("return document.getElementById('own').value"))
    value["x"][0] = {"3": 0.5, "11": -1}
    page.run(value)
    value["x"][0] = [0, 0, 0, 0.5, 0, 0, 0, 0, 0, 0, 0, -1]
    inputs = {"x": np.array(value["x"], np.float32), "edge_index": np.array(value["edge_index"])}
    expected = Session(bundle)(inputs)["logits"]
    assert_same(page.logits(), expected)
    first = page.driver.find_element(By.CSS_SELECTOR, "#answers tbody tr").text
    assert first.startswith(f"0 class {expected[0].argmax()} ")
    assert page.text("node-title") == "Your graph"
    page.click("back")
    assert page.text("node-title") == "A small made-up graph"
    assert page.said() == []


def test_what_is_wrong_with_a_graph_is_said(opened: Open, bundle: Bundle) -> None:
    page = opened(bundle)
    row = [0.0] * 12
    for value, said in [
        ("{", "This is no JSON"),
        ([], '"x": …'),
        ({"x": [row]}, '"edge_index" is missing'),
        ({"x": [row], "edge_index": [0, 0]}, "must have shape [2, num_edges], got [2]"),
        ({"x": [row[1:]], "edge_index": [[0], [0]]}, "shape [num_nodes, 12], got [1, 11]"),
        ({"x": [row, row], "edge_index": [[0], [2]]}, "edge_index[1, 0] is 2; with 2 nodes, ids"),
        ({"x": [row], "edge_index": [[-1], [0]]}, "edge_index[0, 0] is -1"),
        ({"x": [row], "edge_index": [[0, 0], [0]]}, "edge_index[1] must have 2 entries"),
        ({"x": [row], "edge_index": [[0.5], [0]]}, "edge_index[0][0] must be a whole number"),
        ({"x": [row, 3], "edge_index": [[0], [0]]}, "x[1] must have 12 entries"),
        ({"x": 1, "edge_index": [[0], [0]]}, "x must have shape [num_nodes, 12], got 1"),
        ({"x": [[*row[1:], None]], "edge_index": [[0], [0]]}, "x[0][11] must be a number"),
        ({"x": [{"12": 1}], "edge_index": [[0], [0]]}, "columns must lie in [0, 12)"),
    ]:
        page.run(value)
        assert said in page.text("own-problem"), value
    page.run({"x": [row], "edge_index": [[0], [0]]})
    assert page.text("own-problem") == ""
    assert page.said() == []


class Pooled(torch.nn.Module):
    """Answers for graphs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.lin = pyg.SAGEConv(12, 8), torch.nn.Linear(8, 3)

    def forward(
        self, x: torch.Tensor, edge_index: torch.Tensor, batch: torch.Tensor
    ) -> torch.Tensor:
        return self.lin(pyg.global_mean_pool(self.conv(x, edge_index), batch))


def mlp(place: Path) -> tuple[Bundle, dict[str, np.ndarray]]:
    return export(MLP([12, 16, 5], norm=None), (X,), place), {}


def rgcn(place: Path) -> tuple[Bundle, dict[str, np.ndarray]]:
    architecture = Architecture(
        name="RGCN",
        in_channels=9,
        hidden_channels=8,
        num_layers=2,
        out_channels=3,
        arguments={"num_relations": 4, "featureless": True},
    )
    module = build(architecture).eval()
    run = Run(module=module, architecture=architecture, accuracy={}, provenance={})
    return export_run(run, place), {"x": np.arange(9), "edge_type": np.arange(17) % 4}


def pooled(place: Path) -> tuple[Bundle, dict[str, np.ndarray]]:
    batch = np.arange(9) // 4
    return export(Pooled(), (X, EDGES, torch.from_numpy(batch)), place), {"batch": batch}


@pytest.mark.parametrize("made", [mlp, rgcn, pooled])
def test_other_inputs_run_too(
    made: Callable[[Path], tuple[Bundle, dict[str, np.ndarray]]], opened: Open, tmp_path: Path
) -> None:
    bundle, more = made(tmp_path / "b")
    inputs = {"x": X.numpy(), "edge_index": EDGES.numpy(), **more}
    page = opened(bundle, Sample("tiny", inputs))
    taken = {spec.name: inputs[spec.name] for spec in bundle.manifest.inputs}
    (expected,) = Session(bundle)(taken).values()
    assert_same(page.logits(), expected)
    page.click("example")
    page.click("run")
    WebDriverWait(page.driver, 60).until(lambda _: page.text("answers"))
    assert page.said() == []
