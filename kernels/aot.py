"""Exported programs whose AOTInductor packages hold our Triton kernels.

    program = torch.export.export(model.eval().cuda(), (x, edge_index))
    path = torch._inductor.aoti_compile_and_package(with_triton_kernels(program))

Without this a package calls our operators back in Python, and a C++ program cannot load it.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.export import ExportedProgram

__all__ = ["with_triton_kernels"]


def with_triton_kernels(program: ExportedProgram) -> ExportedProgram:
    """Return a program for AOTInductor that needs nothing of ours at run time.

    Operators become their twins (`ops.twins`), whose kernels Inductor compiles into the package;
    `csr` and `gcn_norm` become torch's own operators. Ids in `edge_index` are no longer checked:
    that would wait for the device.

    Args:
        program: Exported for inference, from a model and inputs on a CUDA device.

    Raises:
        ImportError: If Triton is not installed.
        ValueError: If an operator's tensors are not on a CUDA device, are float64, or if the
            program holds a backward pass.
    """
    for node in program.graph.nodes:
        if getattr(node.target, "namespace", None) == "graphstill":
            _check(node)
    return with_twins(program)


def with_twins(program: ExportedProgram) -> ExportedProgram:
    """Do the same on any device: what tracing shows is the same on all."""
    from .ops.twins import TWINS

    ours = torch.ops.graphstill
    table: dict[Any, Any] = {ours.csr.default: _csr, ours.gcn_norm.default: _gcn_norm}
    table |= {operator: twin._opoverload for operator, twin in TWINS.items()}
    return program.run_decompositions(table)


def _check(node: torch.fx.Node) -> None:
    """Refuse what no twin computes."""
    if str(node.target).endswith("_backward.default"):
        raise ValueError(f"{node.target} has no Triton twin; export the model for inference")
    made = node.meta["val"]
    first = made[0] if isinstance(made, (tuple, list)) else made
    if first.dtype == torch.float64:
        raise ValueError(f"{node.target} is float64, which no Triton kernel computes; use float32")
    if first.device.type != "cuda":
        raise ValueError(
            f"{node.target} runs on {first.device}, its Triton kernel needs a CUDA device; "
            "export with the model and its inputs there"
        )


def _csr(edge_index: Tensor, num_src: int, num_dst: int) -> tuple[Tensor, Tensor, Tensor]:
    """Compute `reference.csr` without looking at values on the host."""
    dst, perm = torch.sort(edge_index[1], stable=True)
    rowptr = torch.searchsorted(dst, torch.arange(num_dst + 1, device=dst.device))
    return rowptr, edge_index[0][perm].to(torch.int32), perm


def _gcn_norm(
    rowptr: Tensor,
    col: Tensor,
    weight: Tensor | None,
    in_degree: Tensor | None,
    fill_value: float,
    add_self_loops: bool,
) -> tuple[Tensor, Tensor]:
    """Compute `reference.gcn_norm` without looking at values on the host."""
    edge = torch.arange(col.shape[0], device=col.device)
    row = torch.searchsorted(rowptr, edge, right=True) - 1
    value = torch.ones_like(edge, dtype=torch.float32) if weight is None else weight
    nothing = value.new_zeros(rowptr.shape[0] - 1)
    degree, self_weight = nothing.index_add(0, row, value), nothing
    if add_self_loops:
        loop = row == col
        own = torch.full_like(nothing, 1.0 if weight is None else fill_value)
        if weight is not None:  # the last loop's
            last = torch.full_like(nothing, -1, dtype=torch.int64)
            last = last.scatter_reduce(0, row, torch.where(loop, edge, -1), "amax")
            own = torch.where(last >= 0, F.pad(value, (0, 1))[last], own)
        self_weight = own - nothing.index_add(0, row, torch.where(loop, value, 0.0))
        degree = degree + self_weight
    if in_degree is not None:  # of every node, or empty; to ask which would fix its size
        degree = torch.cat([in_degree, degree])[: degree.shape[0]]
    return torch.where(degree == 0, 0.0, degree.pow(-0.5)), self_weight
