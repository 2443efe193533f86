"""int8 as TensorRT reads it from a strongly typed graph: signed on both sides, around 0.

The rest becomes fp16 later, after the gate has returned layers to float (`Target.rest`).

The same layers as on CPUs become int8. NVIDIA's ModelOpt writes the same kind of graph, but its ONNX extra
replaces onnxruntime and pins an older onnx; ONNX Runtime's quantizer, which is here anyway, does it too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType

from argus_edge.export.precision import OPTIONS, to_int8

__all__ = ["SYMMETRIC_RECIPE", "to_symmetric_int8"]

SYMMETRIC_RECIPE: Final = "static-s8s8-minmax-fp16"
# Weights are float with a Q/DQ pair of their own, as NVIDIA documents it for every version. An int32 bias
# under DequantizeLinear is not taken, so bias stays float.
SYMMETRIC_OPTIONS: Final = {
    **OPTIONS,
    "ActivationSymmetric": True,
    "AddQDQPairToWeight": True,
    "QuantizeBias": False,
}


def to_symmetric_int8(
    model: onnx.ModelProto, samples: Iterable[Mapping[str, NDArray[Any]]]
) -> onnx.ModelProto:
    """`samples` gives the graph's inputs once per image. Raises ExportError when it cannot be quantised."""
    return to_int8(model, samples, 8, QuantType.QInt8, SYMMETRIC_OPTIONS)
