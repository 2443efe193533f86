"""Runs a predictor over images with known truth: figures per task, and the time of every frame.

The predictor is a `Runtime`, a `TorchPredictor`, or any callable from an image to a `Frame`. Nothing here
knows torch, so that a device without it can measure a package.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import InputError
from argus_edge.results import Detections, Frame, Result
from argus_edge.tasks import get_task
from argus_edge.train.data.classes import SCENE_CLASSES
from argus_edge.train.data.example import Example, truth_of
from argus_edge.train.metrics import TASK_METRICS, MeanIoU, Metric, TaskMetric
from argus_edge.train.relabel import ClassTable, relabel_example, relabel_result

Predict: TypeAlias = Callable[..., Frame]
"""From an image (H, W, 3) uint8 RGB, and people where they are known, to the results in its own frame."""
Watch: TypeAlias = Callable[[str, Example, Result, Any], None]
"""Takes task, image, the first predictor's result and the truth, after each image, outside the timed part."""

CHUNK: Final = 64  # scenes rendered or read before the next ones are timed
CHUNK_BYTES: Final = 256 << 20  # of images and labels, which may be photographs of any size
WARM_UP: Final = 3  # frames


@dataclass(frozen=True)
class Evaluation:
    """What one predictor did on a set of images."""

    metrics: dict[str, dict[str, float]]  # task -> figure -> value; see `argus_edge.train.metrics`
    protocols: dict[str, str]  # task -> how it was measured
    frame_ms: NDArray[np.float64]  # (N,) [ms], from image to results, in the order of the images

    def percentiles(self) -> dict[str, float]:
        """p50, p90 and p99 of the frame time [ms]; empty when there was no image."""
        if not self.frame_ms.size:
            return {}
        return {f"p{q}": float(np.percentile(self.frame_ms, q)) for q in (50, 90, 99)}


def validate(
    predict: Predict,
    samples: Iterable[Example | None],
    tasks: Sequence[str],
    progress: Callable[[], None] | None = None,
    classes: Mapping[str, Sequence[str]] = SCENE_CLASSES,
) -> dict[str, dict[str, float]]:
    """Measure one predictor: task -> figure -> value. Arguments and errors as for `evaluate`."""
    (evaluation,) = evaluate({"validating": predict}, samples, tasks, progress, classes, warm_up=0).values()
    return evaluation.metrics


def evaluate(
    predictors: Mapping[str, Predict],
    samples: Iterable[Example | None],
    tasks: Sequence[str],
    progress: Callable[[], None] | None = None,
    classes: Mapping[str, Sequence[str]] = SCENE_CLASSES,
    warm_up: int = WARM_UP,
    *,
    metrics: Mapping[str, TaskMetric] = TASK_METRICS,
    tables: Mapping[str, ClassTable] | None = None,
    people: Callable[[Example], Detections] | None = None,
    watch: Watch | None = None,
    notes: Mapping[str, str] | None = None,
) -> dict[str, Evaluation]:
    """Measure several predictors on the same images, in turn on each, so that a drifting machine cancels.

    Only the predictor's call is timed: images are rendered or read in chunks before it, metrics and
    progress have their turn after it. Whoever goes first rotates.

    Args:
        predictors: by a name of the caller's choice.
        samples: images with truth, None for those that cannot be used; read once.
        tasks: names of tasks that every predictor answers.
        progress: called after every sample, outside the timed part.
        classes: class names of the truth, per task that has classes.
        warm_up: untimed, uncounted calls of each predictor on the first image.
        metrics: how each task is measured.
        tables: for tasks whose classes the truth and the model name differently.
        people: of an image; handed to the predictors as a second argument.
        watch: is shown each image that says something about a task, relabelled, and the first predictor's
            result.
        notes: for the protocols of tasks: what the caller knows of the predictors.

    Raises TaskError for a task without a metric, InputError for no task, or when the model's classes are not
    the truth's.
    """
    tables, notes, step = tables or {}, notes or {}, progress or (lambda: None)
    collected = {
        name: {task: make_metric(task, metrics, classes, tables.get(task)) for task in tasks}
        for name in predictors
    }
    if not tasks:
        raise InputError("no task to evaluate; name at least one")
    times: dict[str, list[float]] = {name: [] for name in predictors}
    first, *_ = names = list(predictors)
    for chunk in _chunks(samples, step):
        for example in chunk[:1] * warm_up:
            for predict in predictors.values():
                predict(*_arguments(example, people))
        warm_up = 0
        for example in chunk:
            arguments = _arguments(example, people)
            told = {task: _relabelled(example, task, tables) for task in tasks}
            truths = {task: truth for task, e in told.items() if (truth := truth_of(task, e)) is not None}
            for name in names:
                start = time.perf_counter_ns()
                frame = predictors[name](*arguments)
                times[name].append((time.perf_counter_ns() - start) / 1e6)
                for task, truth in truths.items():
                    result = frame[task]
                    if task in tables:
                        result = relabel_result(result, tables[task])
                    collected[name][task].update(result, truth)
                    if watch is not None and name == first:
                        watch(task, told[task], result, truth)
            names.append(names.pop(0))
            step()
    return {
        name: Evaluation(
            metrics={task: metric.result() for task, metric in by_task.items()},
            protocols={
                task: "; ".join(filter(None, [_protocol(task, m, tables.get(task), people), notes.get(task)]))
                for task, m in by_task.items()
            },
            frame_ms=np.array(times[name]),
        )
        for name, by_task in collected.items()
    }


