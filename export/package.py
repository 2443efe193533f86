"""A checkpoint's backbone and chosen decoders become a model package, measured against torch."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from argus_edge.errors import TaskError
from argus_edge.export.assembly import Contents, golden_of, write_contents
from argus_edge.export.batch import check_batches, in_precision
from argus_edge.export.calibration import CalibrationSet, sample_evenly
from argus_edge.export.components import Answers, Extra, Plan, PoseMode, in_single, make_plan, torch_run
from argus_edge.export.engines import Graphs
from argus_edge.export.judge import Judge
from argus_edge.export.latency import graph_times
from argus_edge.export.precision import WeightBits, quantised_layers, recipe, to_fp16, to_int8
from argus_edge.export.quantisation import Quantiser, quantise
from argus_edge.export.ranges import activation_ranges
from argus_edge.export.report_page import ranges_to_json
from argus_edge.export.symmetric import SYMMETRIC_RECIPE, to_symmetric_int8
from argus_edge.export.targets import CPU, Target
from argus_edge.export.trace import OPSET
from argus_edge.export.trial import AGREEMENT_FRAMES, Trial
from argus_edge.package import ModelPackage
from argus_edge.runtime.engines import Array, available_engines
from argus_edge.runtime.machine import installed_version, this_machine
from argus_edge.spec import ImageSpec, JsonValue, Precision, QuantizationSpec
from argus_edge.tasks import get_task
from argus_edge.train.evaluation_sets import EvaluationSet
from argus_edge.train.model.argus import Argus
from argus_edge.train.model.checkpoint import CheckpointInfo

TOOLS: Final = ("torch", "onnx", "onnxruntime", "openvino", "tensorrt")

RANGED_IMAGES: Final = 4  # whose activations the report counts

Notify = Callable[[str], None]  # is told what begins


@dataclass(frozen=True)
class ExportSettings:
    tasks: tuple[str, ...]
    precisions: tuple[Precision, ...]
    name: str
    command: str = ""
    pose: PoseMode = "roi"
    persons: int = 8  # whose pose is asked for in a frame, in mode roi
    weight_bits: WeightBits = 7  # of int8 weights
    max_drop: float = 1.0  # share of its figure that a task may lose below fp32; 1: nothing is measured
    fastest: bool = False  # keep fp32 and, of `precisions`, the fastest that loses no more
    keep_failed: bool = False  # write what misses a bound too, and say so in the report
    target: Target = CPU
    page: bool = True  # report.html, and what is measured for it alone: times and activations
    batches: tuple[int, ...] = ()  # graphs for so many images at once, beside those for one; above 1
    parity_images: int = 8  # that torch answers to, in double precision


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
    calibration: Mapping[ImageSpec, CalibrationSet],
    out: Path,
    overwrite: bool = False,
    notify: Notify = lambda _: None,
    advance: Callable[[], None] = lambda: None,
    evaluation: Sequence[EvaluationSet] = (),
) -> ModelPackage:
    """Trace, convert, measure and write, in every size of the network's input that `calibration` has.

    The images of a size serve int8 and, in part, parity, gate and sample. Tasks are measured on the images of
    `evaluation`, as far as these tell about them.

    Raises ExportError (with all that does not fit `settings.target`), PackageError, and ParityError, unless
    failures are kept, when fp32 is off by more than `parity.judge` accepts on some engine, another precision
    is plainly broken (`parity.broken`), or a task loses more in it than `settings` allow. TaskError where a
    task cannot answer several images at once.
    """
    check_batches(settings.batches, settings.tasks)
    contents: list[Contents] = []
    for image, images in calibration.items():
        at = f" at {image.size} px" if len(calibration) > 1 else ""

        def tell(what: str, at: str = at) -> None:
            notify(what + at)

        contents += _contents(model, info, settings, image, images, tell, advance, evaluation)
    notify("writing")
    return write_contents(contents, out, overwrite)


def _contents(
    model: Argus,
    info: CheckpointInfo,
    settings: ExportSettings,
    image: ImageSpec,
    calibration: CalibrationSet,
    notify: Notify,
    advance: Callable[[], None],
    evaluation: Sequence[EvaluationSet],
) -> list[Contents]:
    """What a package has for one size of the network's input: for one image, and for several at once."""
    plan = make_plan(model, info, settings.tasks, image, settings.pose, settings.persons, notify)
    frames = sample_evenly(calibration.images, settings.parity_images)
    quantization = QuantizationSpec(_recipe(settings), calibration.sha256, len(calibration.images))
    notify("torch reference")
    reference, extra = _reference(copy.deepcopy(model).double(), plan, frames)

    @cache
    def single(frame: int) -> Answers:
        notify(f"torch in single precision, image {frame + 1} of {len(frames)}")
        return in_single(plan.answer(torch_run(model, plan), frames[frame], extra[frame])[0])

    with tempfile.TemporaryDirectory(prefix="argus-export-") as folder:
        scratch = Path(folder)
        here = [status.name for status in available_engines() if status.available]
        engines = [name for name in here if name in settings.target.engines]
        judge = Judge(plan, frames, reference, extra, engines, scratch, settings.keep_failed, notify, single)
        fp32 = {name: settings.target.spell(graph.model) for name, graph in plan.graphs.items()}
        variants: dict[Precision, Graphs] = {}
        if "fp32" in settings.precisions:  # before the long work, not after it
            judge.check_parity("fp32", fp32)
            variants["fp32"] = fp32
        if "fp16" in settings.precisions:
            notify("converting to fp16")
            variants["fp16"] = {name: to_fp16(graph) for name, graph in fp32.items()}
        if "int8" in settings.precisions:
            quantiser = _quantiser(settings)
            reader = "openvino" if "openvino" in engines else "onnxruntime"
            variants["int8"] = quantise(plan, fp32, calibration, quantiser, reader, scratch, notify)
        for graphs in _finished(settings.target, variants).values():
            settings.target.check(graphs)
        samples = sample_evenly(calibration.images, AGREEMENT_FRAMES)
        trial = Trial(
            plan, fp32, samples, evaluation, engines, settings.max_drop, scratch, notify, advance,
            settings.target.rest,
        )  # fmt: skip
        held = variants
        if settings.max_drop < 1:
            held = judge.hold_gate(trial, variants, give_up=settings.fastest)
        variants = _finished(settings.target, held)
        if settings.fastest:
            variants = judge.choose(trial, variants)
        for precision, graphs in variants.items():
            if precision != "fp32":
                judge.check_parity(precision, graphs)
        findings = _findings(plan, fp32, variants, judge, engines) if settings.page else {}
        several = []
        for batch in settings.batches:
            many = make_plan(model, info, settings.tasks, replace(image, batch=batch), notify=notify)
            kept = {precision: held[precision] for precision in variants}
            batched, measured = _batched(settings, many, judge, kept, fp32)
            written = _written(settings.target, batched)
            several.append(Contents(settings.name, many, written, quantization, report=measured))
    first = Contents(
        settings.name,
        plan,
        _written(settings.target, variants),
        quantization,
        golden_of(plan, frames[0], reference[0], extra[0], next(iter(variants))),
        {**_report(info, settings, calibration, judge, variants, evaluation), **findings},
        settings.page,
    )
    return [first, *several]


