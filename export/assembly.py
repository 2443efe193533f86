"""Graphs of a plan as a model package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
# What of a report is measured, and so is of one size of the network's input.
MEASURED: Final = ("parity", "gate", "choice", "failures", "int8_layers", "latency", "activations")

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
    page: bool = False  # whether the package gets REPORT_FILE


def golden_of(plan: Plan, frame: Array, answers: Answers, extra: Extra, precision: Precision) -> Golden:
    """The golden sample of one frame, what torch answered to it, and what pose read."""
    read = {
        component: {plan.graphs[component].inputs[-1].name: values} for component, values in extra.items()
    }
    return golden_files(frame, answers, precision, read)


def write_contents(contents: Sequence[Contents], out: Path, overwrite: bool = False) -> ModelPackage:
    """Write them to `out`.

    `contents` holds one for each size of the network's input; the package is named as the first one, and has
    its golden sample. Raises PackageError as `write_package` does.
    """
    first, *others = contents
    golden, files = first.golden or (None, {})
    content: dict[str, Path | bytes] = dict(files)
    for each in contents:
        ending = "" if each is first else f"-{each.plan.input.size}"
        for precision, graphs in each.variants.items():
            for component, graph in graphs.items():
                path = model_path(component, f"{precision}{ending}")
                content[path] = graph.SerializeToString(deterministic=True)
    report = dict(first.report)
    if others:
        report["other_sizes"] = {each.plan.input.size: _of_size(each.report) for each in others}
    spec = PackageSpec(
        first.name,
        first.plan.input,
        first.plan.entries,
        _components(first, ""),
        golden,
        report,
        {each.plan.input: _components(each, f"-{each.plan.input.size}") for each in others},
    )
    if first.page:
        content[REPORT_FILE] = render(spec, _sizes(first)).encode()
    return write_package(out, spec, content, overwrite)


def _components(contents: Contents, ending: str) -> dict[str, ComponentSpec]:
    """What is said of the graphs of one size; `ending` of its variants' names tells it from others."""
    recipes = {p: contents.quantization if p == "int8" else None for p in contents.variants}
    return {
        name: ComponentSpec(
            graph.inputs,
            graph.outputs,
            {f"{p}{ending}": VariantSpec(p, quantization=recipes[p]) for p in contents.variants},
        )
        for name, graph in contents.plan.graphs.items()
    }


def _of_size(report: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """What is not the same in every size."""
    return {key: value for key, value in report.items() if key in MEASURED}


def _sizes(contents: Contents) -> dict[tuple[str, Precision], int]:
    return {
        (c, p): graph.ByteSize() for p, graphs in contents.variants.items() for c, graph in graphs.items()
    }
