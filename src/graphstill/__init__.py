"""Distil a graph network, fuse its kernels, export it to ONNX, prove it, measure it, serve it."""

__version__ = "0.1.0"
