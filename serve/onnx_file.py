"""What an ONNX file may hold, checked before ONNX Runtime sees it, without the `onnx` package."""

from typing import Any

from .errors import BundleError
from .manifest import Manifest
from .onnx_schema import all_nodes, all_tensors, nodes_in, parse
from .onnx_sizes import check_sizes
from .onnx_wiring import check_interface, check_wiring

DOMAIN = "graphstill"
OPERATORS = frozenset(
    """
    csr dot_attention dot_attention_mean edge_rows edge_softmax extremum gat gat_mean
    gat_update gatv2 gatv2_mean gatv2_update gcn_norm linear_int8 quantize_rows relational_csr
    sddmm spmm spmm_heads spmm_int8 spmm_int8_rows spmm_update
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


def check_model(data: bytes, manifest: Manifest) -> None:
    """Refuse a file that uses what a bundle must not use, or that is not what its manifest says.

    Allowed are standard ONNX operators, those of our own domain, and functions of our own domain
    made of standard operators; all tensors must be inside the file and as large as they say.
    Subgraphs and function bodies count like the graph itself.

    Raises:
        BundleError: Names the first thing that is not allowed.
    """
    model = parse(data)
    for imports in (model.opset_import, *(f.opset_import for f in model.functions)):
        _check_opsets(imports)
    for function in model.functions:
        _check_function(function)
    for node in all_nodes(model):
        _check_node(node)
    for tensor in all_tensors(model):
        if tensor.data_location == EXTERNAL or tensor.external_data:
            raise BundleError(
                f"tensor {tensor.name!r} of model.onnx keeps its data in another file; "
                "a bundle's model is one file"
            )
    check_sizes(model)
    check_wiring(model)
    check_interface(model, manifest)


def _check_function(function: Any) -> None:
    if function.domain != DOMAIN or function.name not in OPERATORS:
        raise BundleError(
            f"model.onnx defines a function {function.domain}.{function.name}; "
            f"only operators of {DOMAIN} may have one"
        )
    for node in nodes_in(function):
        if node.domain == DOMAIN:  # it could call itself, or grow as each calls the next twice
            raise BundleError(
                f"the body of {function.domain}.{function.name} in model.onnx uses "
                f"{DOMAIN}.{node.op_type}; a body is made of standard operators"
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
