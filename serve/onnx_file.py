"""What an ONNX file may hold, checked before ONNX Runtime sees it and without the `onnx` package.

The schema below is the part of onnx.proto that decides what a file does: operators, their domains,
subgraphs, functions, and where tensors keep their data. protobuf skips the fields it does not name.
"""

from collections.abc import Iterator
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

from .errors import BundleError

DOMAIN = "graphstill"
OPERATORS = frozenset(
    """
    csr dot_attention edge_rows edge_softmax extremum gat gatv2 gcn_norm linear_int8 quantize_rows
    relational_csr sddmm spmm spmm_heads spmm_int8 spmm_int8_rows
    """.split()
)
DOMAIN_VERSION = 1
EXTERNAL = 1  # TensorProto.DataLocation

# every operator that standard ONNX has at opset 18
_STANDARD = frozenset(
    """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization
    Bernoulli BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor BlackmanWindow Cast CastLike Ceil
    Celu CenterCropPad Clip Col2Im Compress Concat ConcatFromSequence Constant ConstantOfShape Conv
    ConvInteger ConvTranspose Cos Cosh CumSum DFT DepthToSpace DequantizeLinear Det Div Dropout
    DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU Gather
    GatherElements GatherND Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual
    GridSample GroupNormalization HammingWindow HannWindow HardSigmoid HardSwish Hardmax Identity If
    InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu Less LessOrEqual Log
    LogSoftmax Loop LpNormalization LpPool MatMul MatMulInteger Max MaxPool MaxRoiPool MaxUnpool
    Mean MeanVarianceNormalization MelWeightMatrix Min Mish Mod Mul Multinomial Neg
    NegativeLogLikelihoodLoss NonMaxSuppression NonZero Not OneHot Optional OptionalGetElement
    OptionalHasElement Or PRelu Pad Pow QLinearConv QLinearMatMul QuantizeLinear RNN RandomNormal
    RandomNormalLike RandomUniform RandomUniformLike Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum
    ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape
    Resize ReverseSequence RoiAlign Round STFT Scan ScatterElements ScatterND Selu SequenceAt
    SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength SequenceMap Shape
    Shrink Sigmoid Sign Sin Sinh Size Slice Softmax SoftmaxCrossEntropyLoss Softplus Softsign
    SpaceToDepth Split SplitToSequence Sqrt Squeeze StringNormalizer Sub Sum Tan Tanh
    TfIdfVectorizer ThresholdedRelu Tile TopK Transpose Trilu Unique Unsqueeze Upsample Where Xor
    """.split()
)

# message: (field, number, type); a trailing star makes a field repeated
_SCHEMA = {
    "ModelProto": "graph:7:GraphProto opset_import*:8:OperatorSetIdProto"
    " functions*:25:FunctionProto",
    "OperatorSetIdProto": "domain:1:string version:2:int64",
    "GraphProto": "node*:1:NodeProto initializer*:5:TensorProto sparse_initializer*:15:SparseProto",
    "NodeProto": "input*:1:string output*:2:string name:3:string op_type:4:string"
    " attribute*:5:AttributeProto domain:7:string",
    "AttributeProto": "name:1:string t:5:TensorProto g:6:GraphProto tensors*:10:TensorProto"
    " graphs*:11:GraphProto sparse_tensor:22:SparseProto sparse_tensors*:23:SparseProto",
    "TensorProto": "name:8:string external_data*:13:StringStringEntryProto data_location:14:int32",
    "SparseProto": "values:1:TensorProto indices:2:TensorProto",
    "StringStringEntryProto": "key:1:string value:2:string",
    "FunctionProto": "name:1:string node*:7:NodeProto opset_import*:9:OperatorSetIdProto"
    " domain:10:string",
}


def _model_class() -> Any:
    """Build the protobuf class of ModelProto from the schema, in a pool of its own."""
    file = descriptor_pb2.FileDescriptorProto(
        name="graphstill_onnx.proto", package="graphstill_onnx", syntax="proto2"
    )
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in _SCHEMA.items():
        target = file.message_type.add(name=name)
        for word in fields.split():
            label, number, kind = word.split(":")
            added = target.field.add(name=label.rstrip("*"), number=int(number))
            added.label = kinds.LABEL_REPEATED if "*" in label else kinds.LABEL_OPTIONAL
            if kind in _SCHEMA:
                added.type, added.type_name = kinds.TYPE_MESSAGE, f".graphstill_onnx.{kind}"
            else:
                added.type = getattr(kinds, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("graphstill_onnx.ModelProto"))


_Model = _model_class()


def check_model(data: bytes) -> None:
    """Refuse a file that uses what a bundle must not use.

    Allowed are standard ONNX operators, those of our own domain, and functions of our own domain;
    all tensors must be inside the file. Subgraphs and function bodies count like the graph itself.

    Raises:
        BundleError: Names the first thing that is not allowed.
    """
    model = _Model()
    try:
        model.ParseFromString(data)
    except message.DecodeError as error:
        raise BundleError("model.onnx is no ONNX file, or a damaged one") from error
    if not model.HasField("graph"):
        raise BundleError("model.onnx holds no graph")
    for imports in (model.opset_import, *(f.opset_import for f in model.functions)):
        _check_opsets(imports)
    for function in model.functions:
        if function.domain != DOMAIN or function.name not in OPERATORS:
            raise BundleError(
                f"model.onnx defines a function {function.domain}.{function.name}; "
                f"only operators of {DOMAIN} may have one"
            )
    graphs = list(_graphs(model))
    for node in _nodes(model, graphs):
        _check_node(node)
    for tensor in _tensors(model, graphs):
        if tensor.data_location == EXTERNAL or tensor.external_data:
            raise BundleError(
                f"tensor {tensor.name!r} of model.onnx keeps its data in another file; "
                "a bundle's model is one file"
            )


def _check_opsets(imports: Any) -> None:
    for entry in imports:
        if entry.domain not in ("", "ai.onnx", DOMAIN):
            raise BundleError(f"model.onnx imports the operator domain {entry.domain!r}")
        if entry.domain == DOMAIN and entry.version != DOMAIN_VERSION:
            raise BundleError(
                f"model.onnx needs version {entry.version} of the {DOMAIN} operators, "
                f"this graphstill has version {DOMAIN_VERSION}"
            )


def _check_node(node: Any) -> None:
    known = OPERATORS if node.domain == DOMAIN else _STANDARD
    if node.domain not in ("", "ai.onnx", DOMAIN) or node.op_type not in known:
        name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        raise BundleError(f"model.onnx uses the operator {name}, which is not allowed")


def _graphs(model: Any) -> Iterator[Any]:
    """Walk the main graph and every graph inside a node or a function."""
    waiting = [model.graph]
    waiting += [graph for f in model.functions for node in f.node for graph in _inner(node)]
    while waiting:
        graph = waiting.pop()
        yield graph
        waiting += [inner for node in graph.node for inner in _inner(node)]


def _inner(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _nodes(model: Any, graphs: list[Any]) -> Iterator[Any]:
    for owner in (*graphs, *model.functions):
        yield from owner.node


def _tensors(model: Any, graphs: list[Any]) -> Iterator[Any]:
    for graph in graphs:
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in _nodes(model, graphs):
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