def _finished(target: Target, variants: Mapping[Precision, Graphs]) -> dict[Precision, Graphs]:
    """With what int8 leaves in float as `target` wants it."""
    return {
        precision: {name: target.rest(graph) for name, graph in graphs.items()}
        if precision == "int8"
        else graphs
        for precision, graphs in variants.items()
    }


def _written(target: Target, variants: Mapping[Precision, Graphs]) -> dict[Precision, Graphs]:
    return {
        precision: {name: target.write(graph) for name, graph in graphs.items()}
        for precision, graphs in variants.items()
    }


def _batched(
    settings: ExportSettings, plan: Plan, judged: Judge, one: Mapping[Precision, Graphs], one_in_fp32: Graphs
) -> tuple[dict[Precision, Graphs], dict[str, JsonValue]]:
    """The graphs of `plan`, which are for several images at once, in the precisions of `one`, those for one
    image that keep the gate, which `judged` has judged; and what the report says of them.
    """
    judge = replace(judged, plan=plan, parity={}, failures=[])
    fp32 = {name: settings.target.spell(graph.model) for name, graph in plan.graphs.items()}
    batched = _finished(
        settings.target, {p: in_precision(p, fp32, graphs, one_in_fp32) for p, graphs in one.items()}
    )
    for precision, graphs in batched.items():
        settings.target.check(graphs)
        judge.check_parity(precision, graphs)
    report: dict[str, JsonValue] = {"parity": judge.parity}
    if judge.failures:
        report["failures"] = list(judge.failures)
    return batched, report


