"""A student inside an app: numpy and onnxruntime are all it needs. Usage: embed.py BUNDLE"""

import sys

import numpy as np

from graphstill.serve import Session

session = Session(sys.argv[1])  # once, when the app starts
width = int(session.inputs[0].shape[1])

rng = np.random.default_rng(0)
x = rng.random((100, width), dtype=np.float32)  # the features of 100 nodes
edge_index = rng.integers(0, 100, (2, 500))  # 500 edges, in any order
graph = session.prepare(edge_index, num_nodes=100)  # once for each graph

logits = session(x=x, graph=graph)["logits"]
for node, label in enumerate(logits[:5].argmax(axis=1)):
    print(f"node {node}: class {label}")
