"""Graphs of a plan as a model package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import onnx

from argus_edge.export.components import Answers, Extra, Plan
from argus_edge.export.report_page import render
from argus_edge.package import ModelPackage, golden_files, model_path, write_package
from argus_edge.runtime.engines import Array
from argus_edge.spec import (
    ComponentSpec,
    GoldenSpec,
    JsonValue,
    PackageSpec,
    Precision,
    QuantizationSpec,
    VariantSpec,
)

__all__ = ["REPORT_FILE", "Contents", "Golden", "golden_of", "write_contents"]

REPORT_FILE: Final = "report.html"

Variants = Mapping[Precision, Mapping[str, onnx.ModelProto]]  # precision -> component -> graph
Golden = tuple[GoldenSpec, Mapping[str, bytes]]  # and its files


@dataclass(frozen=True)
class Contents:
    """What goes into a package; `quantization` is of its int8 graphs."""

    name: str
    plan: Plan
    variants: Variants
    quantization: QuantizationSpec
    golden: Golden | None = None
    report: Mapping[str, JsonValue] = field(default_factory=dict)


def golden_of(plan: Plan, frame: Array, answers: Answers, extra: Extra, precision: Precision) -> Golden:
    """The golden sample of one frame, what torch answered to it, and what pose read."""
    read = {
        component: {plan.graphs[component].inputs[-1].name: values} for component, values in extra.items()
    }
    return golden_files(frame, answers, precision, read)


def write_contents(contents: Contents, out: Path, overwrite: bool = False) -> ModelPackage:
    """Write them to `out`, with the page REPORT_FILE where they have a report.

    Raises PackageError as `write_package` does.
    """
    plan, variants = contents.plan, contents.variants
    golden, files = contents.golden or (None, {})
    content: dict[str, Path | bytes] = dict(files)
    for precision, graphs in variants.items():
        for component, graph in graphs.items():
            content[model_path(component, precision)] = graph.SerializeToString(deterministic=True)
    recipes = {p: contents.quantization if p == "int8" else None for p in variants}
    components = {
        name: ComponentSpec(
            graph.inputs, graph.outputs, {p: VariantSpec(p, quantization=recipes[p]) for p in variants}
        )
        for name, graph in plan.graphs.items()
    }
    spec = PackageSpec(contents.name, plan.input, plan.entries, components, golden, contents.report)
    if contents.report:
        sizes = {(c, p): graph.ByteSize() for p, graphs in variants.items() for c, graph in graphs.items()}
        content[REPORT_FILE] = render(spec, sizes).encode()
    return write_package(out, spec, content, overwrite)
