"""Bundles and sessions: an exported model on disk, and in use. Needs numpy and onnxruntime only."""

from .blocks import Blocks, block_inputs, sample_blocks
from .bundle import Bundle
from .errors import BundleError, InputError, ProviderError, ServeError
from .features import quantise_features
from .graph import Graph, in_degree
from .manifest import FileEntry, Manifest
from .runtime import NativeLibraryWarning
from .session import Session
from .tensors import TensorSpec

__all__ = [
    "Blocks",
    "Bundle",
    "BundleError",
    "FileEntry",
    "Graph",
    "InputError",
    "Manifest",
    "NativeLibraryWarning",
    "ProviderError",
    "ServeError",
    "Session",
    "TensorSpec",
    "block_inputs",
    "in_degree",
    "quantise_features",
    "sample_blocks",
]
