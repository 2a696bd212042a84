"""Build a library for CUDA and print, as JSON, what Triton's own launcher would launch.

    python tests/export/cuda_launches.py BUNDLE LIBRARY NODES EDGES FEATURES

Must run without Triton's interpreter; see tests/kernels/cubins.py.
"""

import json
import os
import sys
from typing import Any

os.environ.pop("TRITON_INTERPRET", None)
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")

import torch
from triton.runtime.jit import JITFunction

from graphstill.export.formats import cuda
from graphstill.kernels import gpu
from graphstill.kernels.gpu.ahead import compile_spmm

OPERANDS = ("src_scale", "dst_scale", "self_weight", "bias")
launches: list[dict[str, Any]] = []


def record(kernel: Any, *args: Any, grid: Any, warmup: bool, **named: Any) -> None:
    """Keep what a launch would run."""
    del warmup
    values = dict(zip(kernel.arg_names, args, strict=False)) | named
    constants = {p.name: values[p.name] for p in kernel.params if p.is_constexpr}
    arguments = [name for name in kernel.arg_names if name not in constants]
    shape = {name: list(values[name].shape) for name in arguments if hasattr(values[name], "shape")}
    num_warps, maxnreg = named["num_warps"], named.get("maxnreg")
    launches.append(
        {
            "arguments": arguments,
            "shapes": shape,
            "constants": constants,
            "grid": list(grid),
            "num_warps": num_warps,
            "maxnreg": maxnreg,
        }
    )


def main() -> None:
    """Build, and launch GCN's `spmm` as PyTorch would."""
    bundle, library, *sizes = sys.argv[1:]
    nodes, edges, features = map(int, sizes)
    cuda.build(library, bundle)
    compiled = [
        compile_spmm(features, OPERANDS, mean=False, hubs=hubs, capability=90)
        for hubs in (True, False)
    ]
    setattr(JITFunction, "run", record)  # noqa: B010
    rowptr, col = torch.zeros(nodes + 1, dtype=torch.int64), torch.zeros(edges, dtype=torch.int32)
    x, bias, scale = torch.ones(nodes, features), torch.ones(features), torch.ones(nodes)
    gpu.spmm(rowptr, col, x, None, scale, scale, scale, bias, None, "sum", "none")
    kernels = [
        {
            "arguments": cubin.arguments,
            "types": cubin.types,
            "hidden": cubin.hidden,
            "constants": cubin.constants,
            "num_warps": cubin.num_warps,
            "shared_bytes": cubin.shared_bytes,
        }
        for cubin in compiled
    ]
    print(json.dumps({"launches": launches, "compiled": kernels}))


if __name__ == "__main__":
    main()
