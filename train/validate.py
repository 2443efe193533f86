"""Runs a predictor over images with known truth: figures per task, and the time of every frame.

The predictor is a `Runtime`, a `TorchPredictor`, or any callable from an image to a `Frame`. Nothing here
knows torch, so that a device without it can measure a package.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import InputError
from argus_edge.results import Frame
from argus_edge.tasks import get_task
from argus_edge.train.data.classes import SCENE_CLASSES
from argus_edge.train.data.example import Example, truth_of
from argus_edge.train.metrics import TASK_METRICS

Predict: TypeAlias = Callable[[NDArray[np.uint8]], Frame]
"""From an image (H, W, 3) uint8 RGB to the results in its own frame."""

CHUNK: Final = 64  # scenes rendered or read before the next ones are timed
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
    samples: Iterable[Example],
    tasks: Sequence[str],
    progress: Callable[[], None] | None = None,
    classes: Mapping[str, Sequence[str]] = SCENE_CLASSES,
) -> dict[str, dict[str, float]]:
    """Measure one predictor: task -> figure -> value. Arguments and errors as for `evaluate`."""
    (evaluation,) = evaluate({"validating": predict}, samples, tasks, progress, classes, warm_up=0).values()
    return evaluation.metrics


def evaluate(
    predictors: Mapping[str, Predict],
    samples: Iterable[Example],
    tasks: Sequence[str],
    progress: Callable[[], None] | None = None,
    classes: Mapping[str, Sequence[str]] = SCENE_CLASSES,
    warm_up: int = WARM_UP,
) -> dict[str, Evaluation]:
    """Measure several predictors on the same images, in turn on each, so that a drifting machine cancels.

    Only the predictor's call is timed: images are rendered or read in chunks before it, metrics and
    progress have their turn after it. Whoever goes first rotates.

    Args:
        predictors: by a name of the caller's choice.
        samples: images with truth; read once.
        tasks: names of tasks that every predictor answers.
        progress: called after every image, outside the timed part.
        classes: class names of the truth, per task that has classes.
        warm_up: untimed, uncounted calls of each predictor on the first image.

    Raises TaskError for a task without a metric, InputError for no task, or when the model's classes are not
    the truth's.
    """
    metrics = {name: {task: _metric(task, classes) for task in tasks} for name in predictors}
    if not tasks:
        raise InputError("no task to evaluate; name at least one")
    times: dict[str, list[float]] = {name: [] for name in predictors}
    names = list(predictors)
    for chunk in _chunks(samples, CHUNK):
        for _ in range(warm_up):
            for predict in predictors.values():
                predict(chunk[0].image)
        warm_up = 0
        for example in chunk:
            told = {task: truth_of(task, example) for task in tasks}
            truths = {task: truth for task, truth in told.items() if truth is not None}
            for name in names:
                start = time.perf_counter_ns()
                frame = predictors[name](example.image)
                times[name].append((time.perf_counter_ns() - start) / 1e6)
                for task, truth in truths.items():
                    metrics[name][task].update(getattr(frame, task), truth)
            names.append(names.pop(0))
            if progress is not None:
                progress()
    return {
        name: Evaluation(
            metrics={task: metric.result() for task, metric in by_task.items()},
            protocols={task: metric.protocol for task, metric in by_task.items()},
            frame_ms=np.array(times[name]),
        )
        for name, by_task in metrics.items()
    }


def time_ratio(reference: Evaluation, other: Evaluation) -> float:
    """Median over frames of other's time by the reference's, both of one `evaluate`.

    Raises InputError when there was no frame.
    """
    if not reference.frame_ms.size:
        raise InputError("frame times cannot be compared without frames; evaluate at least one image")
    return float(np.median(other.frame_ms / reference.frame_ms))


def _metric(task: str, classes: Mapping[str, Sequence[str]]) -> Any:
    get_task(task)
    return TASK_METRICS[task].make(classes.get(task, ()))


Item = TypeVar("Item")


def _chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
