"""What a network takes of a data set."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..distill import NodeData


def inputs_of(data: NodeData) -> dict[str, Any]:
    """Return the inputs of a call on a data set: tensors, or dictionaries of tensors by type."""
    inputs = {"x": data.x, "edge_index": data.edge_index}
    edge_type = getattr(data, "edge_type", None)
    return inputs if edge_type is None else {**inputs, "edge_type": edge_type}


def as_arrays(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same inputs as numpy arrays."""

    def array(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.numpy()
        return {key: tensor.numpy() for key, tensor in value.items()}

    return {name: array(value) for name, value in inputs.items()}
