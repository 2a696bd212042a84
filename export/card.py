"""The model card that lies in every bundle."""

from ..serve import Manifest

_CARD = """\
---
library_name: graphstill
tags: [graph-machine-learning, {tag}]
---
# {title}

A graph network for {task}, exported by {producer}. It has {parameters:,} parameters{embeddings}.

```python
from graphstill.{opener[0]} import {opener[1]}

session = {opener[1]}("path/to/this/folder")
answer = session({arguments})["{output}"]
```

| input | type | shape |
|---|---|---|
{inputs}

{facts}
"""


def model_card(manifest: Manifest) -> str:
    """Return the card of a bundle in Markdown."""
    architecture = manifest.architecture or {}
    facts = [_blocks(manifest) if manifest.graph == "blocks" else _hops(manifest)]
    target = manifest.target or {}
    if target:
        facts.append(
            f"`{manifest.model}` is machine code, made by torch {target['torch']} for a processor "
            f"({target['machine']}) with {', '.join(target['instructions'])}; it runs with no "
            "other version of torch and on no processor that lacks one of these."
        )
    if manifest.in_degree:
        facts.append(
            "It normalises by degree: for a subgraph pass `in_degree`, counted by "
            "`Session.in_degree` in the whole graph, or its answers differ from the whole graph's."
        )
    if manifest.feature_transform:
        facts.append(f"Features were prepared by `{manifest.feature_transform}`; do the same.")
    metric = str(manifest.provenance.get("metric", "accuracy"))
    for split, value in manifest.accuracy.items():
        facts.append(f"{metric[0].upper()}{metric[1:]} on {split}: {value:.4f}.")
    facts += [f"{name}: {value}." for name, value in manifest.provenance.items()]
    facts += [f"Lint: {warning}" for warning in manifest.warnings]
    return _CARD.format(
        tag="torch" if target else "onnx",
        opener=("export", "open_session") if target else ("serve", "Session"),
        title=architecture.get("name", "Graph network"),
        task=manifest.task.replace("-", " "),
        producer=manifest.producer,
        parameters=manifest.parameters,
        embeddings=f", {manifest.embedding_parameters:,} of them in embedding tables"
        if manifest.embedding_parameters
        else "",
        arguments=_arguments(manifest),
        output=manifest.outputs[0].name,
        inputs="\n".join(
            f"| `{spec.name}` | {spec.dtype} | {list(spec.shape)} |" for spec in manifest.inputs
        ),
        facts="\n\n".join(facts),
    )


def _hops(manifest: Manifest) -> str:
    if manifest.graph == "none":
        return "It looks at a node's own features only."
    if manifest.hops is None:
        return "Every answer depends on the whole graph."
    return (
        f"An answer depends on a node's {manifest.hops}-hop in-neighbourhood: the subgraph of that "
        "neighbourhood gives the same answer as the whole graph."
    )


def _arguments(manifest: Manifest) -> str:
    if manifest.graph == "blocks":
        return "session.blocks(edge_index, seeds, x=x)"
    return ", ".join(f"{spec.name}={spec.name}" for spec in manifest.inputs)


def _blocks(manifest: Manifest) -> str:
    return (
        f"A row answers for one seed from {' × '.join(map(str, manifest.fanouts or []))} of its "
        "in-neighbours, which `Session.blocks` cuts out of a graph. Rows do not refer to each "
        "other, so batches may be cut and joined along the first axis. Where no node has more "
        "in-neighbours than that, the answers are the whole graph's."
    )
