"""From a float graph to fp16 and int8.

int8 is static Q/DQ as x86 CPUs like it: unsigned activations, signed weights per channel, and only products
with constant weights, whose results are float. Attention products, softmax, norms, residual additions,
sampling and the layers in `KEPT_FLOAT` stay in float. fp16 keeps the boundary tensors and what overflows or
loses places in float.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

from argus_edge.errors import ExportError, first_line
from argus_edge.export.extremes import extremes
from argus_edge.export.groupnorm import STATISTICS
from argus_edge.export.rewrite import copied, sort_nodes
from argus_edge.export.rounding import QUANTIZED, keep_from_others, merge_twins
from argus_edge.export.sampling import PLACES
from argus_edge.spec import PERSONS_TENSOR

WeightBits = Literal[7, 8]
# Where a step of 1/255 of the range is too coarse: sampling offsets and weights, box changes and class
# logits, the layer that sees raw pixels, and the regressed depth. What tells anomalies from what is normal,
# a small difference of large features: in int8 its maps have 19 dB, in float 28.
# The statistics of a GroupNorm, which are sums over many places.
# And the first values of the detection encoder: OpenVINO 2026.4 would scale the joined levels one by one and
# then fail to load the graph.
KEPT_FLOAT: Final = re.compile(
    r"(regress(\.\d)?|classify|select|position(\.\d)?|refine|prior\.stem\.0\.0|head\.\d"
    r"|(adapters|discriminators)(\.\d+)+|mask_embedding\.4|mask_features\.project"
    r"|(^|\.)encoder\.layers\.0\.attention\.value)/"
    rf"|{STATISTICS}"
)
OPTIONS: Final = {
    "WeightSymmetric": True,
    "ActivationSymmetric": False,
    # Only the product reads the rounded tensor: residual additions and samplers beside it keep the float one.
    # And what a product gives is not rounded, but for the next one: that would cost 5 dB.
    "DedicatedQDQPair": True,
    "OpTypesToExcludeOutputQuantization": QUANTIZED,
}
FLOAT_IN_FP16: Final = [
    *DEFAULT_OP_BLOCK_LIST,
    "ArgMax", "Cos", "Div", "GatherND", "GridSample", "GroupNormalization", "LayerNormalization", "Log",
    "Resize", "Sigmoid", "Sin", "Softmax", "Softplus", "Sub", "TopK",
]  # fmt: skip


def to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Half-precision weights and products; inputs and outputs keep their types.

    Where regions are cut out around persons, places are reckoned in single precision: half a pixel of 320 is
    below half precision's step.
    """
    regions = any(tensor.name == PERSONS_TENSOR for tensor in model.graph.input)
    blocked = [
        node.name
        for node in model.graph.node
        if STATISTICS in node.name or PLACES in node.name or (regions and node.name.startswith("graph/"))
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # constants below half precision's smallest become that
        converted: onnx.ModelProto = convert_float_to_float16(
            copied(model),
            keep_io_types=True,
            op_block_list=FLOAT_IN_FP16,
            node_block_list=blocked,
            disable_shape_infer=False,
        )
    if regions:
        _uncast(converted, PERSONS_TENSOR)
    _skip_rounding(converted.graph)
    sort_nodes(converted.graph)  # casts were added at the end
    return converted


def _uncast(model: onnx.ModelProto, name: str) -> None:
    """Let what reads the input `name` by way of half precision and back read it as it comes."""
    there = [node for node in model.graph.node if node.op_type == "Cast" and list(node.input) == [name]]
    halves = {node.output[0] for node in there}
    back = [n for n in model.graph.node if n.op_type == "Cast" and n.input[0] in halves]
    whole = {node.output[0] for node in back}
    for node in model.graph.node:
        for index, tensor in enumerate(node.input):
            if tensor in whole:
                node.input[index] = name
    for node in (*there, *back):
        model.graph.node.remove(node)


def _skip_rounding(graph: onnx.GraphProto) -> None:
    """Let operations in float that follow one another hand on what they made: the converter rounds it to half
    precision and widens it again between any two.
    """
    casts = [node for node in graph.node if node.op_type == "Cast"]
    exact = {c.output[0]: c.input[0] for c in casts if c.name.endswith("_cast_to_fp16_node")}
    widened = [c for c in casts if c.name.endswith("_cast_to_fp32_node") and c.input[0] in exact]
    instead = {cast.output[0]: exact[cast.input[0]] for cast in widened}
    for node in graph.node:
        node.input[:] = [instead.get(name, name) for name in node.input]
    for cast in widened:
        graph.node.remove(cast)
    read = {name for node in graph.node for name in node.input} | {tensor.name for tensor in graph.output}
    for cast in casts:
        if cast.output[0] in exact and cast.output[0] not in read:
            graph.node.remove(cast)


def recipe(weight_bits: WeightBits) -> str:
    """What packages call the way in which their int8 graphs came about."""
    return f"static-u8s{weight_bits}-minmax"


def to_int8(
    model: onnx.ModelProto,
    samples: Iterable[Mapping[str, NDArray[Any]]],
    weight_bits: WeightBits = 7,
    activations: QuantType = QuantType.QUInt8,
    options: Mapping[str, Any] = OPTIONS,
) -> onnx.ModelProto:
    """`samples` gives the graph's inputs once per image; `options` are those of ONNX Runtime's quantizer.

    Weights of 7 bits, which lie in int8 too, are for CPUs without VNNI: these add two products of 8 bits in a
    16-bit register, where they may overflow. Others lose 0.2 dB by it (docs/quantisation.md).

    Raises ExportError when it cannot be quantised.
    """
    excluded = [node.name for node in model.graph.node if KEPT_FLOAT.search(node.name)]
    # Attention and masks; the quantizer's own option for this is without effect on Q/DQ.
    constants = {tensor.name for tensor in model.graph.initializer}
    excluded += [n.name for n in model.graph.node if n.op_type == "MatMul" and n.input[1] not in constants]
    products = [n for n in model.graph.node if n.op_type in QUANTIZED and n.name not in set(excluded)]
    rounded = dict.fromkeys(node.input[0] for node in products if node.input[0] not in constants)
    ranges = extremes(model, rounded, samples)
    try:
        # What quantize_static does after its own calibration, which is slower than `extremes`.
        quantizer = QDQQuantizer(
            onnx.shape_inference.infer_shapes(model),
            per_channel=True,
            reduce_range=weight_bits == 7,
            weight_qType=QuantType.QInt8,
            activation_qType=activations,
            tensors_range=TensorsData(CalibrationMethod.MinMax, ranges),
            nodes_to_quantize=[],
            nodes_to_exclude=excluded,
            op_types_to_quantize=QUANTIZED,
            extra_options=dict(options),
        )
        quantizer.quantize_model()
    except Exception as error:  # ONNX Runtime raises whatever its steps raise
        raise ExportError(f"{model.graph.name}: quantisation failed: {first_line(error)}") from error
    quantised: onnx.ModelProto = quantizer.model.model
    sort_nodes(quantised.graph)  # those that round were added at the end
    keep_from_others(quantised.graph)
    merge_twins(quantised)
    return quantised


def int8_products(model: onnx.ModelProto) -> list[str]:
    """The names of the products whose weights are stored in or rounded to int8, in the order of the graph."""
    constants = {tensor.name for tensor in model.graph.initializer}
    constants |= {
        node.output[0]
        for node in model.graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] in constants
    }
    weights = {
        node.output[0]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in constants
    }
    return [n.name for n in model.graph.node if n.op_type in QUANTIZED and n.input[1] in weights]


def quantised_layers(model: onnx.ModelProto) -> tuple[int, int]:
    """(products with constant weights in int8, all of them); the statistics of norms do not count."""
    produced = {output: node for node in model.graph.node for output in node.output}
    constants = {tensor.name for tensor in model.graph.initializer}
    done = total = 0
    for node in model.graph.node:
        if node.op_type in QUANTIZED and STATISTICS not in node.name:
            weight = produced.get(node.input[1])
            dequantised = weight is not None and weight.op_type == "DequantizeLinear"
            done += dequantised
            total += dequantised or node.input[1] in constants
    return done, total
