"""What an engine makes of a package in one precision: building it, how near it comes, how fast it is."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import ArgusError, EngineError, EngineMissingError
from argus_edge.package import GoldenSample, ModelPackage
from argus_edge.runtime.engines import Array, Engine, choose_engine, default_threads, open_engine
from argus_edge.runtime.engines.tensorrt_engine import TensorRTEngine
from argus_edge.runtime.numerics import relative_error, sqnr_db
from argus_edge.runtime.report import LatencyTable
from argus_edge.runtime.session import Runtime
from argus_edge.spec import BACKBONE, IMAGE_TENSOR, PERSONS_TENSOR, ComponentSpec, Precision

__all__ = ["verify"]

FRAME: Final = (1280, 720)  # [px] width and height of the image that latency is measured with
TOGETHER: Final = ("det", "seg", "depth")  # shared against separate

Row: TypeAlias = dict[str, Any]


def verify(package: ModelPackage, engine: str, precision: Precision, frames: int) -> Row:
    """One row, which json.dumps accepts: for each component the seconds that opening and building it took,
    the size of the engine [bytes] and how near it comes to torch's recorded answers, and for each scenario
    the latency of every stage over `frames` frames. What fails has "error" in the place of its figures.
    """
    row: Row = {"engine": engine, "precision": precision}
    try:
        choose_engine(engine)
    except EngineMissingError as error:
        return {**row, "error": str(error)}
    components = _components(package, engine, precision)
    failed = {name for name, component in components.items() if "error" in component}
    latency: Row = {}
    for scenario, tasks in _scenarios(package).items():
        entries = [package.spec.tasks[task] for task in tasks]
        missing = failed & {BACKBONE, *(e.component for e in entries), *(e.backbone for e in entries)}
        try:
            if missing:
                raise EngineError(f"not measured, as {', '.join(sorted(missing))} failed")
            with Runtime(package, engine, precision, tasks) as runtime:
                latency[scenario] = _latency(runtime, _frame(package), frames)
        except ArgusError as error:
            latency[scenario] = {"error": str(error)}
    return {**row, "components": components, "latency_ms": latency}


def _scenarios(package: ModelPackage) -> dict[str, list[str]]:
    """All tasks, those of TOGETHER that there are, and each of these alone."""
    present = [task for task in TOGETHER if task in package.spec.tasks]
    scenarios = {"all": list(package.spec.tasks), **{task: [task] for task in present}}
    return {**scenarios, "+".join(present): present} if len(present) > 1 else scenarios


def _components(package: ModelPackage, engine: str, precision: Precision) -> Row:
    """Opened one after another; backbones stay open, as decoders read what they gave."""
    spec, golden = package.spec, package.golden()
    backbone_of = {entry.component: entry.backbone for entry in spec.tasks.values()}
    features: dict[str, Mapping[str, Array]] = {}
    rows: Row = {}
    with ExitStack() as stack:
        for name in dict.fromkeys([BACKBONE, *backbone_of.values(), *backbone_of]):
            component = spec.components[name]
            try:
                start = time.perf_counter()
                file = package.model_file(name, precision)
                opened = open_engine(engine, file, threads=default_threads(), precision=precision)
                stack.enter_context(closing(opened))
                rows[name] = _built(opened, time.perf_counter() - start)
                if golden is not None:
                    source = {} if component.is_backbone else features.get(backbone_of[name], {})
                    answers = opened.run(_inputs(name, component, golden, source))
                    rows[name]["parity"] = _parity(golden.outputs.get(name, {}), answers)
                    features[name] = answers
                if not component.is_backbone:
                    opened.close()
            except ArgusError as error:
                rows[name] = {"error": str(error)}
    return rows


def _built(engine: Engine, seconds: float) -> Row:
    row: Row = {"open_s": round(seconds, 2)}
    if isinstance(engine, TensorRTEngine):
        row |= {"build_s": engine.build_seconds, "plan_bytes": engine.plan_bytes}
    return row


def _inputs(
    name: str, component: ComponentSpec, golden: GoldenSample, features: Mapping[str, Array]
) -> dict[str, Array]:
    """What a component reads of the golden sample and of its backbone's answer."""
    known: dict[str, Array] = {IMAGE_TENSOR: golden.image, **features}
    if name in golden.inputs:
        known[IMAGE_TENSOR if component.is_backbone else PERSONS_TENSOR] = golden.inputs[name]
    missing = [tensor.name for tensor in component.inputs if tensor.name not in known]
    if missing:
        raise EngineError(f"its backbone failed and gave no {', '.join(missing)}")
    return {tensor.name: known[tensor.name] for tensor in component.inputs}


def _parity(reference: Mapping[str, Array], answers: Mapping[str, Array]) -> Row:
    rows: Row = {}
    for name, expected in reference.items():
        given = np.asarray(answers[name])
        if not np.isfinite(given).all():
            rows[name] = {"error": "is not finite"}
            continue
        rows[name] = {"relative_error": float(f"{relative_error(expected, given):.3g}")}
        if np.issubdtype(expected.dtype, np.floating) and (sqnr := sqnr_db(expected, given)) is not None:
            rows[name]["sqnr_db"] = round(sqnr, 1)
    return rows


def _frame(package: ModelPackage) -> NDArray[np.uint8]:
    """The golden sample's image, or noise, as a camera might give it."""
    import cv2

    golden = package.golden()
    spec = package.spec.input
    noise = np.random.default_rng(0).integers(0, 256, (spec.height, spec.width, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(noise if golden is None else golden.image[0], FRAME), np.uint8)


def _latency(runtime: Runtime, image: NDArray[np.uint8], frames: int) -> Row:
    table = LatencyTable()
    for _ in range(frames):
        table.add(runtime(image).timings)
    return {"frames": table.measured, "stages": table.to_json()}
