"""A family of engines that take the same graphs, and what it asks of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import onnx

from argus_edge.errors import ExportError, first_line
from argus_edge.export.groupnorm import NormForm, spell_group_norms
from argus_edge.export.rewrite import copied
from argus_edge.export.sampling import SamplingForm, spell_samplings

__all__ = ["Graphs", "Target"]

Graphs: TypeAlias = Mapping[str, onnx.ModelProto]  # component -> graph


@dataclass(frozen=True)
class Target:
    """How a family of engines wants operations spelled, and what else holds for its graphs.

    `opset` is the newest that all of the family read; None: as torch traced it. `symmetric` says which int8
    it takes: signed around 0 on both sides, or unsigned activations. `rest` brings what an int8 graph has in
    fp32 into the type that is wanted beside int8, after the gate has returned layers to float. `respell`
    changes whatever else is to be spelled otherwise, in place. `check` raises ExportError, naming everything
    in finished graphs that one of the family would refuse. `write` makes of a finished graph, which was
    measured, the one that is written; it computes the same.
    """

    name: str
    engines: tuple[str, ...]  # that parity is measured on, where they are at hand
    group_norm: NormForm
    sampling: SamplingForm
    opset: int | None = None
    symmetric: bool = False
    rest: Callable[[onnx.ModelProto], onnx.ModelProto] = lambda graph: graph
    respell: Callable[[onnx.ModelProto], object] = lambda _: None
    check: Callable[[Graphs], None] = lambda _: None
    write: Callable[[onnx.ModelProto], onnx.ModelProto] = lambda graph: graph

    def spell(self, graph: onnx.ModelProto) -> onnx.ModelProto:
        """A copy of a graph as torch traced it, in the spellings of this target. Raises ExportError."""
        spelled = copied(graph)
        spell_group_norms(spelled, self.group_norm)
        spell_samplings(spelled, self.sampling)
        self.respell(spelled)
        if self.opset is not None:
            lower_opset(spelled, self.opset)
        return spelled


def lower_opset(model: onnx.ModelProto, opset: int) -> None:
    """Declare an older opset, in place, for a graph whose operations all mean the same there.

    From 21 to 20 that is so but for GroupNormalization, whose scale was by group, and for attributes and
    types that 20 does not have. Raises ExportError for the latter; the former is a matter of spelling.
    """
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = min(entry.version, opset)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"{model.graph.name}: does not fit opset {opset}: {first_line(error)}") from error
