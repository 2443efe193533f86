"""Where QuantizeLinear and DequantizeLinear may stand in a graph for TensorRT.

TensorRT computes a product in int8 where Q/DQ pairs stand directly before both of its inputs, with scales
that are known when the engine is built and zero points of 0: one scale for activations, one for each output
channel of the weights.
https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/quantized-types-explicit-quantization.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto

from argus_edge.export.rewrite import GraphView, attribute
from argus_edge.export.targets.support import Miss

__all__ = ["find_misplaced"]

QUANTIZE: Final = "QuantizeLinear"
DEQUANTIZE: Final = "DequantizeLinear"
PRODUCTS: Final = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def find_misplaced(model: onnx.ModelProto, kept_float: re.Pattern[str]) -> list[Miss]:
    """Every Q or DQ, and every product, that breaks a rule; `kept_float` finds what has to stay in float by
    the names of nodes.
    """
    view = GraphView(model.graph)
    rules = {QUANTIZE: _quantize, DEQUANTIZE: _dequantize, **dict.fromkeys(PRODUCTS, _product)}
    found = []
    for node in model.graph.node:
        if node.op_type in rules:
            found += [Miss(node.op_type, e, node.name) for e in rules[node.op_type](view, node)]
        in_float = node.op_type not in rules or kept_float.search(node.name)
        if in_float and any(_made_by(view, name, DEQUANTIZE) for name in node.input):
            found.append(Miss(node.op_type, "float inputs, with no Q/DQ before them", node.name))
    return found


def _quantize(view: GraphView, node: NodeProto) -> Iterator[str]:
    yield from _scale(view, node)
    zero = view.constant(node.input[2]) if len(node.input) > 2 else None
    if zero is None or zero.dtype != np.int8 or np.any(zero):
        yield "a constant int8 zero point of 0"
    if node.output[0] in view.outputs or any(
        reader.op_type != DEQUANTIZE for reader in view.readers(node.output[0])
    ):
        yield "a DequantizeLinear, and nothing else, to read it"


def _dequantize(view: GraphView, node: NodeProto) -> Iterator[str]:
    yield from _scale(view, node)
    zero = view.constant(node.input[2]) if len(node.input) > 2 else None
    if len(node.input) > 2 and (zero is None or np.any(zero)):
        yield "a constant zero point of 0"
    pair, values = _made_by(view, node.input[0], QUANTIZE), view.constant(node.input[0])
    if pair is None and (values is None or values.dtype != np.int8):
        yield "a QuantizeLinear or an int8 constant before it"
    if pair is not None:
        there, back = view.constant(pair.input[1]), view.constant(node.input[1])
        if there is None or back is None or not np.array_equal(there, back):
            yield f"the scale of {pair.name}"


def _scale(view: GraphView, node: NodeProto) -> Iterator[str]:
    scale = view.constant(node.input[1])
    if scale is None or not (np.isfinite(scale) & (scale > 0)).all():
        yield "a constant scale above 0"


def _product(view: GraphView, node: NodeProto) -> Iterator[str]:
    activation, weight = (_made_by(view, name, DEQUANTIZE) for name in node.input[:2])
    if (activation is None) != (weight is None):
        yield "Q/DQ pairs on both inputs or on neither"
    if len(node.input) > 2 and _made_by(view, node.input[2], DEQUANTIZE):
        yield "a bias in float"
    scale = view.constant(activation.input[1]) if activation is not None else None
    if scale is not None and scale.size != 1:
        yield f"one scale for the activations, not {scale.size}"
    if weight is not None:
        yield from _weight(view, node, weight)


def _weight(view: GraphView, node: NodeProto, weight: NodeProto) -> Iterator[str]:
    """What holds for the DQ before a product's weights."""
    pair = _made_by(view, weight.input[0], QUANTIZE)
    values = view.constant((pair or weight).input[0])
    if values is None:
        yield "constant weights"
        return
    axis = _channel_axis(node, values)
    for each in filter(None, (pair, weight)):
        scale = view.constant(each.input[1])
        stated = attribute(each, "axis", 1) % values.ndim
        if scale is not None and (scale.size != values.shape[axis] or (scale.ndim and stated != axis)):
            yield f"a scale for each of the {values.shape[axis]} channels along axis {axis} of the weights"


def _channel_axis(node: NodeProto, weights: NDArray[Any]) -> int:
    """The axis of a product's weights that its output channels lie along."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1
    return 0 if attribute(node, "transB", 0) else weights.ndim - 1


def _made_by(view: GraphView, name: str, operation: str) -> NodeProto | None:
    """The node that makes a tensor, where it is such an operation."""
    node = view.producers.get(name)
    return node if node is not None and node.op_type == operation else None
