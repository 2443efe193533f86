"""int8 as TensorRT reads it from a strongly typed graph: signed on both sides, around 0, the rest in fp16.

The same layers as on CPUs become int8. NVIDIA's ModelOpt writes the same kind of graph, but its ONNX extra
replaces onnxruntime and pins an older onnx; ONNX Runtime's quantizer, which is here anyway, does it too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType

from argus_edge.export.precision import OPTIONS, QUANTIZED, to_fp16, to_int8
from argus_edge.export.rewrite import GraphView, drop_unread

__all__ = ["SYMMETRIC_RECIPE", "keep_from_others", "to_symmetric_int8"]

SYMMETRIC_RECIPE: Final = "static-s8s8-minmax-fp16"
# Weights are float with a Q/DQ pair of their own, as NVIDIA documents it for every version. An int32 bias
# under DequantizeLinear is not taken, so bias stays float; and what a product gives is not rounded, so that
# additions and norms behind it read it as it is.
SYMMETRIC_OPTIONS: Final = {
    **OPTIONS,
    "ActivationSymmetric": True,
    "AddQDQPairToWeight": True,
    "QuantizeBias": False,
    "OpTypesToExcludeOutputQuantization": QUANTIZED,
}


def to_symmetric_int8(
    model: onnx.ModelProto, samples: Iterable[Mapping[str, NDArray[Any]]]
) -> onnx.ModelProto:
    """`samples` gives the graph's inputs once per image. Raises ExportError when it cannot be quantised."""
    quantised = to_int8(model, samples, 8, QuantType.QInt8, SYMMETRIC_OPTIONS)
    keep_from_others(quantised.graph)
    return to_fp16(quantised)


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
    """Whether it is a product of an activation and a constant, both under a Q/DQ pair.

    What is constant on both sides, such as learnt queries under their first layer, is folded when an engine
    is built.
    """
    if node.op_type not in QUANTIZED:
        return False
    data, weight = (_before_rounding(view, name) for name in node.input[:2])
    return (
        data is not None
        and weight is not None
        and view.constant(data) is None
        and view.constant(weight) is not None
    )


def _before_rounding(view: GraphView, name: str) -> str | None:
    """What a Q/DQ pair that makes this tensor reads; None where none makes it."""
    back = view.producers.get(name)
    if back is None or back.op_type != "DequantizeLinear":
        return None
    there = view.producers.get(back.input[0])
    return there.input[0] if there is not None and there.op_type == "QuantizeLinear" else None
