"""A checkpoint's backbone and chosen decoders become a model package, measured against torch."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx

from argus_edge.errors import ParityError, TaskError
from argus_edge.export import parity
from argus_edge.export.calibration import CalibrationSet, sample_evenly
from argus_edge.export.components import (
    CROP_BACKBONE,
    Answers,
    Extra,
    Plan,
    PoseMode,
    in_single,
    make_plan,
    torch_run,
)
from argus_edge.export.parity import Array, Deviation
from argus_edge.export.precision import RECIPE, quantised_layers, to_fp16, to_int8
from argus_edge.export.targets import CPU
from argus_edge.export.trace import OPSET, Graph
from argus_edge.package import ModelPackage, golden_files, model_path, write_package
from argus_edge.runtime.engines import Engine, available_engines, default_threads, open_engine
from argus_edge.runtime.machine import installed_version
from argus_edge.spec import (
    BACKBONE,
    ComponentSpec,
    ImageSpec,
    JsonValue,
    PackageSpec,
    Precision,
    QuantizationSpec,
    VariantSpec,
)
from argus_edge.tasks import get_task
from argus_edge.train.model.argus import Argus
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
    pose: PoseMode = "roi"
    persons: int = 8  # whose pose is asked for in a frame, in mode roi


def check_tasks(tasks: Sequence[str], info: CheckpointInfo) -> tuple[str, ...]:
    """`tasks`, or all of the checkpoint. Raises TaskError for one that is unknown or not in it."""
    for task in tasks:
        get_task(task)
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
    plan = make_plan(model, info, settings.tasks, settings.input, settings.pose, settings.persons, notify)
    frames = sample_evenly(calibration.images, PARITY_FRAMES)
    notify("torch reference")
    reference, extra = _reference(copy.deepcopy(model).double(), plan, frames)
    variants: dict[Precision, Graphs] = {}
    measured: dict[str, JsonValue] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for precision in settings.precisions:
            variants[precision] = _convert(plan, precision, calibration, Path(scratch), notify)
            graphs = variants[precision]
            answers = _run_engines(plan, graphs, precision, frames, extra, Path(scratch), notify)
            measured[precision] = _judge(precision, reference, answers)
    best = settings.precisions[0]
    golden, files = golden_files(frames[0], reference[0], best, _inputs(extra[0], plan))
    files_of: dict[str, Path | bytes] = dict(files)
    for precision, graphs in variants.items():
        for component, graph in graphs.items():
            files_of[model_path(component, precision)] = graph.SerializeToString(deterministic=True)
    spec = PackageSpec(
        settings.name,
        settings.input,
        plan.entries,
        {name: _component(graph, settings.precisions, calibration) for name, graph in plan.graphs.items()},
        golden,
        _report(info, settings, calibration, measured, variants),
    )
    notify("writing")
    return write_package(out, spec, files_of, overwrite)


def _reference(model: Argus, plan: Plan, frames: Sequence[Array]) -> tuple[list[Answers], list[Extra]]:
    """What torch answers in double precision to each frame, and what pose read."""
    run = torch_run(model, plan)
    reference, extra = [], []
    for frame in frames:
        answers, used = plan.answer(run, frame)
        reference.append(in_single(answers))
        extra.append(used)
    return reference, extra


def _convert(
    plan: Plan, precision: Precision, calibration: CalibrationSet, scratch: Path, notify: Notify
) -> Graphs:
    traced = {name: CPU.spell(graph.model) for name, graph in plan.graphs.items()}
    if precision == "fp32":
        return traced
    if precision == "fp16":
        notify("converting to fp16")
        return {name: to_fp16(graph) for name, graph in traced.items()}
    return _quantise(plan, traced, calibration, scratch, notify)


def _quantise(
    plan: Plan, traced: Graphs, calibration: CalibrationSet, scratch: Path, notify: Notify
) -> Graphs:
    """Component by component: each is calibrated on what the quantised ones before it really give."""
    graphs: Graphs = {}
    answers: list[Answers] = [{} for _ in calibration.images]
    extra: list[Extra] = [{} for _ in calibration.images]
    read = {name for entry in plan.entries.values() for name in (entry.backbone, plan.detector)}
    for component, graph in traced.items():
        images = zip(calibration.images, answers, extra, strict=True)
        inputs = [plan.inputs(component, image, known, used) for image, known, used in images]
        notify(f"quantising {component}")
        graphs[component] = to_int8(graph, (_in_single(values) for values in inputs))
        if component not in read:
            continue
        notify(f"answers of the quantised {component}")
        file = scratch / f"calibration-{component}.onnx"
        onnx.save(graphs[component], file)
        engine = open_engine("onnxruntime", file, threads=default_threads(), precision="int8")
        for frame, values in enumerate(inputs):
            outputs = engine.run(_in_single(values))
            if component == plan.detector:
                extra[frame] = plan.pose_reads(outputs, calibration.images[frame])
            else:
                answers[frame][component] = {name: maps.astype(np.float16) for name, maps in outputs.items()}
        engine.close()
    return graphs


def _in_single(values: Mapping[str, Array]) -> dict[str, Array]:
    """Features are kept in half precision; graphs read single."""
    return {n: v.astype(np.float32) if v.dtype == np.float16 else v for n, v in values.items()}


def _run_engines(
    plan: Plan,
    graphs: Graphs,
    precision: Precision,
    frames: Sequence[Array],
    extra: Sequence[Extra],
    scratch: Path,
    notify: Notify,
) -> dict[str, list[Answers]]:
    """Engine name -> each frame's answers; decoders read their own engine's backbone."""
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

            def run(
                component: str, inputs: Mapping[str, Array], engines: Mapping[str, Engine] = engines
            ) -> Mapping[str, Array]:
                return engines[component].run(inputs)

            answers[status.name] = [
                plan.answer(run, np.ascontiguousarray(frame), used)[0]
                for frame, used in zip(frames, extra, strict=True)
            ]
            for engine in engines.values():
                engine.close()
    return answers


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
                bound = parity.CROP_BOUND if component == CROP_BACKBONE else parity.FP32_BOUND
                if precision == "fp32" and not deviation.error <= bound:
                    raise ParityError(
                        f"{component}.{name} on {engine}: fp32 differs from torch by {deviation.error:.2e} "
                        f"(relative), at most {bound:.0e} is accepted; no package was written"
                    )
                if parity.broken(deviation, features=component in (BACKBONE, CROP_BACKBONE)):
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


def _inputs(extra: Extra, plan: Plan) -> Answers:
    """What pose read, by the name of the tensor."""
    return {
        component: {plan.graphs[component].inputs[-1].name: values} for component, values in extra.items()
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
        "tools": {name: version for name in TOOLS if (version := installed_version(name)) is not None},
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
