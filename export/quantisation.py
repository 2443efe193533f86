"""The graphs of a plan in int8: each calibrated on what the quantised ones before it really give."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import onnx

from argus_edge.export.calibration import CalibrationSet
from argus_edge.export.components import Answers, Extra, Plan
from argus_edge.export.engines import Graphs, answers_to
from argus_edge.runtime.engines import Array
from argus_edge.spec import TensorSpec

__all__ = ["Quantiser", "quantise"]

# (float graph, its inputs once for each image) -> the same in int8
Quantiser: TypeAlias = Callable[[onnx.ModelProto, Iterable[Mapping[str, Array]]], onnx.ModelProto]

IN_MEMORY: Final = 2**30  # [bytes] that the features of one level may take; beyond, a file holds them


def quantise(
    plan: Plan,
    original: Graphs,
    calibration: CalibrationSet,
    quantiser: Quantiser,
    engine: str,
    scratch: Path,
    notify: Callable[[str], None],
) -> Graphs:
    """The graphs `original` of `plan` in int8, each made so by `quantiser`; those that others read are run on
    `engine`.

    Features of all images are kept between component and component in half precision: of nano at 320 px
    3.3 MB an image.
    """
    graphs: Graphs = {}
    count = len(calibration.images)
    answers: list[Answers] = [{} for _ in range(count)]
    extra: list[Extra] = [{} for _ in range(count)]
    read = {name for entry in plan.entries.values() for name in (entry.backbone, plan.detector)}
    for component, graph in original.items():
        frames = zip(calibration.images, answers, extra, strict=True)
        inputs = [plan.inputs(component, image, known, used) for image, known, used in frames]
        notify(f"quantising {component}")
        graphs[component] = quantiser(graph, map(_in_single, inputs))
        if component not in read:
            continue
        notify(f"answers of the quantised {component}")
        outputs = plan.graphs[component].outputs
        room = {} if component == plan.detector else {t.name: _room(t, count, scratch) for t in outputs}
        found = answers_to(map(_in_single, inputs), engine, graphs[component], "int8", scratch)
        for frame, answer in enumerate(found):
            if component == plan.detector:
                extra[frame] = plan.pose_reads(answer, calibration.images[frame])
                continue
            for name, maps in room.items():
                maps[frame] = answer[name]
            answers[frame][component] = {name: maps[frame] for name, maps in room.items()}
    return graphs


def _room(tensor: TensorSpec, count: int, scratch: Path) -> Array:
    """For `count` values of a tensor, in half precision."""
    shape = (count, *tensor.shape)
    if 2 * math.prod(shape) <= IN_MEMORY:
        return np.empty(shape, np.float16)
    number = sum(1 for _ in scratch.glob("features-*"))
    return np.memmap(scratch / f"features-{number}", np.float16, "w+", shape=shape)


def _in_single(values: Mapping[str, Array]) -> dict[str, Array]:
    """Features are kept in half precision; graphs read single."""
    return {n: v.astype(np.float32) if v.dtype == np.float16 else v for n, v in values.items()}
