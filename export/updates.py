"""Sums over neighbours, and what a layer then does with each node's row, as one node.

    spmm → Add → Relu or Elu → Gemm or MatMul → Relu or Elu [→ spmm]

becomes `spmm_update`, which sums a few rows, adds to them, activates and multiplies them while they
are in cache: what lies between the sum and the answer is never as long as the graph. The product of
the node's own row that GraphSAGE adds to the other is taken in too. So is what the next sum, alone
to read the rows, multiplies its sources by: once for each row, and no longer for each edge.
"""

import onnx
from onnx import helper

from .bodies import DOMAIN, SPMM_INPUTS, UPDATE_INPUTS
from .passes import module_of, ours, shapes
from .values import Values, activation_of, given, setting

_SCALE = SPMM_INPUTS.index("src_scale")


def fuse_updates(model: onnx.ModelProto) -> list[str]:
    """Fuse sums with what follows them, in place; return in which modules."""
    done = list[str]()
    for node in ours(model, "spmm"):
        update = _Update(model, node)
        if update.grow():
            update.replace()
            done.append(module_of(node))
    return done


class _Update:
    """A sum, and what it can take in of what follows it.

    Attributes:
        inputs: What the node will read beyond what the sum does, by the names of its inputs.
        settings: Its attributes.
        out: The value that it answers with so far.
        taken: The nodes it stands for, the sum itself first.
    """

    def __init__(self, model: onnx.ModelProto, node: onnx.NodeProto) -> None:
        self.model, self.values, self.shapes = model, Values(model), shapes(model)
        self.inputs = dict(zip(SPMM_INPUTS, node.input, strict=False))
        self.settings: dict[str, float | str] = dict.fromkeys(
            ("activation", "out_activation"), "none"
        )
        self.settings |= {"alpha": 1.0, "identity": 0.0, "trans_weight": 0, "trans_root": 0}
        self.out, self.taken = node.output[0], [node]

    def grow(self) -> bool:
        """Take in what follows; return whether anything did."""
        self._take_residual()
        self._take_activation("activation")
        if self._take_product():
            self._take_activation("out_activation")
        return self._take_scale() or len(self.taken) > 1

    def replace(self) -> None:
        """Put one node where the last of those was that it stands for."""
        nodes, (first, *_) = self.model.graph.node, self.taken
        made = onnx.NodeProto()
        made.CopyFrom(first)
        made.op_type = "spmm_update"
        del made.input[:], made.output[:]
        names = [self.inputs.get(name, "") for name in UPDATE_INPUTS]
        made.input.extend(names[: 1 + max(i for i, name in enumerate(names) if name)])
        made.output.append(self.out)
        made.attribute.extend(helper.make_attribute(*item) for item in self.settings.items())
        positions = list(nodes)
        nodes.insert(1 + max(positions.index(node) for node in self.taken), made)
        for node in self.taken:
            nodes.remove(node)

    def _next(self) -> onnx.NodeProto | None:
        """Return the node that reads what there is so far, if nothing else does."""
        found = self.values.read_by(self.out)
        reads = sum(list(node.input).count(self.out) for node in found)
        alone = len(found) == 1 and self.values.readers[self.out] == reads
        return found[0] if alone and not found[0].domain else None

    def _take(self, node: onnx.NodeProto) -> None:
        self.taken.append(node)
        self.out = node.output[0]

    def _take_residual(self) -> None:
        node = self._next()
        if node is None or node.op_type != "Add":
            return
        others = [name for name in node.input if name != self.out]
        if len(others) == 1 and self._as_long_as(self.out, others[0]):
            self.inputs["residual"] = others[0]
            self._take(node)

    def _take_activation(self, name: str) -> None:
        node = self._next()
        if node is not None and (kind := activation_of(node)):
            self.settings[name] = kind
            self._take(node)

    def _take_product(self) -> bool:
        node = self._next()
        if node is None or node.input[0] != self.out or not self.values.multiplies(node):
            return False
        added, beta = node.input[2] if given(node, 2) else "", setting(node, "beta", 1.0)
        if added == self.out:  # α X W + β X, as GCNII's maps are
            self.settings["identity"] = beta
        elif not added or (beta == 1.0 and self._is_bias(node, added)):
            self.inputs["linear_bias"] = added
        elif beta != 1.0 or not self._take_root(node, added):
            return False
        self.inputs["linear_weight"] = node.input[1]
        self.settings["trans_weight"] = int(setting(node, "transB", 0))
        self.settings["alpha"] = setting(node, "alpha", 1.0)
        self._take(node)
        return True

    def _take_scale(self) -> bool:
        """Take over what sums, and nothing else, multiply these rows by."""
        found = self.values.read_by(self.out)
        sums = [n for n in found if n.domain == DOMAIN and n.op_type == "spmm"]
        scales = {n.input[_SCALE] if given(n, _SCALE) else "" for n in sums}
        alone = len(sums) == len(found) and self.values.readers[self.out] == len(sums)
        if not alone or len(scales) != 1 or scales == {""}:
            return False
        (scale,) = scales
        if any(self.out != n.input[2] for n in sums) or not self._bring_forward(scale):
            return False
        self.inputs["out_scale"] = scale
        for node in sums:
            node.input[_SCALE] = ""
        return True

    def _bring_forward(self, name: str) -> bool:
        """Make sure that a value is there before the sum; return whether it can be."""
        nodes = self.model.graph.node
        first = list(nodes).index(self.taken[0])

        def is_there(value: str) -> bool:
            maker = self.values.makers.get(value)
            return maker is None or list(nodes).index(maker) < first

        maker = self.values.makers.get(name)
        if maker is None or is_there(name):
            return True
        if not all(is_there(value) for value in maker.input):
            return False
        nodes.remove(maker)
        nodes.insert(first, maker)
        return True

    def _take_root(self, node: onnx.NodeProto, added: str) -> bool:
        """Take in the product of the node's own row that is added to that of the sum."""
        root = self.values.makers.get(added)
        if root is None or not self.values.is_linear(root) or self.values.readers[added] > 1:
            return False
        bias = root.input[2] if given(root, 2) else ""
        factors = {setting(root, "alpha", 1.0), setting(root, "beta", 1.0)}
        if factors != {1.0} or (bias and not self._is_bias(root, bias)):
            return False
        if not self._as_long_as(node.output[0], added):
            return False
        self.inputs |= {"linear_bias": bias, "root": root.input[0], "root_weight": root.input[1]}
        self.settings["trans_root"] = int(setting(root, "transB", 0))
        self.taken.append(root)
        return True

    def _is_bias(self, node: onnx.NodeProto, name: str) -> bool:
        outputs = self.values.weight(node).shape[1]
        return name in self.values.constants and self.values.array(name).shape == (outputs,)

    def _as_long_as(self, value: str, name: str) -> bool:
        """Return whether two values surely have one shape."""
        shape = self.shapes.get(value)
        return bool(shape) and 0 not in shape and self.shapes.get(name) == shape