def time_ratio(reference: Evaluation, other: Evaluation) -> float:
    """Median over frames of other's time by the reference's, both of one `evaluate`.

    Raises InputError when there was no frame.
    """
    if not reference.frame_ms.size:
        raise InputError("frame times cannot be compared without frames; evaluate at least one image")
    return float(np.median(other.frame_ms / reference.frame_ms))


def make_metric(
    task: str,
    metrics: Mapping[str, TaskMetric] = TASK_METRICS,
    classes: Mapping[str, Sequence[str]] = SCENE_CLASSES,
    table: ClassTable | None = None,
) -> Metric[Any, Any]:
    """A new metric of a task, for the classes of `table` where there is one.

    Raises TaskError for a task that there is not.
    """
    get_task(task)
    if table is None:
        return metrics[task].make(classes.get(task, ()))
    metric = metrics[task].make(table.names)
    if isinstance(metric, MeanIoU) and len(table.counted) < len(table.names):
        return MeanIoU(metric.class_names, metric.ignore, metric.task, table.counted)
    return metric


def _protocol(task: str, metric: Metric[Any, Any], table: ClassTable | None, people: object) -> str:
    boxes = "true boxes" if people is not None else "the boxes that the model's detector finds"
    notes = [f"persons in {boxes}"] if task == "pose" else []
    notes += [table.note] if table is not None and table.note else []
    return "; ".join([metric.protocol, *notes])


def _arguments(example: Example, people: Callable[[Example], Detections] | None) -> tuple[Any, ...]:
    return (example.image,) if people is None else (example.image, people(example))


def _relabelled(example: Example, task: str, tables: Mapping[str, ClassTable]) -> Example:
    return relabel_example(example, task, tables[task]) if task in tables else example


def _chunks(samples: Iterable[Example | None], skipped: Callable[[], None]) -> Iterator[list[Example]]:
    """Up to CHUNK at a time, fewer where they are large; `skipped` is called for every None."""
    chunk: list[Example] = []
    size = 0
    for example in samples:
        if example is None:
            skipped()
            continue
        chunk.append(example)
        size += _bytes(example)
        if len(chunk) == CHUNK or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _bytes(example: Example) -> int:
    """What its arrays take."""
    values = [getattr(example, field.name) for field in fields(example)]
    values += example.custom.values()
    values += [thing.mask for thing in example.objects or ()]
    values += [example.panoptic.segment_ids] if example.panoptic is not None else []
    values += [example.anomaly.mask] if example.anomaly is not None else []
    return sum(value.nbytes for value in values if isinstance(value, np.ndarray))
