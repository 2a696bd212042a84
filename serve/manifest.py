"""manifest.json: what a bundle holds and what its model expects, format version 1."""

import json
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from .errors import BundleError
from .tensors import TensorSpec

FORMAT = 1
_LARGEST = 2**31 - 1


# the arrays that stand for a graph, by the form it is given in
GRAPH_INPUTS = {
    "edge_index": ("edge_index",),
    "csr": ("rowptr", "col"),
    "blocks": ("edge_count",),
    "typed": (),
    "none": (),
}


@dataclass(frozen=True)
class FileEntry:
    """A file of the bundle: its SHA-256 in hexadecimal, and its size in bytes."""

    sha256: str
    bytes: int


# what JSON of another shape, nested too deep or with numbers too large may raise
_DAMAGED = (KeyError, TypeError, ValueError, AttributeError, RecursionError, OverflowError)


@dataclass(frozen=True)
class Manifest:
    """What a bundle holds.

    Attributes:
        inputs: Inputs a call must give, in the file's order.
        outputs: Outputs a call answers with.
        files: Every other file of the bundle, by name.
        format: Version of this format.
        producer: The graphstill version that wrote it.
        task: What the output means, "node-classification".
        architecture: Name and arguments of the network, where it is one that graphstill can
        rebuild.
        graph: Form of the graph: "edge_index", "csr", "blocks" for trees of in-neighbours, "typed"
            for an edge list, or rowptr and col, of each type of edges, or "none" for a model
            without one.
        lowering: "fused", aggregation as nodes of ours; "baked", the same with the graph inside;
            "blocks", standard operators on a fixed number of in-neighbours.
        fanouts: Where graph is "blocks": the number of in-neighbours in each hop, from the seeds
            outwards.
        choices: What was computed in another way than the network says, with the same result: its
            name, and the modules it was done for.
        hops: How far an answer looks, in edges; None where it looks at the whole graph.
        in_degree: Whether the model normalises by degree and takes an optional `in_degree`.
        add_self_loops: Whether every node has a self loop in `in_degree`.
        fill_value: Weight there of a self loop that a weighted graph does not have itself.
        class_names: Names of the classes in the order of the logits.
        feature_names: Names of the features in the order of the columns of x.
        feature_transform: What training did to raw features, and callers must do too.
        id_map: SHA-256 of the map from the user's ids to rows, where there is one.
        parameters: Trainable numbers in all.
        embedding_parameters: How many of them are embedding tables.
        accuracy: Measured accuracies, fractions in 0–1, by split.
        provenance: Where the weights come from: data, method, teacher, seed, versions.
        limits: Largest sizes a call may have, by dimension.
        warnings: What the lint said of model.onnx when it was exported.
        quantisation: How weights and features were made smaller, and what that was measured to
            cost; None for a bundle as exported.
        target: Where the model is not in ONNX: its `format`, the file it is in (`model`), and what
            it was compiled for.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    files: dict[str, FileEntry]
    format: int = FORMAT
    producer: str = ""
    task: str = "node-classification"
    architecture: dict[str, Any] | None = None
    graph: str = "edge_index"
    lowering: str = "fused"
    hops: int | None = None
    in_degree: bool = False
    add_self_loops: bool = True
    fill_value: float = 1.0
    class_names: list[str] | None = None
    feature_names: list[str] | None = None
    feature_transform: str | None = None
    id_map: str | None = None
    parameters: int = 0
    embedding_parameters: int = 0
    accuracy: dict[str, float] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    quantisation: dict[str, Any] | None = None
    fanouts: list[int] | None = None
    choices: dict[str, list[str]] = field(default_factory=dict)
    target: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise BundleError(
                f"the bundle has format {self.format}, this graphstill reads format {FORMAT}; "
                "export it again, or use the graphstill that wrote it"
            )
        _check_types(self)
        if self.graph not in GRAPH_INPUTS:
            raise BundleError(f"graph must be one of {', '.join(GRAPH_INPUTS)}, got {self.graph!r}")
        missing = set(GRAPH_INPUTS[self.graph]) - {spec.name for spec in self.inputs}
        if missing:
            raise BundleError(f"the manifest lists no input {', '.join(sorted(missing))}")
        sizes = {dim for spec in self.inputs for dim in spec.shape}
        for spec in self.inputs:
            if not set(spec.ends or ()) <= sizes:
                raise BundleError(f"{spec.name} counts in {spec.ends}, which no input has")
            is_sorted = spec.ends is not None and not spec.is_edge_list
            if is_sorted and spec.rowptr not in {other.name for other in self.inputs}:
                raise BundleError(f"the manifest lists {spec.name}, and no {spec.rowptr}")
        if self.graph == "blocks":
            _check_blocks(self)
        if self.model not in self.files:
            raise BundleError(f"the manifest lists no {self.model}")

    @property
    def model(self) -> str:
        """Name of the file that holds the model."""
        return "model.onnx" if self.target is None else str(self.target.get("model"))

    @property
    def edge_list_inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs, with an edge list in place of each rowptr and col."""
        names = {spec.name for spec in self.inputs}
        sorted_ = [spec for spec in self.inputs if spec.is_col and spec.rowptr in names]
        taken = {name for spec in sorted_ for name in (spec.name, spec.rowptr)}
        lists = (
            replace(
                spec,
                name=f"edge_index{spec.name.removeprefix('col')}",
                dtype="int64",
                shape=(2, *spec.shape),
            )
            for spec in sorted_
        )
        return (*(spec for spec in self.inputs if spec.name not in taken), *lists)

    def to_json(self) -> str:
        """Return the manifest as indented JSON."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Read a manifest; what a later version of this format added is ignored.

        Raises:
            BundleError: If it is no manifest, or of another format.
        """
        try:
            value = json.loads(text)
            known = {f.name: value[f.name] for f in fields(cls) if f.name in value}
            known["inputs"] = tuple(TensorSpec.from_json(v) for v in value["inputs"])
            known["outputs"] = tuple(TensorSpec.from_json(v) for v in value["outputs"])
            known["files"] = {
                str(name): FileEntry(str(entry["sha256"]), int(entry["bytes"]))
                for name, entry in value["files"].items()
            }
        except BundleError:
            raise
        except _DAMAGED as error:
            raise BundleError(f"manifest.json is damaged: {error!r}") from error
        return cls(**known)


