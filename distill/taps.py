"""Taps: the outputs of layers inside any module, by module path, without changing the module."""

import difflib
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from .errors import TapError
from .hetero import HeteroLayer, TypedLayer, find_layer


class Taps:
    """Observes layers while a module runs.

        with Taps(model, ["convs.0", "act#1"]) as taps:
            logits = model(x, edge_index)
        first, second = taps.outputs()

    Args:
        module: The module to observe.
        paths: Layers, named as `named_modules` does; "" is the module itself. A layer that runs
            several times in one forward pass is named with the call that is meant: "act#0". A layer
            of a module that `to_hetero` made is named by its path in the original and the type of
            nodes, as is one that answers with a dictionary by type: "conv1[paper]".

    Raises:
        TapError: If there is no such layer. The message names near misses.
    """

    def __init__(self, module: torch.nn.Module, paths: Sequence[str]) -> None:
        self.paths = list(paths)
        self._modules = dict(module.named_modules())
        self._calls: dict[str, list[Any]] = {}
        self._widths: dict[str, int] = {}
        self._handles: list[RemovableHandle] = []
        self._hetero: dict[str, HeteroLayer | TypedLayer] = {
            path: find_layer(module, *path[:-1].rsplit("[", 1))
            for path in self.paths
            if path.endswith("]") and "[" in path
        }
        for path in self.paths:
            layer = self._hetero.get(path)
            if not isinstance(layer, HeteroLayer):
                self._find(path if layer is None else layer.path)

    def __enter__(self) -> "Taps":
        self._calls = {}
        calls = [call for path in self.paths for call in self._calls_of(path)]
        layers = dict.fromkeys(call.partition("#")[0] for call in calls)
        self._handles = [self._watch(layer) for layer in layers]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def outputs(self) -> list[Tensor]:
        """Return what the layers gave in the last run, in the order of the paths, each [N, width].

        Raises:
            TapError: If a layer did not run, ran more than once without saying which call is meant,
                or gave another width than before.
        """
        return [self._output(path) for path in self.paths]

    def _watch(self, layer: str) -> RemovableHandle:
        calls = self._calls.setdefault(layer, [])
        typed = {path.partition("#")[0] for path in self._typed_paths()}

        def remember(_module: torch.nn.Module, _inputs: object, output: object) -> None:
            if not isinstance(output, Tensor) and layer not in typed:
                raise TapError(f"{layer or 'the module'} gave no tensor: {type(output).__name__}")
            calls.append(output)

        return self._modules[layer].register_forward_hook(remember)

    def _typed_paths(self) -> list[str]:
        return [layer.path for layer in self._hetero.values() if isinstance(layer, TypedLayer)]

    def _find(self, path: str) -> None:
        layer, _, call = path.partition("#")
        if layer not in self._modules:
            near = difflib.get_close_matches(layer, self._modules, n=3, cutoff=0.4)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise TapError(f"there is no layer {layer!r}{hint}")
        if call and not call.isdigit():
            raise TapError(f"{path!r}: after # comes the number of a call, from 0")

    def _output(self, path: str) -> Tensor:
        ran = {call: self._ran(call) for call in self._calls_of(path)}
        output: Tensor = self._hetero[path].output(ran) if path in self._hetero else ran[path]
        width = self._widths.setdefault(path, output.shape[-1])
        if output.shape[-1] != width:
            raise TapError(f"{path!r} gave width {output.shape[-1]}, before it was {width}")
        return output

    def _calls_of(self, path: str) -> list[str]:
        """Return the calls of modules that a path is made of."""
        return self._hetero[path].calls if path in self._hetero else [path]

    def _ran(self, path: str) -> Any:
        layer, _, call = path.partition("#")
        calls = self._calls.get(layer, [])
        if not calls:
            ran = [other for other, seen in self._calls.items() if seen]
            raise TapError(
                f"layer {layer!r} did not run"
                + (f", {', '.join(map(repr, ran))} did" if ran else "")
                + "; is it called at all, or through another name?"
            )
        if not call and len(calls) > 1:
            raise TapError(
                f"layer {layer!r} ran {len(calls)} times; say which call is meant: "
                f"{layer}#0 … {layer}#{len(calls) - 1}"
            )
        if int(call or 0) >= len(calls):
            raise TapError(f"{path!r}: layer {layer!r} ran only {len(calls)} times")
        return calls[int(call or 0)]
