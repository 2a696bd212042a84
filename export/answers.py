"""Answers of a bundle for all nodes of a graph, whatever form it takes the graph in."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..serve import Bundle, Manifest
from .opening import open_session


def taken_by(manifest: Manifest, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return those inputs of a whole graph that a bundle takes, in whatever form it takes them."""
    specs = (*manifest.inputs, *manifest.edge_list_inputs)
    names = {name for spec in specs for name in (spec.name, spec.argument)}
    if manifest.graph == "blocks":
        names.add("edge_index")
    return {name: value for name, value in inputs.items() if name in names}


def answers_of(bundle: Bundle, inputs: Mapping[str, Any]) -> tuple[dict[str, Any], float]:
    """Return a bundle's answers for all nodes, and the share of nodes that were cut short.

    Args:
        bundle: The bundle.
        inputs: A whole graph; what the bundle does not take is left out.
    """
    session, fanouts = open_session(bundle), bundle.manifest.fanouts
    inputs = taken_by(bundle.manifest, inputs)
    if bundle.manifest.graph != "blocks" or not fanouts:
        return session(inputs), 0.0
    whole = {name: value for name, value in inputs.items() if name != "edge_index"}
    graph = session.prepare(inputs["edge_index"], len(whole["x"]))
    answers = session.answer(graph, np.arange(graph.num_nodes), **whole)
    return answers, float((np.diff(graph.rowptr) > min(fanouts)).mean())
