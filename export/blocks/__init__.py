"""The blocks lowering: answers for seeds from trees of their in-neighbours, in plain ONNX."""

from .lowering import lower

__all__ = ["lower"]
