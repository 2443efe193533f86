"""How much work a graph is: the operations of its products, and the bytes that have to move at least."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference

from argus_edge.errors import ExportError

__all__ = ["Work", "work_of"]

PRODUCTS: Final = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose"})
_MOVED: Final = frozenset({"Transpose", "Reshape", "Identity"})  # what may stand between a weight and its use

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Work:
    """A multiply-add is two operations. `bytes`: weights, inputs and outputs, each once."""

    float_flop: int
    int8_flop: int
    bytes: int

    @property
    def flop(self) -> int:
        """Of both kinds."""
        return self.float_flop + self.int8_flop


def work_of(model: onnx.ModelProto) -> Work:
    """The work of a graph with static shapes; products between two DequantizeLinear are in int8.

    What is between products (norms, softmax, sampling) counts for nothing. Raises ExportError where ONNX
    cannot infer a shape that is needed.
    """
    graph = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    shapes = _shapes(graph)
    producers = {output: node for node in graph.node for output in node.output}
    flops = {False: 0, True: 0}
    for node in graph.node:
        if node.op_type in PRODUCTS:
            in_int8 = all(_is_dequantised(name, producers) for name in node.input[:2])
            flops[in_int8] += 2 * _multiplications(node, shapes)
    weights = sum(numpy_helper.to_array(tensor).nbytes for tensor in graph.initializer)
    boundary = sum(
        math.prod(shapes[value.name]) * _itemsize(value) for value in (*graph.input, *graph.output)
    )
    return Work(flops[False], flops[True], weights + boundary)


def _shapes(graph: onnx.GraphProto) -> dict[str, Shape]:
    found: dict[str, Shape] = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        dims = value.type.tensor_type.shape.dim
        if all(dim.HasField("dim_value") for dim in dims):
            found[value.name] = tuple(dim.dim_value for dim in dims)
    return found


def _itemsize(value: onnx.ValueInfoProto) -> int:
    return int(np.dtype(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)).itemsize)


def _is_dequantised(name: str, producers: Mapping[str, onnx.NodeProto]) -> bool:
    node = producers.get(name)
    while node is not None and node.op_type in _MOVED:
        node = producers.get(node.input[0])
    return node is not None and node.op_type == "DequantizeLinear"


def _multiplications(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> int:
    try:
        first, second, out = (shapes[name] for name in (node.input[0], node.input[1], node.output[0]))
    except KeyError as error:
        raise ExportError(
            f"{node.name}: ONNX infers no shape of {error}; export it with static shapes"
        ) from None
    if node.op_type == "Conv":  # weights (O, I / groups, ...)
        return math.prod(out) * math.prod(second[1:])
    if node.op_type == "ConvTranspose":  # weights (I, O / groups, ...)
        return math.prod(first) * math.prod(second[1:])
    transposed = any(a.name == "transA" and a.i for a in node.attribute)
    return math.prod(out) * first[-2 if transposed else -1]
