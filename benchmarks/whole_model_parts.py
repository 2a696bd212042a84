"""What the models of `whole_models.py` are made of: products, aggregations, passes over memory.

A model can hardly be faster than the sum of its parts, each timed alone in the same run and taken
from whoever does it best:

    gemm   a product in ONNX Runtime, one MatMul
    sum    the sum over in-neighbours in the graph's own order, by embedding_bag
    gat    attention over in-neighbours, by the C loop of `aggregation.py`
    copy   a pass over a matrix [N, width]: activation, bias, a second summand
"""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from aggregation import HEADS, attention_loop
from whole_model_cases import FEATURES
from whole_model_rows import CLASSES


def parts_of(model: str) -> list[str]:
    """Return the parts of a model, as often as it has them; none where they are not known."""
    kind, _, hidden = model.partition("-")
    widths = [FEATURES, int(hidden), int(hidden), CLASSES]
    layers = list(pairwise(widths))
    if kind == "gcn":
        return [part for i, o in layers for part in _sums(i, o, products=1)]
    if kind == "sage":
        return [part for i, o in layers for part in _sums(i, o, products=2)]
    if kind == "gat":
        heads = [o // HEADS for o in widths[1:-1]] + [
            CLASSES
        ]  # the last layer's heads are averaged
        return [part for (i, _), o in zip(layers, heads, strict=True) for part in _attention(i, o)]
    return []


def _sums(width: int, out: int, products: int) -> list[str]:
    """Return a layer that aggregates on the narrower side; each product has a pass behind it."""
    return [f"sum {min(width, out)}", *[f"gemm {width}x{out}", f"copy {out}"] * products]


def _attention(width: int, channels: int) -> list[str]:
    out = HEADS * channels
    return [f"gemm {width}x{out}", f"copy {out}", f"gat {HEADS}x{channels}", f"copy {out}"]


def gemm(inputs: Mapping[str, Any], threads: int, *, width: int, out: int) -> Callable[[], Any]:
    """One MatMul in ONNX Runtime."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    weight = np.random.default_rng(1).standard_normal((width, out), np.float32)
    node = helper.make_node("MatMul", ["x", "weight"], ["out"])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, width])
    product = helper.make_tensor_value_info("out", TensorProto.FLOAT, [None, out])
    constants = [numpy_helper.from_array(weight, "weight")]
    graph = helper.make_graph([node], "gemm", [x], [product], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    feeds = {"x": _features(inputs, width)}
    return lambda: session.run(None, feeds)[0]


def total(inputs: Mapping[str, Any], threads: int, *, width: int) -> Callable[[], Any]:
    """The sum over in-neighbours, by embedding_bag."""
    import torch

    torch.set_num_threads(threads)
    rowptr, col = (torch.from_numpy(part) for part in _sorted(inputs))
    x = torch.from_numpy(_features(inputs, width))

    def call() -> Any:
        with torch.inference_mode():
            return torch.nn.functional.embedding_bag(
                col, x, rowptr, mode="sum", include_last_offset=True
            )

    return call


def attention(
    inputs: Mapping[str, Any], threads: int, *, library: str, channels: int
) -> Callable[[], Any]:
    """Attention over in-neighbours, by the C loop."""
    rowptr, col = _sorted(inputs)
    x = _features(inputs, HEADS * channels)
    return attention_loop(rowptr, col.astype(np.int32), x, threads, library=library, heads=HEADS)


def copy(inputs: Mapping[str, Any], threads: int, *, width: int) -> Callable[[], Any]:
    """A pass over a matrix [N, width]."""
    import torch

    torch.set_num_threads(threads)
    x = torch.from_numpy(_features(inputs, width))
    out = torch.empty_like(x)
    return lambda: out.copy_(x)


def _features(inputs: Mapping[str, Any], width: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((len(inputs["x"]), width), np.float32)


def _sorted(inputs: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    from graphstill.serve.graph import Graph

    graph = Graph.from_edge_index(inputs["edge_index"], len(inputs["x"]))
    return graph.rowptr, graph.col.astype(np.int64)


def rows_of(models: list[str], library: str) -> list[Any]:
    """Return a row for each part that any of the models has."""
    from graphstill.export import Row

    rows = []
    for part in sorted({part for model in models for part in parts_of(model)}):
        kind, _, size = part.partition(" ")
        sizes = [int(number) for number in size.split("x")]
        arguments = {
            "gemm": lambda s=sizes: {"width": s[0], "out": s[1]},
            "gat": lambda s=sizes: {"library": library, "channels": s[1]},
        }.get(kind, lambda s=sizes: {"width": s[0]})()
        function = {"sum": "total", "gat": "attention"}.get(kind, kind)
        rows.append(Row(f"part {part}", f"whole_model_parts:{function}", arguments))
    return rows
