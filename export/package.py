"""A checkpoint's backbone and chosen decoders become a model package, measured against torch."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch

from argus_edge.errors import ParityError, TaskError
from argus_edge.export import parity
from argus_edge.export.calibration import CalibrationSet, sample_evenly
from argus_edge.export.parity import Array, Deviation
from argus_edge.export.precision import RECIPE, quantised_layers, to_fp16, to_int8
from argus_edge.export.trace import OPSET, Graph, levels_needed, trace_backbone, trace_decoder
from argus_edge.package import ModelPackage, golden_files, model_path, write_package
from argus_edge.runtime.engines import Engine, available_engines, default_threads, open_engine
from argus_edge.spec import (
    BACKBONE,
    IMAGE_TENSOR,
    ComponentSpec,
    ImageSpec,
    JsonValue,
    PackageSpec,
    Precision,
    QuantizationSpec,
    TaskEntry,
    VariantSpec,
)
from argus_edge.tasks import require_built
from argus_edge.train.model.argus import Argus, normalise
from argus_edge.train.model.checkpoint import CheckpointInfo

PARITY_FRAMES: Final = 8
TOOLS: Final = ("torch", "onnx", "onnxruntime", "openvino")

Graphs = dict[str, onnx.ModelProto]  # component -> graph
Notify = Callable[[str], None]  # is told what begins


@dataclass(frozen=True)
class ExportSettings:
    tasks: tuple[str, ...]
    precisions: tuple[Precision, ...]
    name: str
    input: ImageSpec
    command: str = ""
    metadata: Mapping[str, JsonValue] = field(default_factory=dict)


def check_tasks(tasks: Sequence[str], info: CheckpointInfo) -> tuple[str, ...]:
    """`tasks`, or all of the checkpoint. Raises TaskError for one that is unknown, not built or not in it."""
    for task in tasks:
        require_built(task)
        if task not in info.tasks:
            raise TaskError(f"the checkpoint has no task {task!r}; it has: {', '.join(info.tasks)}")
    return tuple(dict.fromkeys(tasks)) or info.tasks


def export(
    model: Argus,
    info: CheckpointInfo,
    settings: ExportSettings,
    calibration: CalibrationSet,
    out: Path,
    overwrite: bool = False,
    notify: Notify = lambda _: None,
) -> ModelPackage:
    """Trace, convert, compare and write. `calibration` serves int8 and, in part, parity and the sample.

    Raises ExportError, PackageError, and ParityError when fp32 is off by more than `parity.FP32_BOUND` on
    some engine or another precision is plainly broken (`parity.broken`).
    """
    traced = _trace_all(model, settings, notify)
    frames = sample_evenly(calibration.images, PARITY_FRAMES)
    notify("torch reference")
    exact = copy.deepcopy(model).double()
    reference = [_torch_outputs(exact, settings.tasks, frame) for frame in frames]
    variants: dict[Precision, Graphs] = {}
    measured: dict[str, JsonValue] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for precision in settings.precisions:
            variants[precision] = _convert(traced, precision, calibration, Path(scratch), notify)
            answers = _run_engines(variants[precision], precision, frames, Path(scratch), notify)
            measured[precision] = _judge(precision, reference, answers)
    best = settings.precisions[0]
    golden, files = golden_files(frames[0], _golden_outputs(answers_of=reference[0], tasks=traced), best)
    files_of: dict[str, Path | bytes] = dict(files)
    for precision, graphs in variants.items():
        for component, graph in graphs.items():
            files_of[model_path(component, precision)] = graph.SerializeToString(deterministic=True)
    spec = PackageSpec(
        settings.name,
        settings.input,
        {task: TaskEntry(task, tuple(info.classes.get(task, ()))) for task in settings.tasks},
        {name: _component(graph, settings.precisions, calibration) for name, graph in traced.items()},
        golden,
        _report(info, settings, calibration, measured, variants),
    )
    notify("writing")
    return write_package(out, spec, files_of, overwrite)


def _trace_all(model: Argus, settings: ExportSettings, notify: Notify) -> dict[str, Graph]:
    notify("tracing backbone")
    backbone = trace_backbone(model, settings.input.height, levels_needed(model, settings.tasks))
    traced = {BACKBONE: backbone}
    for task in settings.tasks:
        notify(f"tracing {task}")
        traced[task] = trace_decoder(model, task, backbone)
    return traced


def _convert(
    traced: Mapping[str, Graph],
    precision: Precision,
    calibration: CalibrationSet,
    scratch: Path,
    notify: Notify,
) -> Graphs:
    if precision == "fp32":
        return {name: graph.model for name, graph in traced.items()}
    if precision == "fp16":
        notify("converting to fp16")
        return {name: to_fp16(graph.model) for name, graph in traced.items()}
    notify("quantising backbone")
    graphs = {BACKBONE: to_int8(traced[BACKBONE].model, ({IMAGE_TENSOR: i} for i in calibration.images))}
    # Decoders are calibrated on what they will really see: the quantised backbone's features.
    file = scratch / "calibration-backbone.onnx"
    onnx.save(graphs[BACKBONE], file)
    engine = open_engine("onnxruntime", file, threads=default_threads(), precision="int8")
    notify("features of the quantised backbone")
    features = [
        {name: values.astype(np.float16) for name, values in engine.run({IMAGE_TENSOR: image}).items()}
        for image in calibration.images
    ]
    engine.close()
    for task, graph in traced.items():
        if task != BACKBONE:
            notify(f"quantising {task}")
            graphs[task] = to_int8(graph.model, _as_float(features, [spec.name for spec in graph.inputs]))
    return graphs


def _as_float(features: Sequence[Mapping[str, Array]], names: Sequence[str]) -> Iterator[dict[str, Array]]:
    return ({name: frame[name].astype(np.float32) for name in names} for frame in features)


def _torch_outputs(model: Argus, tasks: Sequence[str], frame: Array) -> dict[str, dict[str, Array]]:
    """Component -> output -> values of `model`, a double-precision one.

    torch's own fp32 would be no reference: where an image is flat, its GroupNorm alone is off by 1e-4.
    """
    with torch.inference_mode():
        features = model.features(normalise(torch.from_numpy(frame)).double())
        tensors = {BACKBONE: {f"f{i}": f for i, f in enumerate(features)}}
        tensors |= {task: model.infer(task, features) for task in tasks}
    return {
        component: {name: _single(t) for name, t in outputs.items()} for component, outputs in tensors.items()
    }


def _single(tensor: torch.Tensor) -> Array:
    values: Array = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    return values


def _run_engines(
    graphs: Graphs, precision: Precision, frames: Sequence[Array], scratch: Path, notify: Notify
) -> dict[str, list[dict[str, dict[str, Array]]]]:
    """Engine name -> per frame, component -> output -> values; decoders read their own engine's backbone."""
    files = {}
    for component, graph in graphs.items():
        files[component] = scratch / f"{component}-{precision}.onnx"
        onnx.save(graph, files[component])
    answers = {}
    for status in available_engines():
        if status.available:
            notify(f"parity of {precision} on {status.name}")
            engines = {
                component: open_engine(status.name, file, threads=default_threads(), precision=precision)
                for component, file in files.items()
            }
            answers[status.name] = [_run_frame(engines, graphs, frame) for frame in frames]
            for engine in engines.values():
                engine.close()
    return answers


