"""PackageSession: a bundle of AOTInductor made callable, as `serve.Session` does for ONNX.

A package is machine code. Its hash says that it is the file the manifest describes, and not that it
is harmless: run packages of your own, or of whom you trust.
"""

import io
import os
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...kernels import native
from ...serve import Bundle, BundleError, Session
from .target import check

Array = np.ndarray[Any, np.dtype[Any]]


class PackageSession(Session):
    """Runs the package of a bundle with torch. Calls are those of `serve.Session`.

    Args:
        bundle: A bundle that `export_aoti` wrote, or the path of one.
        threads: Threads of torch in a call, which are the whole process's; None means as many as
            torch has now.
        validate: Whether to refuse NaN and infinite inputs, at the price of reading them once.

    Raises:
        BundleError: If the bundle is damaged, its package was made for another torch or processor,
            or it is none.
        ProviderError: If it is for a CUDA device and there is none.
    """

    def __init__(
        self,
        bundle: Bundle | str | os.PathLike[str],
        *,
        threads: int | None = None,
        validate: bool = False,
    ) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        self.bundle = bundle if isinstance(bundle, Bundle) else Bundle.load(bundle)
        self.device = check(self.bundle.manifest)
        self.threads = threads or torch.get_num_threads()
        self.native_operators = self.device == "cpu" and not native.problem()
        self._validate = validate
        package = self.bundle.read(self.bundle.manifest.model)
        try:
            self._package = torch._inductor.aoti_load_package(io.BytesIO(package))
        except RuntimeError as error:
            raise BundleError(f"torch cannot load {self.bundle.path}: {error}") from error

    def _run(self, feeds: dict[str, Array]) -> list[Array]:
        torch.set_num_threads(self.threads)
        inputs = [self._tensor(feeds[spec.name]) for spec in self.inputs]
        if self.bundle.manifest.in_degree:
            inputs.append(self._tensor(feeds.get("in_degree", np.zeros(0, np.float32))))
        with torch.inference_mode():
            return [answer.cpu().numpy() for answer in self._package(*inputs)]

    def _tensor(self, array: Array) -> Tensor:
        # torch warns of memory that may only be read
        readable = array if array.flags.writeable else array.copy()
        return torch.from_numpy(readable).to(self.device)

    @property
    def _model_checks_ids(self) -> bool:
        return False
