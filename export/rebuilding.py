"""Rebuild the torch network that a bundle was exported from."""

import os

import safetensors.torch
import torch
from torch import Tensor

from ..distill import Architecture, build
from ..serve import Bundle
from .errors import ExportError


def rebuild(bundle: Bundle | str | os.PathLike[str]) -> torch.nn.Module:
    """Return the network of a bundle in plain PyG, with its weights, in evaluation mode.

    Raises:
        ExportError: If the bundle holds a network that graphstill cannot build by name.
    """
    bundle = bundle if isinstance(bundle, Bundle) else Bundle.load(bundle)
    if bundle.manifest.architecture is None:
        raise ExportError(
            f"{bundle.path} does not say what network it holds, as bundles of your own modules do "
            "not; compare it from Python: graphstill.export.check_parity(module, bundle)"
        )
    module = build(Architecture(**bundle.manifest.architecture), fused=False)
    module.load_state_dict(_floats(safetensors.torch.load(bundle.read("weights.safetensors"))))
    return module.eval()


def _floats(saved: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return parameters by name; where a file has integers and scales, what they stand for."""
    whole = {name.removesuffix(".q") for name in saved if name.endswith(".q")}
    rounded = {name: saved[f"{name}.q"] * saved[f"{name}.scale"] for name in whole}
    parts = {f"{name}.{part}" for name in whole for part in ("q", "scale")}
    return rounded | {name: value for name, value in saved.items() if name not in parts}
