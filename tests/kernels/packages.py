"""What `with_triton_kernels` makes of exported programs, found out without a GPU; prints JSON.

    python tests/kernels/packages.py MODEL …

Must run without Triton's interpreter, in which no kernel is traced. Tracing looks at no device, so
tensors lie on the CPU; torch is told that kernels are for an H200, as it compiles them a little to
see what they write to.
"""

import json
import os
import sys
from types import SimpleNamespace
from typing import Any

os.environ.pop("TRITON_INTERPRET", None)

import torch
import triton
from torch._functorch.aot_autograd import aot_export_joint_simple
from torch._higher_order_ops.triton_kernel_wrap import kernel_side_table
from triton.backends.compiler import GPUTarget

from graphstill import kernels
from graphstill.kernels import aot

MODELS = {
    "GCN": lambda: kernels.GCNConv(64, 64),
    "SAGE": lambda: kernels.SAGEConv(64, 64),
    "SAGE max": lambda: kernels.SAGEConv(64, 64, aggr="max"),
    "GAT": lambda: kernels.GATConv(64, 16, heads=4),
    "GATv2": lambda: kernels.GATv2Conv(64, 16, heads=4),
    "Transformer": lambda: kernels.TransformerConv(64, 16, heads=4),
}


def main() -> None:
    """Print, for each model, what its program is made of before and after."""
    target = GPUTarget("cuda", 90, 32)
    triton.runtime.driver.set_active(SimpleNamespace(get_current_target=lambda: target))
    print(json.dumps({name: program_of(MODELS[name]) for name in sys.argv[1:]}))


def program_of(make: Any) -> dict[str, Any]:
    """Return the operators of a model's program and the kernels that Inductor would be given."""
    nodes, edges = torch.export.Dim("nodes", min=3), torch.export.Dim("edges", min=3)
    inputs = (torch.randn(30, 64), torch.randint(0, 30, (2, 700)))
    with torch.no_grad():
        program = torch.export.export(
            make().eval(), inputs, dynamic_shapes=({0: nodes}, {1: edges})
        )
        lowered = aot.with_twins(program)
        values = [n.meta["val"] for n in lowered.graph.nodes if n.op == "placeholder"]
        module: Any = aot_export_joint_simple(lowered.graph_module, values, trace_joint=False)
    launches = [n for n in module.graph.nodes if "triton_kernel_wrapper" in str(n.target)]
    return {
        "before": ours(program.graph),
        "after": ours(lowered.graph),
        "left": ours(module.graph),
        "sizes": [str(bound) for bound in lowered.range_constraints.values()],
        "kernels": [
            kernel_side_table.get_kernel(n.kwargs["kernel_idx"]).fn.__name__ for n in launches
        ],
    }


def ours(graph: torch.fx.Graph) -> list[str]:
    """Return our operators in a graph."""
    targets = [str(node.target) for node in graph.nodes if node.op == "call_function"]
    return [t.removeprefix("graphstill.") for t in targets if t.startswith("graphstill.")]


if __name__ == "__main__":
    main()
