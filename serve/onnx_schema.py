"""The part of onnx.proto that decides what a file does, read without the `onnx` package.

Operators and their domains, subgraphs, functions, names and shapes of values, and where tensors
keep their data; see `protobuf` for the notation.
"""

from collections.abc import Iterator
from typing import Any

from google.protobuf import message

from .errors import BundleError
from .protobuf import message_class

_SCHEMA = {
    "ModelProto": "graph:7:GraphProto opset_import*:8:OperatorSetIdProto"
    " functions*:25:FunctionProto",
    "OperatorSetIdProto": "domain:1:string version:2:int64",
    "GraphProto": "node*:1:NodeProto initializer*:5:TensorProto input*:11:ValueInfoProto"
    " output*:12:ValueInfoProto value_info*:13:ValueInfoProto sparse_initializer*:15:SparseProto",
    "ValueInfoProto": "name:1:string type:2:TypeProto",
    "TypeProto": "tensor_type:1:TensorTypeProto",
    "TensorTypeProto": "elem_type:1:int32 shape:2:ShapeProto",
    "ShapeProto": "dim*:1:DimensionProto",
    "DimensionProto": "dim_value:1:int64 dim_param:2:string",
    "NodeProto": "input*:1:string output*:2:string name:3:string op_type:4:string"
    " attribute*:5:AttributeProto domain:7:string",
    "AttributeProto": "name:1:string i:3:int64 t:5:TensorProto g:6:GraphProto ints*:8:int64"
    " tensors*:10:TensorProto graphs*:11:GraphProto sparse_tensor:22:SparseProto"
    " sparse_tensors*:23:SparseProto",
    "TensorProto": "dims*:1:int64 data_type:2:int32 float_data*:4:float int32_data*:5:int32"
    " string_data*:6:bytes int64_data*:7:int64 name:8:string raw_data:9:bytes"
    " double_data*:10:double uint64_data*:11:uint64 external_data*:13:StringStringEntryProto"
    " data_location:14:int32",
    "SparseProto": "values:1:TensorProto indices:2:TensorProto dims*:3:int64",
    "StringStringEntryProto": "key:1:string value:2:string",
    "FunctionProto": "name:1:string input*:4:string output*:5:string node*:7:NodeProto"
    " opset_import*:9:OperatorSetIdProto domain:10:string",
}


_Model = message_class("graphstill_onnx", "ModelProto", _SCHEMA)


def parse(data: bytes) -> Any:
    """Return the ModelProto in a file; protobuf itself refuses messages nested over 100 deep.

    Raises:
        BundleError: If it is no ONNX file.
    """
    model = _Model()
    try:
        model.ParseFromString(data)
    except message.DecodeError as error:
        raise BundleError(f"model.onnx is no ONNX file, or a damaged one: {error}") from error
    if not model.HasField("graph"):
        raise BundleError("model.onnx holds no graph")
    return model


def inner_graphs(node: Any) -> Iterator[Any]:
    """Walk the graphs in the attributes of a node."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def graphs_in(owner: Any) -> Iterator[Any]:
    """Walk every graph inside the nodes of a graph or function, at any depth."""
    waiting = [graph for node in owner.node for graph in inner_graphs(node)]
    while waiting:
        graph = waiting.pop()
        yield graph
        waiting += [inner for node in graph.node for inner in inner_graphs(node)]


def nodes_in(owner: Any) -> Iterator[Any]:
    """Walk the nodes of a graph or function, and those of all graphs inside."""
    for part in (owner, *graphs_in(owner)):
        yield from part.node


def all_graphs(model: Any) -> Iterator[Any]:
    """Walk the main graph and every graph inside a node or a function."""
    yield model.graph
    for owner in (model.graph, *model.functions):
        yield from graphs_in(owner)


def all_nodes(model: Any) -> Iterator[Any]:
    """Walk every node of a model."""
    for owner in (model.graph, *model.functions):
        yield from nodes_in(owner)


def all_sparse(model: Any) -> Iterator[Any]:
    """Walk every sparse tensor of a model."""
    for graph in all_graphs(model):
        yield from graph.sparse_initializer
    for node in all_nodes(model):
        for attribute in node.attribute:
            if attribute.HasField("sparse_tensor"):
                yield attribute.sparse_tensor
            yield from attribute.sparse_tensors


def all_tensors(model: Any) -> Iterator[Any]:
    """Walk every tensor of a model, those of sparse tensors and attributes too."""
    for graph in all_graphs(model):
        yield from graph.initializer
    for node in all_nodes(model):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
    for sparse in all_sparse(model):
        yield from (sparse.values, sparse.indices)
