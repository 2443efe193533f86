"""One package, opened on one engine: image in, results out.

    with Runtime("nano.argus") as runtime:
        frame = runtime(image)
        frame.det.boxes, frame.seg.labels, frame.timings

Preprocessing, the backbone, each task's decoder and the making of its result follow one another.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import EngineError, InputError, PackageError, TaskError
from argus_edge.package import ModelPackage
from argus_edge.results import Frame, Result
from argus_edge.runtime.decode import check_outputs, decode
from argus_edge.runtime.engines import Engine, EngineStatus, choose_engine, default_threads, open_engine
from argus_edge.runtime.preprocess import preprocess
from argus_edge.spec import BACKBONE, IMAGE_TENSOR, ComponentSpec, PackageSpec, Precision
from argus_edge.tasks import require_built

__all__ = ["Runtime"]


class Runtime:
    """A model package opened on this machine's engine.

    Args:
        package: path of a `NAME.argus` folder, or a package that is open already.
        engine: "openvino", "onnxruntime", or "auto" for the first of them that is installed; `why` tells why
            those before it were not taken.
        precision: "fp32", "fp16" or "int8", of those the package holds; by default the lowest, which is the
            fastest.
        tasks: the tasks to run on every frame, by default all of the package.
        threads: CPU threads of the engine, by default one for each core this process may use.
        score_threshold: scored results (boxes) below it are left out, in [0, 1].

    Opening reads and checks the whole package, loads the backbone and the decoders of the chosen tasks, and
    runs one blank frame through them: a graph that does not give what the package declares is found here, and
    the first call is as fast as the others.

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
        score_threshold: float = 0.0,
    ) -> None:
        if not 0 <= score_threshold <= 1:
            raise InputError(f"score_threshold must be in [0, 1], got {score_threshold}")
        self.package: Final = package if isinstance(package, ModelPackage) else ModelPackage.open(package)
        spec = self.package.spec
        self.tasks: Final = _choose_tasks(spec, tasks)
        self.precision: Final = _choose_precision(spec, precision)
        self.threads: Final = default_threads() if threads is None else threads
        self.score_threshold: Final = score_threshold
        status, self._why = choose_engine(engine)
        self._status: Final[EngineStatus] = status
        self._engines: dict[str, Engine] = {}
        self._lock = threading.Lock()
        self._closed = False
        try:
            self._open_engines()
            self._run_blank_frame()
        except BaseException:
            self.close()
            raise

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
        """One line "name: reason" for each engine that `auto` passed over; empty when one was named."""
        return self._why

    def __call__(self, image: NDArray[np.uint8]) -> Frame:
        """Run every task on one image.

        Args:
            image: (H, W, 3) uint8 RGB of any size and memory order.

        Returns the results in the frame of `image`. `timings` [ms] holds "preprocess", "backbone", for each
        task its name (the decoder's graph) and "<task>.decode" (making the result), and "total".

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
                for component, outputs in self._run_graphs(golden.image)
                for name, expected in golden.outputs.get(component, {}).items()
            }

    def close(self) -> None:
        """Free the engines, after a call that is still running. Harmless when repeated."""
        with self._lock:
            self._closed = True
            for engine in self._engines.values():
                engine.close()
            self._engines.clear()

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
        features = self._engines[BACKBONE].run({IMAGE_TENSOR: tensor})
        clock.lap("backbone")
        results: dict[str, Result] = {}
        for task in self.tasks:
            entry = spec.tasks[task]
            outputs = self._run_decoder(entry.component, features)
            clock.lap(task)
            results[task] = decode(task, outputs, letterbox, entry.classes, self.score_threshold)
            clock.lap(f"{task}.decode")
        return Frame(letterbox.image_height, letterbox.image_width, results, clock.timings())

    def _run_decoder(self, component: str, features: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        inputs = self.package.spec.components[component].inputs
        return self._engines[component].run({tensor.name: features[tensor.name] for tensor in inputs})

    def _open_engines(self) -> None:
        spec = self.package.spec
        for task in self.tasks:
            entry = spec.tasks[task]
            check_outputs(task, entry, spec.components[entry.component].outputs, spec.input)
        for component in dict.fromkeys([BACKBONE, *(spec.tasks[task].component for task in self.tasks)]):
            self._engines[component] = open_engine(
                self.engine,
                self.package.model_file(component, self.precision),
                threads=self.threads,
                precision=self.precision,
            )

    def _run_blank_frame(self) -> None:
        """Run the padding colour through every graph, and compare what comes with what the package says."""
        spec = self.package.spec
        shape = spec.input.tensor.shape
        blank = np.ascontiguousarray(np.broadcast_to(np.array(spec.input.pad_color, np.uint8), shape))
        for component, outputs in self._run_graphs(blank):
            self._check_given(component, outputs)

    def _run_graphs(self, tensor: NDArray[np.uint8]) -> Iterator[tuple[str, Mapping[str, NDArray[Any]]]]:
        """Each component and what it gives, the backbone first; `tensor` is the network's input."""
        features = self._engines[BACKBONE].run({IMAGE_TENSOR: tensor})
        yield BACKBONE, features
        for component in self._engines:
            if component != BACKBONE:
                yield component, self._run_decoder(component, features)

    def _check_given(self, component: str, outputs: Mapping[str, NDArray[Any]]) -> None:
        declared: ComponentSpec = self.package.spec.components[component]
        for tensor in declared.outputs:
            given = outputs.get(tensor.name)
            if given is None or given.shape != tensor.shape or given.dtype != tensor.dtype:
                file = self.package.model_file(component, self.precision)
                raise PackageError(
                    f"{file}: gives {_describe(tensor.name, given)}, but the package declares it as "
                    f"{tensor.dtype} {tensor.shape}; export it again"
                )


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
        require_built(task)
        if task not in spec.tasks:
            raise TaskError(f"package {spec.name!r} has no task {task!r}; it has: {', '.join(spec.tasks)}")
    return tuple(dict.fromkeys(tasks or spec.tasks))


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


def _describe(name: str, given: NDArray[Any] | None) -> str:
    return f"no {name!r}" if given is None else f"{name!r} as {given.dtype} {given.shape}"