def _run_frame(engines: Mapping[str, Engine], graphs: Graphs, frame: Array) -> dict[str, dict[str, Array]]:
    outputs = {BACKBONE: _copied(engines[BACKBONE].run({IMAGE_TENSOR: np.ascontiguousarray(frame)}))}
    for task, engine in engines.items():
        if task != BACKBONE:
            names = [value.name for value in graphs[task].graph.input]
            outputs[task] = _copied(engine.run({name: outputs[BACKBONE][name] for name in names}))
    return outputs


def _copied(outputs: Mapping[str, Array]) -> dict[str, Array]:
    return {name: np.array(values) for name, values in outputs.items()}


def _judge(
    precision: Precision,
    reference: Sequence[Mapping[str, Mapping[str, Array]]],
    answers: Mapping[str, Sequence[Mapping[str, Mapping[str, Array]]]],
) -> JsonValue:
    """Engine -> "component.output" -> deviation. Raises ParityError for an output that cannot be right."""
    table: dict[str, JsonValue] = {}
    for engine, frames in answers.items():
        rows: dict[str, JsonValue] = {}
        for component in frames[0]:
            wanted = [{k: f[component][k] for k in frames[0][component]} for f in reference]
            for name, deviation in parity.compare(wanted, [f[component] for f in frames], precision).items():
                if precision == "fp32" and not deviation.error <= parity.FP32_BOUND:
                    raise ParityError(
                        f"{component}.{name} on {engine}: fp32 differs from torch by {deviation.error:.2e} "
                        f"(relative), at most {parity.FP32_BOUND:.0e} is accepted; no package was written"
                    )
                if parity.broken(deviation, features=component == BACKBONE):
                    raise ParityError(
                        f"{component}.{name} on {engine}: {precision} is plainly wrong "
                        f"(error {deviation.error:.2g}, SQNR {deviation.sqnr_db} dB); no package was written"
                    )
                rows[f"{component}.{name}"] = _as_json(deviation)
        table[engine] = rows
    return table


