"""Answers of a bundle for all nodes of a graph, whatever form it takes the graph in."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..serve import Bundle
from .opening import open_session


def answers_of(bundle: Bundle, inputs: Mapping[str, Any]) -> tuple[dict[str, Any], float]:
    """Return a bundle's answers for all nodes, and the share of nodes that were cut short."""
    session, fanouts = open_session(bundle), bundle.manifest.fanouts
    if bundle.manifest.graph != "blocks" or not fanouts:
        return session(inputs), 0.0
    whole = {name: value for name, value in inputs.items() if name != "edge_index"}
    graph = session.prepare(inputs["edge_index"], len(whole["x"]))
    answers = session.answer(graph, np.arange(graph.num_nodes), **whole)
    return answers, float((np.diff(graph.rowptr) > min(fanouts)).mean())
