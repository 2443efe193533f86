"""Products in int8, spelled as OpenVINO is fast at on CPUs without VNNI: as convolutions.

There it computes a product of rows (B, N, C) with weights (C, K) two to three times slower in int8
(`jit_gemm_I8`) than the same as a convolution of 1 x 1 over an "image" (B, C, 1, N) (`jit_avx2_1x1_I8`):
docs/openvino.md has the figures. Channels come last inside of OpenVINO, so the transpositions around it move
nothing. The sums are the same, of the same integers. Packages hold the portable graph alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from argus_edge.runtime.engines.openvino_graph import Constant, Create, Node, Value, reshape, transpose

__all__ = ["spell_products"]


@dataclass(frozen=True)
class _Weights:
    """What a product is with, quantised for each of K results: `levels` * `scale`."""

    levels: NDArray[np.int8]  # (C, K)
    scale: NDArray[np.float32]  # (K,)


def spell_products(model: Any, create: Create, constant: Constant) -> int:
    """Make convolutions of all int8 products of rows with constant weights in `model`, an openvino.Model.

    A bias that follows goes along. Returns how many were made.
    """
    products = [(node, weights) for node in _varying(model) if (weights := _weights(node)) is not None]
    for node, weights in products:
        _replace(node, weights, create, constant)
    model.validate_nodes_and_infer_types()
    return len(products)


def _varying(model: Any) -> Iterator[Node]:
    """The nodes that depend on an input of the model; what does not is computed once."""
    names: set[str] = set()
    for node in model.get_ordered_ops():
        read = {value.get_node().get_name() for value in node.input_values()}
        if node.get_type_name() == "Parameter" or names & read:
            names.add(node.get_name())
            yield node


def _weights(node: Node) -> _Weights | None:
    """The weights of a node that is such a product; None for any other."""
    if node.get_type_name() != "MatMul":
        return None
    rows, weights = node.input_values()
    attributes = node.get_attributes()
    if len(rows.get_partial_shape()) != 3 or len(weights.get_partial_shape()) != 2:
        return None
    if not rows.get_partial_shape().is_static or attributes["transpose_a"] or attributes["transpose_b"]:
        return None
    return _dequantised(weights) if _is_quantised(rows) else None


def _is_quantised(value: Value) -> bool:
    """Whether `value` is (levels - zero point) * scale, as OpenVINO reads DequantizeLinear."""
    product = value.get_node()
    if product.get_type_name() != "Multiply":
        return False
    shifted = product.input_value(0).get_node()
    levels = shifted.input_value(0).get_node() if shifted.get_type_name() == "Subtract" else shifted
    if levels.get_type_name() != "Convert":
        return False
    return levels.input_value(0).get_element_type().get_type_name() in {"u8", "i8"}


def _dequantised(value: Value) -> _Weights | None:
    """What is dequantised to give `value`, where that is constant, int8 and symmetric."""
    product = value.get_node()
    if product.get_type_name() != "Multiply":
        return None
    shifted, scale = product.input_value(0).get_node(), _numbers(product.input_value(1))
    zero = None
    if shifted.get_type_name() == "Subtract":
        zero, shifted = _numbers(shifted.input_value(1)), shifted.input_value(0).get_node()
    levels = _numbers(shifted.output(0))
    if levels is None or levels.dtype != np.int8 or scale is None or (zero is not None and zero.any()):
        return None
    return _Weights(levels, np.broadcast_to(scale.reshape(-1), levels.shape[1:]).astype(np.float32))


def _numbers(value: Value) -> NDArray[Any] | None:
    """The elements of a constant, before changes of type and shape; None for what is none."""
    node = value.get_node()
    while node.get_type_name() in {"Convert", "Reshape"}:
        node = node.input_value(0).get_node()
    return np.array(node.get_data()) if node.get_type_name() == "Constant" else None


def _replace(product: Node, weights: _Weights, create: Create, constant: Constant) -> None:
    rows = product.input_value(0)
    images, length, channels = rows.get_shape()
    results = len(weights.scale)
    levels = constant(np.ascontiguousarray(weights.levels.T)[:, :, None, None])
    kernel = create("Convert", [levels], {"destination_type": "f32"})
    kernel = create("Multiply", [kernel, constant(weights.scale.reshape(-1, 1, 1, 1))], {})
    columns = transpose(rows, (0, 2, 1), create, constant)
    image = reshape(columns, (images, channels, 1, length), create, constant)
    fixed = {"strides": [1, 1], "dilations": [1, 1], "pads_begin": [0, 0], "pads_end": [0, 0]}
    found = create("Convolution", [image, kernel], fixed)
    last, bias = _bias(product, results)
    if bias is not None:
        found = create("Add", [found, constant(bias.reshape(1, -1, 1, 1))], {})
    flat = reshape(found.output(0), (images, results, length), create, constant)
    answer = transpose(flat, (0, 2, 1), create, constant)
    answer.get_node().set_friendly_name(last.get_friendly_name())
    last.output(0).replace(answer)


def _bias(product: Node, results: int) -> tuple[Node, NDArray[Any] | None]:
    """The sum of a product with its bias, and the bias (K,); the product itself where it has none."""
    readers = list(product.output(0).get_target_inputs())
    if len(readers) == 1 and readers[0].get_node().get_type_name() == "Add":
        total = readers[0].get_node()
        for value in total.input_values():
            bias = _numbers(value)
            if bias is not None and bias.size == results:
                return total, bias
    return product, None