# types of the fields that JSON could fill with anything
_TEXT = (str,)
_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("producer", "task", "graph", "lowering"), _TEXT),
    **dict.fromkeys(("feature_transform", "id_map"), (str, type(None))),
    **dict.fromkeys(("class_names", "feature_names", "fanouts"), (list, type(None))),
    **dict.fromkeys(("accuracy", "provenance", "limits", "choices"), (dict,)),
    **dict.fromkeys(("in_degree", "add_self_loops"), (bool,)),
    **dict.fromkeys(("parameters", "embedding_parameters"), (int,)),
    **dict.fromkeys(("architecture", "target"), (dict, type(None))),
    "fill_value": (int, float),
    "hops": (int, type(None)),
    "warnings": (list,),
}


def _check_types(manifest: Manifest) -> None:
    for name, kinds in _TYPES.items():
        value = getattr(manifest, name)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            said = " or ".join("null" if k is type(None) else k.__name__ for k in kinds)
            raise BundleError(f"{name} of the manifest must be {said}, got {value!r:.60}")
    for dim, limit in manifest.limits.items():
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
            raise BundleError(f"the limit of {dim} must be a number of elements, got {limit!r:.60}")
    for name, modules in manifest.choices.items():
        if not isinstance(modules, list) or not all(isinstance(m, str) for m in modules):
            raise BundleError(f"choices of the manifest must be lists of names, {name!r} is none")
    if manifest.hops is not None and manifest.hops < 0:
        raise BundleError(f"hops of the manifest must not be negative, got {manifest.hops}")
    for specs in (manifest.inputs, manifest.outputs):
        names = [spec.name for spec in specs]
        if len(set(names)) < len(names):
            raise BundleError(f"the manifest names an input or output twice: {', '.join(names)}")
    if not manifest.outputs:
        raise BundleError("the manifest lists no outputs")


def _check_blocks(manifest: Manifest) -> None:
    """Refuse fan-outs that are none, and inputs that are not of their trees."""
    fanouts = manifest.fanouts
    if not fanouts or any(type(count) is not int or count < 1 for count in fanouts):
        raise BundleError(f"fanouts of blocks must be positive numbers, got {fanouts!r:.60}")
    slots = width = 1
    for count in fanouts:
        width *= count
        slots += width
        if slots > _LARGEST:  # before the numbers grow beyond all measure
            raise BundleError(f"fanouts {fanouts!r:.60} make trees of more than {_LARGEST:,} slots")
    for spec in manifest.inputs:
        if spec.shape[1:2] != (slots,):
            raise BundleError(
                f"{spec.name} has the shape {list(spec.shape)} in the manifest; blocks of "
                f"{fanouts} have {slots} slots, its second size"
            )
