"""From a module to ONNX: its inputs by name, its convolutions fused, torch's exporter."""

import copy
import inspect
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr

import onnx
import torch

from ..kernels import accelerate
from .bodies import OPSET
from .errors import ExportError
from .flattening import Flat, Nested, Part
from .reasons import reason
from .translation import translation_table


def name_inputs(
    module: torch.nn.Module, example: Sequence[Nested] | Mapping[str, Nested]
) -> dict[str, Nested]:
    """Return example inputs by the names of the arguments of `module.forward`.

    Raises:
        ExportError: If forward has no such arguments.
    """
    try:
        signature = inspect.signature(module.forward)
        bound = (
            signature.bind(**example) if isinstance(example, Mapping) else signature.bind(*example)
        )
    except TypeError as error:
        raise ExportError(f"the example does not fit {type(module).__name__}: {error}") from error
    arguments: dict[str, Nested] = {}
    for name, value in bound.arguments.items():
        kind = signature.parameters[name].kind
        if kind == inspect.Parameter.VAR_POSITIONAL:
            raise ExportError(f"forward takes *{name}: give the example by name")
        arguments |= value if kind == inspect.Parameter.VAR_KEYWORD else {name: value}
    return {name: value for name, value in arguments.items() if value is not None}


def fuse(module: torch.nn.Module) -> torch.nn.Module:
    """Return a copy in evaluation mode with fused convolutions.

    Raises:
        ExportError: If a convolution has no fused form. The message names each.
    """
    holder = torch.nn.ModuleDict({"module": copy.deepcopy(module).eval()})
    report = accelerate(holder)
    if report.kept:
        reasons = [f"  {path[7:] or '(itself)'}: {why}" for path, why in report.kept.items()]
        raise ExportError("no fused form for these convolutions:\n" + "\n".join(reasons))
    return holder["module"]


def to_onnx(
    module: torch.nn.Module, parts: Mapping[str, Part], outputs: Sequence[str]
) -> onnx.ModelProto:
    """Return what torch makes of a module with fused convolutions, with all sizes by name.

    Raises:
        ExportError: If it cannot, or only for the sizes of the example.
    """
    named = {dim for part in parts.values() for dim in (part.dimensions or {}).values()}
    dims = {dim: torch.export.Dim(dim, min=int(dim.startswith("num_nodes"))) for dim in named}
    try:
        with torch.no_grad(), quiet():
            program = torch.onnx.export(
                Flat(module, parts.values()).eval(),
                tuple(part.value for part in parts.values()),
                dynamo=True,
                opset_version=OPSET,
                input_names=list(parts),
                output_names=list(outputs),
                dynamic_shapes=(
                    tuple(
                        {axis: dims[dim] for axis, dim in (part.dimensions or {}).items()}
                        for part in parts.values()
                    ),
                ),
                custom_translation_table=translation_table(),
                external_data=False,
                verbose=False,
            )
    except ExportError:
        raise
    except Exception as error:
        name = type(module).__name__
        raise ExportError(f"torch cannot export {name} to ONNX: {reason(error, module)}") from error
    assert program is not None
    model = program.model_proto
    _check_dynamic(model, parts)
    return model


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporter's notes about itself from the user; its errors are raised.

    It tries without Dynamo first, and prints and logs how that failed before it tries with it.
    """
    loggers = [logging.getLogger(name) for name in ("torch", "torch.onnx")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _check_dynamic(model: onnx.ModelProto, parts: Mapping[str, Part]) -> None:
    """Refuse a graph that torch has narrowed to some sizes: it would refuse all others."""
    for value in model.graph.input:
        shape = [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for axis, dim in (parts[value.name].dimensions or {}).items():
            if shape[axis] != dim:
                raise ExportError(
                    f"the module works for {dim} = {shape[axis]} only: something in forward "
                    "depends on the number itself"
                )
