"""Why torch cannot export a module, and which part of it is to blame.

torch wraps what went wrong in advice on how to report it. What is of use lies deeper: the first
cause, the modules whose `forward` was running then, and the node of the traced graph that has no
counterpart in ONNX.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import fx

# what torch says there speaks of its symbols
_DEPENDS_ON_DATA = (
    "what it does depends on the values of a tensor (a branch, or a number taken from one), which "
    "the exported graph would have to know beforehand"
)


def reason(error: BaseException, module: torch.nn.Module) -> str:
    """Return in one line which module inside another one cannot be exported, and why."""
    chain = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    root, paths = chain[-1], {id(m): path for path, m in module.named_modules()}
    places = [place for link in chain for place in _places(link, paths)]
    path, name = places[-1] if places else ("", "")
    if type(root).__name__ == "GuardOnDataDependentSymNode":
        said = _DEPENDS_ON_DATA
    else:
        said = next((line for line in str(root).splitlines() if line.strip()), repr(root))
    return f"{path} ({name}): {said}" if path else said


def _places(error: BaseException, paths: Mapping[int, str]) -> Iterator[tuple[str, str]]:
    """Yield path and class of the modules that were being run or translated, outermost first."""
    step = error.__traceback__
    while step is not None:
        known = step.tb_frame.f_locals
        owner, node = known.get("self"), known.get("node")
        if id(owner) in paths:
            yield paths[id(owner)], type(owner).__name__
        if isinstance(node, fx.Node) and (stack := node.meta.get("nn_module_stack")):
            path, kind = list(stack.values())[-1]
            name = kind if isinstance(kind, str) else kind.__name__
            # the module runs inside `Flat`, which calls it `module`
            yield path.partition("module.")[2], name.rpartition(".")[2]
        step = step.tb_next
