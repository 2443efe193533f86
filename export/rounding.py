"""Who reads what was rounded in a Q/DQ graph: the int8 products, and nobody else."""

from __future__ import annotations

from typing import Any, Final

import onnx

from argus_edge.export.rewrite import GraphView, drop_unread

QUANTIZED: Final = ["Conv", "MatMul", "Gemm", "ConvTranspose"]  # operations whose products become int8


def keep_from_others(graph: onnx.GraphProto) -> None:
    """Let only products with constant int8 weights read what was rounded, in place.

    ONNX Runtime's quantizer gives a product a pair of its own only where several quantised ones read the same
    tensor; of a single one it gives the rounded tensor to all that read it.
    """
    view = GraphView(graph)
    for node in graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear") and not _is_quantised(view, node):
            for index, name in enumerate(node.input):
                node.input[index] = _before_rounding(view, name) or name
    drop_unread(graph)


def _is_quantised(view: GraphView, node: onnx.NodeProto) -> bool:
    """Whether it is a product of a rounded activation and a constant that is stored in, or rounded to, int8.

    What is constant on both sides, such as learnt queries under their first layer, is folded when an engine
    is built.
    """
    if node.op_type not in QUANTIZED:
        return False
    data, weight = _before_rounding(view, node.input[0]), view.producers.get(node.input[1])
    if data is None or view.constant(data) is not None or weight is None:
        return False
    stored = weight.op_type == "DequantizeLinear" and view.constant(weight.input[0]) is not None
    rounded = _before_rounding(view, node.input[1])
    return stored or (rounded is not None and view.constant(rounded) is not None)


def _before_rounding(view: GraphView, name: str) -> str | None:
    """What a Q/DQ pair that makes this tensor reads; None where none makes it."""
    back = view.producers.get(name)
    if back is None or back.op_type != "DequantizeLinear":
        return None
    there = view.producers.get(back.input[0])
    return there.input[0] if there is not None and there.op_type == "QuantizeLinear" else None


def merge_twins(model: onnx.ModelProto) -> None:
    """One Q/DQ pair where several products read the same tensor with the same scale, not one for each."""
    constants = {
        tensor.name: onnx.numpy_helper.to_array(tensor).tobytes() for tensor in model.graph.initializer
    }
    first: dict[tuple[Any, ...], str] = {}
    renamed: dict[str, str] = {}
    kept = []
    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and node.input[0] not in constants:
            key = (node.op_type, node.input[0], *(constants.get(name, name) for name in node.input[1:]))
            if key in first:
                renamed[node.output[0]] = first[key]
                continue
            first[key] = node.output[0]
        kept.append(node)
    del model.graph.node[:]
    model.graph.node.extend(kept)
