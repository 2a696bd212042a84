"""What a bundle is measured beside: its network in PyG, run every way that PyG and torch offer.

Row targets like those of `targets`, for the same inputs; each imports what its row needs and
nothing else. They take a bundle and rebuild its network, or a file that `peer_files` made of it.
"""

import warnings
from collections.abc import Mapping
from typing import Any

from .targets import Call

# what the command calls them, and what reports do
PEERS = {
    "pyg": "PyG",
    "pyg-csr": "PyG CSR",
    "compile": "torch.compile",
    "aoti": "AOTInductor",
    "plain-onnx": "plain ONNX",
}


def pyg_csr(inputs: Mapping[str, Any], threads: int, *, path: str) -> Call:
    """Load the network in PyG, in eager mode, on a sparse CSR adjacency made beforehand.

    Args:
        inputs: Inputs of a call.
        threads: Threads of torch.
        path: Where the bundle is.
    """
    from .rebuilding import rebuild

    return on_csr(rebuild(path), inputs, threads)


def compiled(
    inputs: Mapping[str, Any], threads: int, *, path: str, takes_graph: bool = True
) -> Call:
    """Load the network in PyG under `torch.compile`; the first call compiles.

    Args:
        inputs: Inputs of a call.
        threads: Threads of torch.
        path: Where the bundle is.
        takes_graph: Whether the network looks at the graph.
    """
    import torch

    from .rebuilding import rebuild

    return in_torch(torch.compile(rebuild(path)), _given(inputs, takes_graph), threads)


def aot_inductor(
    inputs: Mapping[str, Any], threads: int, *, path: str, takes_graph: bool = True
) -> Call:
    """Load a package of AOTInductor, see `peer_files.compile_ahead`.

    Args:
        inputs: Inputs of a call.
        threads: Threads of torch.
        path: Where the package is.
        takes_graph: Whether the network looks at the graph.
    """
    import torch

    torch.set_num_threads(threads)
    package = torch._inductor.aoti_load_package(path)
    return in_torch(package, _given(inputs, takes_graph), threads)


def plain_onnx(inputs: Mapping[str, Any], threads: int, *, path: str) -> Call:
    """Load an ONNX file of others into ONNX Runtime with its defaults.

    Args:
        inputs: Inputs of a call.
        threads: Threads of the session.
        path: Where the file is.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feeds = {given.name: inputs[given.name] for given in session.get_inputs()}
    return lambda: session.run(None, feeds)[0]


def _given(inputs: Mapping[str, Any], takes_graph: bool) -> dict[str, Any]:
    names = ("x", "edge_index") if takes_graph else ("x",)
    return {name: inputs[name] for name in names}


def on_csr(module: Any, inputs: Mapping[str, Any], threads: int) -> Call:
    """Run a PyG module on a sparse CSR adjacency; for GCN and GCNII it is normalised beforehand.

    Raises:
        ValueError: If a convolution of the module takes no such adjacency, or it has none.
    """
    import torch

    convolutions_for_csr(module)
    size = len(inputs["x"])
    edges, weight = normalised_edges(module, torch.from_numpy(inputs["edge_index"]), size)
    weight = torch.ones(edges.shape[1]) if weight is None else weight
    with warnings.catch_warnings():  # torch says that CSR tensors are new, and not checked
        warnings.simplefilter("ignore", UserWarning)
        adjacency = torch.sparse_coo_tensor(edges.flip(0), weight, (size, size)).to_sparse_csr()
    return in_torch(module, inputs, threads, adjacency)


def convolutions_for_csr(module: Any) -> None:
    """Raise ValueError if a convolution of a PyG module takes no CSR adjacency, or it has none."""
    from torch_geometric.nn import GCN2Conv, GCNConv, GINConv, MessagePassing, SAGEConv

    convolutions = [part for part in module.modules() if isinstance(part, MessagePassing)]
    if not convolutions:
        raise ValueError(f"{type(module).__name__} looks at no graph")
    for conv in convolutions:
        if not isinstance(conv, GCNConv | GCN2Conv | GINConv | SAGEConv):
            raise ValueError(f"PyG's {type(conv).__name__} takes no CSR adjacency")


def normalised_edges(module: Any, edge_index: Any, num_nodes: int) -> tuple[Any, Any]:
    """Normalise edges for GCN and GCNII, whose layers then do so no more.

    Returns:
        Edges and their weights; None for weights where no layer of the module normalises.
    """
    from torch_geometric.nn import GCN2Conv, GCNConv
    from torch_geometric.nn.conv.gcn_conv import gcn_norm

    layers = [part for part in module.modules() if isinstance(part, GCNConv | GCN2Conv)]
    for conv in layers:
        conv.normalize = conv.add_self_loops = False
    return gcn_norm(edge_index, None, num_nodes) if layers else (edge_index, None)


def in_torch(module: Any, inputs: Mapping[str, Any], threads: int, graph: Any = None) -> Call:
    """Run something of torch on x, edge_index and edge_type, or on a graph in another form.

    Args:
        module: A module, or what a compiler made of it; it is given of these what there is.
        inputs: x, and what else there is.
        threads: Threads of torch.
        graph: What to pass in place of edge_index.
    """
    import torch

    torch.set_num_threads(threads)
    names = [name for name in ("x", "edge_index", "edge_type") if name in inputs]
    given: list[Any] = [torch.from_numpy(inputs[name]) for name in names]
    if graph is not None:
        given[1] = graph

    def call() -> Any:
        with torch.inference_mode():
            return module(*given)

    return call