def _reference(model: Argus, plan: Plan, frames: Sequence[Array]) -> tuple[list[Answers], list[Extra]]:
    """What torch answers in double precision to each frame, and what pose read."""
    run = torch_run(model, plan)
    reference, extra = [], []
    for frame in frames:
        answers, used = plan.answer(run, frame)
        reference.append(in_single(answers))
        extra.append(used)
    return reference, extra


def _quantiser(settings: ExportSettings) -> Quantiser:
    if settings.target.symmetric:
        return to_symmetric_int8
    return partial(to_int8, weight_bits=settings.weight_bits)


def _recipe(settings: ExportSettings) -> str:
    return SYMMETRIC_RECIPE if settings.target.symmetric else recipe(settings.weight_bits)


def _findings(
    plan: Plan, fp32: Graphs, variants: Mapping[Precision, Graphs], judge: Judge, engines: Sequence[str]
) -> dict[str, JsonValue]:
    """What the report says of single graphs: their times and, of int8, the activations that lose most."""
    read = {
        component: [
            {name: np.ascontiguousarray(v) for name, v in plan.inputs(component, *each).items()}
            for each in zip(judge.frames, judge.reference, judge.extra, strict=True)
        ]
        for component in plan.graphs
    }
    judge.notify("times of the graphs")
    times = graph_times(variants, {name: inputs[0] for name, inputs in read.items()}, engines, judge.scratch)
    found: dict[str, Any] = {"latency": {"machine": this_machine().to_json(), "median_ms": times}}
    if "int8" in variants:
        found["activations"] = {}
        for component, inputs in read.items():
            judge.notify(f"activations of {component}")
            few = sample_evenly(inputs, RANGED_IMAGES)
            ranges = activation_ranges(fp32[component], variants["int8"][component], few)
            found["activations"][component] = ranges_to_json(ranges)
    return found


def _report(
    info: CheckpointInfo,
    settings: ExportSettings,
    calibration: CalibrationSet,
    judge: Judge,
    variants: Mapping[Precision, Graphs],
    evaluation: Sequence[EvaluationSet],
) -> dict[str, JsonValue]:
    report: dict[str, JsonValue] = {
        "command": settings.command,
        "target": settings.target.name,
        "opset": settings.target.opset or OPSET,
        "tools": {name: version for name in TOOLS if (version := installed_version(name)) is not None},
        "checkpoint": {"variant": info.variant, "command": info.command, "metrics": dict(info.metrics)},
        "parity": {
            "frames": min(settings.parity_images, len(calibration.images)),
            "source": calibration.source,
            **judge.parity,
        },
    }
    if judge.gate:
        known = {task for each in evaluation for task in each.tasks}
        report["gate"] = {
            "max_drop": settings.max_drop,
            "measured_on": [each.title.partition(" in ")[0] for each in evaluation],
            **_note([task for task in settings.tasks if task not in known]),
            **judge.gate,
        }
    if judge.choice:
        report["choice"] = judge.choice
    if judge.failures:
        report["failures"] = list(judge.failures)
    if "int8" in variants:
        layers = {name: quantised_layers(graph) for name, graph in variants["int8"].items()}
        report["int8_layers"] = {name: {"int8": done, "all": total} for name, (done, total) in layers.items()}
    return report


def _note(tasks: Sequence[str]) -> dict[str, JsonValue]:
    """What the gate does not know, where it does not."""
    if not tasks:
        return {}
    return {
        "note": f"{', '.join(tasks)}: no labels to measure with (--eval-data); all that is known is how far "
        f"answers are from those in fp32"
    }
