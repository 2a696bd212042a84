"""cuSPARSE's product of a CSR matrix and a dense one, with all that can be kept kept.

`torch.sparse.mm` makes descriptors and a workspace anew in each call. Here they are made once, the
matrix is analysed once, and the transposed matrix of the backward pass is a CSR matrix of its own,
since cuSPARSE is far slower on a transposed view. The library is the one that torch has loaded, by
its C interface.

Reference: https://docs.nvidia.com/cuda/cusparse/#cusparsespmm
"""

import ctypes
import ctypes.util
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# numbers of cusparse.h and library_types.h
_ROW_MAJOR, _INT32, _FLOAT32 = 2, 2, 0
ALGORITHMS = {"cuSPARSE 1": 4, "cuSPARSE 2": 6, "cuSPARSE 3": 12}
_NAMES = ("libcusparse.so.13", "libcusparse.so.12", "libcusparse.so")


class Product:
    """y = A x for one A [N, M] and every float32 x [M, F] of one width."""

    def __init__(
        self, rowptr: Tensor, col: Tensor, values: Tensor, num_src: int, algorithm: int
    ) -> None:
        # the descriptor points at these: they must live as long
        self.kept = (rowptr.to(torch.int32), col.to(torch.int32), values)
        self.library, self.algorithm = _library(), algorithm
        self.rows, self.num_src = rowptr.numel() - 1, num_src
        self.one, self.zero = ctypes.c_float(1.0), ctypes.c_float(0.0)
        self.handle, self.matrix = ctypes.c_void_p(), ctypes.c_void_p()
        self.x, self.y = ctypes.c_void_p(), ctypes.c_void_p()
        self.workspace: Tensor | None = None
        self.call("cusparseCreate", ctypes.byref(self.handle))
        pointers = [ctypes.c_void_p(t.data_ptr()) for t in self.kept]
        sizes = [ctypes.c_int64(n) for n in (self.rows, num_src, col.numel())]
        kinds = (_INT32, _INT32, 0, _FLOAT32)
        self.call("cusparseCreateCsr", ctypes.byref(self.matrix), *sizes, *pointers, *kinds)

    def __call__(self, x: Tensor) -> Tensor:
        """Return A x."""
        x, y = x.contiguous(), x.new_empty(self.rows, x.shape[1])
        if self.workspace is None:
            self.prepare(x, y)
        self.call("cusparseDnMatSetValues", self.x, ctypes.c_void_p(x.data_ptr()))
        self.call("cusparseDnMatSetValues", self.y, ctypes.c_void_p(y.data_ptr()))
        self.multiply("cusparseSpMM", ctypes.c_void_p(self.workspace.data_ptr()))  # type: ignore[union-attr]
        return y

    def prepare(self, x: Tensor, y: Tensor) -> None:
        """Make the other descriptors and the workspace, and let cuSPARSE analyse the matrix."""
        if x.is_cuda:
            stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
            self.call("cusparseSetStream", self.handle, stream)
        for descriptor, dense in ((self.x, x), (self.y, y)):
            sizes = [ctypes.c_int64(n) for n in (*dense.shape, dense.shape[1])]
            place = ctypes.c_void_p(dense.data_ptr())
            made = ctypes.byref(descriptor)
            self.call("cusparseCreateDnMat", made, *sizes, place, _FLOAT32, _ROW_MAJOR)
        size = ctypes.c_size_t()
        self.multiply("cusparseSpMM_bufferSize", ctypes.byref(size))
        self.workspace = x.new_empty(max(size.value, 1), dtype=torch.uint8)
        self.multiply("cusparseSpMM_preprocess", ctypes.c_void_p(self.workspace.data_ptr()))

    def multiply(self, name: str, last: Any) -> None:
        """Call one of the functions that take what a product takes."""
        one, zero = ctypes.byref(self.one), ctypes.byref(self.zero)
        operands = (self.handle, 0, 0, one, self.matrix, self.x, zero, self.y)
        self.call(name, *operands, _FLOAT32, self.algorithm, last)

    def call(self, name: str, *arguments: Any) -> None:
        """Call the library; its status is an error."""
        status = getattr(self.library, name)(*arguments)
        if status != 0:
            raise RuntimeError(f"{name} answered {status}")


def aggregation(graph: Any, kind: str, peer: str) -> Callable[[Tensor], Tensor]:
    """Return the sum or mean over neighbours, differentiable, by one of cuSPARSE's algorithms."""
    values = torch.ones(graph.num_edges, device=graph.col.device)
    if kind == "mean":
        degree = graph.rowptr.diff()
        values = torch.repeat_interleave(degree.clamp(min=1).float().reciprocal(), degree)
    rowptr_t, row_t, perm_t = graph.transposed
    forward = Product(graph.rowptr, graph.col, values, graph.num_src, ALGORITHMS[peer])
    backward = Product(rowptr_t, row_t, values[perm_t], graph.num_nodes, ALGORITHMS[peer])

    class Both(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return forward(x)

        @staticmethod
        def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
            return backward(*grad_outputs)

    return Both.apply  # type: ignore[return-value]


def _library() -> ctypes.CDLL:
    for name in (*_NAMES, ctypes.util.find_library("cusparse")):
        try:
            return ctypes.CDLL(name or "libcusparse.so")
        except OSError:
            continue
    raise ImportError("no libcusparse")
