"""Build a library for CUDA and print, as JSON, what Triton's own launcher would launch.

    python tests/export/cuda_launches.py BUNDLE LIBRARY NODES EDGES

Must run without Triton's interpreter; see tests/kernels/cubins.py. The bundle has one node of
an operator that has a kernel.
"""

import dataclasses
import json
import os
import sys
from collections.abc import Callable
from typing import Any

os.environ.pop("TRITON_INTERPRET", None)
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")

import onnx
import torch
from triton.runtime.jit import JITFunction

from graphstill.export.formats import cuda
from graphstill.export.formats.cuda_variants import variants
from graphstill.kernels import gpu
from graphstill.kernels.gpu.ahead import Key, compile_ahead
from graphstill.serve import Bundle

launches: list[dict[str, Any]] = []


def main() -> None:
    """Build, and launch the operator as PyTorch would."""
    bundle, library, nodes, edges = sys.argv[1:]
    cuda.build(library, bundle)
    (variant,) = variants(onnx.load_from_string(Bundle.load(bundle).read_model()))
    compiled = [
        compile_ahead(variant.operator, variant.key, hubs=hubs, capability=90)
        for hubs in (True, False)
    ]
    setattr(JITFunction, "run", record)  # noqa: B010
    CALLS[variant.operator](variant.key, int(nodes), int(edges))
    kernels = [{**dataclasses.asdict(cubin), "image": len(cubin.image)} for cubin in compiled]
    print(json.dumps({"launches": launches, "compiled": kernels}))


def record(kernel: Any, *args: Any, grid: Any, warmup: bool, **named: Any) -> None:
    """Keep what a launch would run."""
    del warmup
    values = dict(zip(kernel.arg_names, args, strict=False)) | named
    constants = {p.name: values[p.name] for p in kernel.params if p.is_constexpr}
    arguments = [name for name in kernel.arg_names if name not in constants]
    tensors = {n: values[n] for n in arguments if isinstance(values[n], torch.Tensor)}
    launches.append(
        {
            "arguments": arguments,
            "types": {name: str(tensor.dtype) for name, tensor in tensors.items()},
            "shapes": {name: list(tensor.shape) for name, tensor in tensors.items()},
            "constants": constants,
            "grid": list(grid),
            "num_warps": named["num_warps"],
            "maxnreg": named.get("maxnreg"),
        }
    )


def spmm(key: Key, nodes: int, edges: int) -> None:
    """Launch GCN's sum."""
    x, bias, scale = torch.ones(nodes, key[0]), torch.ones(key[0]), torch.ones(nodes)
    gpu.spmm(*graph(nodes, edges), x, None, scale, scale, scale, bias, None, "sum", "none")


def extremum(key: Key, nodes: int, edges: int) -> None:
    """Launch a maximum."""
    gpu.extremum(*graph(nodes, edges), torch.ones(nodes, key[0]), None, "max")


def gat(key: Key, nodes: int, edges: int) -> None:
    """Launch an attention with self loops and a bias."""
    heads, channels, *_ = key
    x, alpha, bias = torch.ones(nodes, heads * channels), torch.ones(nodes, heads), torch.ones(1)
    bias = bias.expand(heads * channels)
    gpu.gat(*graph(nodes, edges), x, alpha, alpha, bias, 0.2, True)


def gatv2(key: Key, nodes: int, edges: int) -> None:
    """Launch GATv2's attention with self loops and a bias."""
    heads, channels, *_ = key
    x, att = torch.ones(nodes, heads * channels), torch.ones(heads, channels)
    gpu.gatv2(*graph(nodes, edges), x, x, att, x[0], 0.2, True)


def dot_attention(key: Key, nodes: int, edges: int) -> None:
    """Launch a transformer's attention."""
    heads, channels, *_ = key
    x = torch.ones(nodes, heads * channels)
    gpu.dot_attention(*graph(nodes, edges), x, x, x, heads)


CALLS: dict[str, Callable[[Key, int, int], None]] = {
    "spmm": spmm,
    "extremum": extremum,
    "gat": gat,
    "gatv2": gatv2,
    "dot_attention": dot_attention,
}


def graph(nodes: int, edges: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a graph of some size."""
    return torch.zeros(nodes + 1, dtype=torch.int64), torch.zeros(edges, dtype=torch.int32)


if __name__ == "__main__":
    main()