def _as_json(deviation: Deviation) -> JsonValue:
    row: dict[str, JsonValue] = {"error": float(f"{deviation.error:.3g}")}
    if deviation.sqnr_db is not None:
        row["sqnr_db"] = round(deviation.sqnr_db, 1)
    return row


def _golden_outputs(
    answers_of: Mapping[str, Mapping[str, Array]], tasks: Mapping[str, Graph]
) -> dict[str, dict[str, Array]]:
    return {
        component: {spec.name: answers_of[component][spec.name] for spec in graph.outputs}
        for component, graph in tasks.items()
    }


def _component(graph: Graph, precisions: Sequence[Precision], calibration: CalibrationSet) -> ComponentSpec:
    recipe = QuantizationSpec(RECIPE, calibration.sha256, len(calibration.images))
    return ComponentSpec(
        graph.inputs,
        graph.outputs,
        {p: VariantSpec(p, quantization=recipe if p == "int8" else None) for p in precisions},
    )


def _report(
    info: CheckpointInfo,
    settings: ExportSettings,
    calibration: CalibrationSet,
    measured: dict[str, JsonValue],
    variants: Mapping[Precision, Graphs],
) -> dict[str, JsonValue]:
    report: dict[str, JsonValue] = {
        "command": settings.command,
        "opset": OPSET,
        "tools": {name: version(name) for name in TOOLS},
        "checkpoint": {"variant": info.variant, "command": info.command, "metrics": dict(info.metrics)},
        "parity": {
            "frames": min(PARITY_FRAMES, len(calibration.images)),
            "source": calibration.source,
            **measured,
        },
    }
    if "int8" in variants:
        layers = {name: quantised_layers(graph) for name, graph in variants["int8"].items()}
        report["int8_layers"] = {name: {"int8": done, "all": total} for name, (done, total) in layers.items()}
    return report


def parity_rows(package: ModelPackage) -> Iterator[tuple[str, str, str, float, Any]]:
    """(precision, engine, output, error, sqnr_db or None) of a package's report, for tables."""
    measured = package.spec.report.get("parity")
    for precision, engines in (measured if isinstance(measured, dict) else {}).items():
        for engine, rows in (engines if isinstance(engines, dict) else {}).items():
            for output, row in (rows if isinstance(rows, dict) else {}).items():
                if isinstance(row, dict):
                    yield precision, engine, output, float(str(row["error"])), row.get("sqnr_db")
