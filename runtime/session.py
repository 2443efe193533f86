"""One package, opened on one engine: image in, results out.

    with Runtime("nano.argus") as runtime:
        frame = runtime(image)
        frame.det.boxes, frame.seg.labels, frame.timings

Preprocessing, the backbone, each task's decoder and the making of its result follow one another. Pose comes
last: it looks at the people that a detector has found.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import EngineError, InputError, PackageError, TaskError
from argus_edge.geometry import Letterbox
from argus_edge.package import ModelPackage
from argus_edge.results import Detections, Frame, Result
from argus_edge.runtime.decode import check_outputs, decode
from argus_edge.runtime.engines import Array, EngineStatus, choose_engine, default_threads
from argus_edge.runtime.graphs import Graphs
from argus_edge.runtime.persons import PERSON, Persons, fill_slots, find_persons, grid_matrix, warp
from argus_edge.runtime.preprocess import preprocess
from argus_edge.spec import PackageSpec, Precision, TaskEntry
from argus_edge.tasks import get_task

__all__ = ["MAX_CROPS", "Runtime"]

MAX_CROPS: Final = 20
"""Most people of one frame that go through a backbone for crops, one after the other."""

_DETECTORS: Final = ("det", "inst")
_POSE: Final = "keypoints"  # the output kind of what needs persons


class Runtime:
    """A model package opened on this machine's engine.

    Args:
        package: path of a `NAME.argus` folder, or a package that is open already.
        engine: "tensorrt", "openvino", "onnxruntime", or "auto" for the first of them that is installed and
            serves the package; `why` tells why those before it were not taken.
        precision: "fp32", "fp16" or "int8", of those the package holds; by default the lowest, which is the
            fastest.
        tasks: the tasks to run on every frame, by default all of the package.
        threads: CPU threads of the engine, by default one for each core this process may use.
        size: side [px] or (height, width) of the network's input, of those the package holds; by default its
            first.
        score_threshold: scored results (boxes, instances, people to look for keypoints in) below it are left
            out, in [0, 1].

    Opening reads and checks the whole package, loads the backbone and the decoders of the chosen tasks, and
    runs one blank frame through them: a graph that does not give what the package declares is found here, and
    the first call is as fast as the others.

    `pose` needs people: it is run last, on those that det or inst has found. When neither is among
    `tasks`, the package's detector is run for it without being reported.

    A runtime may be called from several threads; calls wait for one another. Frames share no memory with it.

    Raises PackageError, TaskError, EngineError (EngineMissingError with the pip line), InputError.
    """

    def __init__(
        self,
        package: str | Path | ModelPackage,
        engine: str = "auto",
        precision: Precision | None = None,
        tasks: Sequence[str] | None = None,
        threads: int | None = None,
        score_threshold: float = 0.05,
        size: int | tuple[int, int] | None = None,
    ) -> None:
        if not 0 <= score_threshold <= 1:
            raise InputError(f"score_threshold must be in [0, 1], got {score_threshold}")
        opened = package if isinstance(package, ModelPackage) else ModelPackage.open(package)
        self.package: Final = opened if size is None else opened.at(*_sides(size))
        spec = self.package.spec
        self.tasks: Final = _choose_tasks(spec, tasks)
        self._detector: Final = _choose_detector(spec, self.tasks)
        self._order: Final = _order(spec, self.tasks, self._detector)
        self.precision: Final = _choose_precision(spec, precision)
        self.threads: Final = default_threads() if threads is None else threads
        self.score_threshold: Final = score_threshold
        status, self._why = choose_engine(engine, spec.target)
        self._status: Final[EngineStatus] = status
        self._lock = threading.Lock()
        self._closed = False
        for task in self._order:
            entry = spec.tasks[task]
            check_outputs(task, entry, spec.components[entry.component].outputs, spec.input)
            if entry.row(task).kind == _POSE:
                _check_heatmaps(spec, entry)
        self._graphs: Final = Graphs(self.package, self._order, self.engine, self.precision, self.threads)

    @property
    def engine(self) -> str:
        """Name of the engine that was taken."""
        return self._status.name

    @property
    def engine_version(self) -> str:
        """Version of its library."""
        return self._status.version or "unknown"

    @property
    def why(self) -> tuple[str, ...]:
        """One line "name: reason" for each engine that `auto` passed over, and one where the engine taken is
        slower here than it could be.
        """
        return self._why

    def __call__(self, image: NDArray[np.uint8]) -> Frame:
        """Run every task on one image.

        Args:
            image: (H, W, 3) uint8 RGB of any size and memory order.

        Returns the results in the frame of `image`. `timings` [ms] holds "preprocess", "backbone", for each
        task its name (the decoder's graph; next to nothing where another task has run it already) and
        "<task>.decode" (making the result), and "total".

        Raises ImageError for anything that is not such an image, EngineError when a graph fails (it names the
        file; the next call goes on) or when the runtime was closed.
        """
        with self._lock:
            self._check_open()
            return self._run(image)

    def golden_errors(self) -> dict[str, float] | None:
        """Compare this engine, on this machine, with what was recorded in the package when it was exported.

        Returns "<component>.<tensor>" -> greatest difference, as a share of the greatest recorded value (for
        integers: share of the elements that differ). None when the package has no sample of this precision.
        Raises EngineError when the runtime was closed.
        """
        golden, spec = self.package.golden(), self.package.spec.golden
        if golden is None or spec is None or spec.precision != self.precision:
            return None
        with self._lock:
            self._check_open()
            return {
                f"{component}.{name}": _difference(outputs[name], expected)
                for component, outputs in self._graphs.run_all(golden.image, golden.inputs)
                for name, expected in golden.outputs.get(component, {}).items()
            }

    def close(self) -> None:
        """Free the engines, after a call that is still running. Harmless when repeated."""
        with self._lock:
            self._closed = True
            self._graphs.close()

    def __enter__(self) -> Runtime:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise EngineError(f"the runtime of {self.package.path} was closed; open a new one")

    def _run(self, image: NDArray[np.uint8]) -> Frame:
        spec, clock = self.package.spec, _StageClock()
        tensor, letterbox = preprocess(image, spec.input)
        clock.lap("preprocess")
        features = self._graphs.features(tensor)
        clock.lap("backbone")
        answers: dict[str, dict[str, Array]] = {}
        results: dict[str, Result] = {}
        for task in self._order:
            entry, persons = spec.tasks[task], None
            if entry.row(task).kind == _POSE:
                persons = self._find_persons(entry, results, letterbox)
                outputs = self._run_pose(entry, persons, image, features, letterbox)
            else:
                if entry.component not in answers:
                    answers[entry.component] = self._graphs.decode(entry.component, features)
                outputs = answers[entry.component]
            clock.lap(task)
            results[task] = decode(task, outputs, letterbox, entry, self.score_threshold, persons)
            clock.lap(f"{task}.decode")
        reported = {task: result for task, result in results.items() if task in self.tasks}
        return Frame(letterbox.image_height, letterbox.image_width, reported, clock.timings())

    def _find_persons(self, entry: TaskEntry, results: Mapping[str, Result], letterbox: Letterbox) -> Persons:
        """The best people that the detector has found, as many as there are slots for."""
        assert self._detector is not None
        detections = results[self._detector]
        assert isinstance(detections, Detections)
        slots = self.package.spec.components[entry.component].persons
        if slots is None:
            return find_persons(detections, MAX_CROPS)
        return find_persons(detections, slots.shape[0], letterbox)

    def _run_pose(
        self,
        entry: TaskEntry,
        persons: Persons,
        image: NDArray[np.uint8],
        features: Mapping[str, Array],
        letterbox: Letterbox,
    ) -> dict[str, Array]:
        """`heatmaps` (N, K, h, w) of N persons: from the frame's features, or from a crop of each."""
        component = self.package.spec.components[entry.component]
        if not len(persons):
            (heatmaps,) = component.outputs
            return {heatmaps.name: np.zeros((0, *heatmaps.shape[1:]), heatmaps.dtype)}
        if component.persons is not None:
            slots = fill_slots(persons, letterbox, component.persons.shape[0])
            outputs = self._graphs.decode(entry.component, features, slots)
            return {name: values[: len(persons)] for name, values in outputs.items()}
        whole = np.ascontiguousarray(image)  # once, not for each crop
        crops = [self._run_crop(entry, region, whole) for region in persons.regions]
        return {name: np.concatenate([crop[name] for crop in crops]) for name in crops[0]}

    def _run_crop(
        self, entry: TaskEntry, region: NDArray[np.float64], image: NDArray[np.uint8]
    ) -> dict[str, Array]:
        spec = self.package.spec
        height, width = spec.extra_inputs[entry.backbone].shape[1:3]
        crop = warp(image, grid_matrix(region, height, width), height, width, spec.input.pad_color)
        outputs = self._graphs.decode(entry.component, self._graphs.features(crop[None], entry.backbone))
        return {name: values.copy() for name, values in outputs.items()}  # the next crop overwrites them


class _StageClock:
    """Wall time of consecutive stages [ms]."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        """End the stage that began with the one before it."""
        now = time.perf_counter()
        self._laps[stage] = (now - self._last) * 1e3
        self._last = now

    def timings(self) -> dict[str, float]:
        """The stages so far, and "total" [ms]."""
        return {**self._laps, "total": (self._last - self._start) * 1e3}


def _choose_tasks(spec: PackageSpec, tasks: Sequence[str] | None) -> tuple[str, ...]:
    if isinstance(tasks, str) or (tasks is not None and not tasks):
        raise InputError(f"tasks must be a sequence of at least one task name, got {tasks!r}")
    for task in tasks or ():
        if task not in spec.tasks:
            get_task(task)  # knows whether there is such a task at all
            raise TaskError(f"package {spec.name!r} has no task {task!r}; it has: {', '.join(spec.tasks)}")
    return tuple(dict.fromkeys(tasks or spec.tasks))


def _choose_detector(spec: PackageSpec, tasks: Sequence[str]) -> str | None:
    """The task that finds people for pose: one of `tasks` if it can, else another of the package."""
    if not any(spec.tasks[task].row(task).kind == _POSE for task in tasks):
        return None
    able = [task for task in _DETECTORS if task in spec.tasks and PERSON in spec.tasks[task].classes]
    if not able:
        raise TaskError(
            f"task 'pose' needs a detector of the class {PERSON!r}, and package {spec.name!r} has none; "
            f"export it with det or inst, or choose tasks without pose"
        )
    return next((task for task in able if task in tasks), able[0])


def _order(spec: PackageSpec, tasks: Sequence[str], detector: str | None) -> tuple[str, ...]:
    """The order to run tasks in: as they come, but pose last."""
    needed = [*tasks, detector] if detector is not None else tasks
    return tuple(dict.fromkeys(sorted(needed, key=lambda task: spec.tasks[task].row(task).kind == _POSE)))


def _check_heatmaps(spec: PackageSpec, entry: TaskEntry) -> None:
    """One set of heatmaps for each slot, or for the one crop that a decoder of crops sees."""
    component = spec.components[entry.component]
    given, _, height, width = component.outputs[0].shape
    slots = 1 if component.persons is None else component.persons.shape[0]
    if given != slots or height < 2 or width < 2:
        raise PackageError(
            f"component {entry.component!r} gives heatmaps of {given} persons, {height} x {width} cells "
            f"each, for {slots} persons; expected a set for each of at least 2 x 2 cells; export it again"
        )


def _sides(size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width [px]."""
    return (size, size) if isinstance(size, int) else size


def _choose_precision(spec: PackageSpec, precision: Precision | None) -> Precision:
    if precision is None:
        return spec.precisions[-1]
    if precision not in spec.precisions:
        raise InputError(
            f"package {spec.name!r} has no precision {precision!r}; it has: {', '.join(spec.precisions)}"
        )
    return precision


def _difference(given: NDArray[Any], expected: NDArray[Any]) -> float:
    if not np.issubdtype(expected.dtype, np.floating):
        return float(np.mean(given != expected))
    scale = float(np.max(np.abs(expected))) or 1.0
    return float(np.max(np.abs(given - expected))) / scale
