"""Engines on CPUs: OpenVINO and ONNX Runtime."""

from __future__ import annotations

from typing import Final

from argus_edge.export.targets.target import Target

__all__ = ["CPU"]

# benchmarks/groupnorm.py: where the norm is one operation, both engines reorder what the convolutions around
# it have laid out in blocks, at 1.5 to 2 times the cost of the algebraic form.
CPU: Final = Target("cpu", ("openvino", "onnxruntime"), "algebraic", "gridsample")
