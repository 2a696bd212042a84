"""What a quantised bundle's answers are worth beside those of the bundle that it was made of.

Agreement is the share of nodes whose decision stays: the class with the largest logit, or, where
nodes have several labels, each label's yes or no. It is given for all nodes, for nodes of few and
of many in-edges, and for each class, because an average hides both hubs and rare classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...distill import NodeData
from ...serve import Session

Array = NDArray[Any]


@dataclass(frozen=True)
class Evidence:
    """Real inputs, and what is known of their nodes.

    Attributes:
        name: What the data is called.
        inputs: Inputs of a call, x and edge_index among them.
        labels: Class of each node, [N], or which labels it has, [N, C]; None if unknown.
        nodes: Sets of nodes to report accuracy on, "val" and "test", by name.
        class_names: Names of the classes, where they have any.
    """

    name: str
    inputs: Mapping[str, Array]
    labels: Array | None = None
    nodes: Mapping[str, Array] = field(default_factory=dict)
    class_names: list[str] | None = None

    @classmethod
    def of(cls, data: NodeData) -> "Evidence":
        """Take over a data set, with its validation and test nodes."""
        return cls(
            data.name,
            {"x": data.x.numpy(), "edge_index": data.edge_index.numpy()},
            data.y.numpy(),
            {"val": data.split.val.numpy(), "test": data.split.test.numpy()},
            list(data.class_names) if data.class_names else None,
        )

    def feeds(self, session: Session) -> dict[str, Any]:
        """Return the inputs that a session takes."""
        manifest = session.bundle.manifest
        names = {spec.name for spec in session.inputs}
        if manifest.graph != "none":
            names.add("edge_index")
        return {name: value for name, value in self.inputs.items() if name in names}

    @property
    def several_labels(self) -> bool:
        """Whether a node may have several labels."""
        return self.labels is not None and self.labels.ndim == 2

    def decisions(self, session: Session) -> Array:
        """Return what a session decides for each node, [N] classes or [N, C] yes and no."""
        logits = next(iter(session(self.feeds(session)).values()))
        return logits > 0 if self.several_labels else logits.argmax(axis=-1)

    def in_degree(self) -> Array | None:
        """Return the number of in-edges of each node, [N], None where there are no edges."""
        if "edge_index" not in self.inputs:
            return None
        return np.bincount(self.inputs["edge_index"][1], minlength=len(self.inputs["x"]))


@dataclass(frozen=True)
class Share:
    """Agreement among some of the nodes: what they are, how many, and the share that agrees."""

    of: str
    nodes: int
    agreement: float


@dataclass(frozen=True)
class Quality:
    """How two bundles' decisions compare.

    Attributes:
        agreement: Share of nodes whose decision is the same, 0–1.
        by_in_degree: The same by the number of in-edges.
        by_class: The same by the first bundle's decision; by label where there are several.
        accuracy: Accuracy of each bundle, "before" and "after", by set of nodes, 0–1. Where nodes
            have several labels it is micro-F1.
    """

    agreement: float
    by_in_degree: list[Share]
    by_class: list[Share]
    accuracy: dict[str, dict[str, float]]


def compare(evidence: Evidence, before: Array, after: Array) -> Quality:
    """Compare the decisions of two bundles, [N] classes or [N, C] yes and no."""
    same = (before == after).reshape(len(before), -1)
    degree = evidence.in_degree()
    return Quality(
        agreement=_mean(same),
        by_in_degree=[] if degree is None else _by_in_degree(same, degree),
        by_class=_by_class(evidence, same, before),
        accuracy={
            name: {
                nodes: _score(decided[index], evidence.labels[index])
                for nodes, index in evidence.nodes.items()
            }
            for name, decided in (("before", before), ("after", after))
            if evidence.labels is not None
        },
    )


def _by_in_degree(same: Array, degree: Array) -> list[Share]:
    # 0, 1, 2–3, 4–7, …
    bucket = np.where(degree > 0, np.floor(np.log2(np.maximum(degree, 1))) + 1, 0).astype(int)
    shares = []
    for number in np.unique(bucket):
        low, high = (0, 0) if number == 0 else (2 ** (number - 1), 2**number - 1)
        chosen = bucket == number
        name = str(low) if low == high else f"{low}–{high}"
        shares.append(Share(name, int(chosen.sum()), _mean(same[chosen])))
    return shares


def _by_class(evidence: Evidence, same: Array, before: Array) -> list[Share]:
    names = evidence.class_names

    def name(number: int) -> str:
        return names[number] if names else str(number)

    if evidence.several_labels:
        return [Share(name(c), len(same), _mean(same[:, c])) for c in range(same.shape[1])]
    return [
        Share(name(int(c)), int((before == c).sum()), _mean(same[before == c]))
        for c in np.unique(before)
    ]


def _score(decided: Array, labels: Array) -> float:
    if labels.ndim == 1:
        return _mean(decided == labels)
    yes = labels > 0
    hit = float((decided & yes).sum())
    return 2 * hit / max(float(decided.sum() + yes.sum()), 1.0)


def _mean(values: Array) -> float:
    return float(values.mean()) if values.size else 1.0
