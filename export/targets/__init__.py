"""How each family of engines wants operations spelled: one table, decided by measurement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import onnx

from argus_edge.export.groupnorm import NormForm, spell_group_norms
from argus_edge.export.rewrite import copied
from argus_edge.export.sampling import SamplingForm, spell_samplings

__all__ = ["CPU", "Target"]


@dataclass(frozen=True)
class Target:
    """A family of engines that take the same graphs."""

    name: str
    engines: tuple[str, ...]
    group_norm: NormForm
    sampling: SamplingForm

    def spell(self, graph: onnx.ModelProto) -> onnx.ModelProto:
        """A copy of a graph as torch traced it, in the spellings of this target."""
        spelled = copied(graph)
        spell_group_norms(spelled, self.group_norm)
        spell_samplings(spelled, self.sampling)
        return spelled


# benchmarks/groupnorm.py: where the norm is one operation, both engines reorder what the convolutions around
# it have laid out in blocks, at 1.5 to 2 times the cost of the algebraic form.
CPU: Final = Target("cpu", ("openvino", "onnxruntime"), "algebraic", "gridsample")
