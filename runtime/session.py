"""One package, opened on one engine: images in, results out, each task as often as it is wanted.

    with Runtime("nano.argus", rates={"seg": 10}) as runtime:
        frame = runtime(image)             # waits for the tasks that are due
        pending = runtime.submit(image)    # does not
        for item, frame in runtime.stream(0):
            frame.det.boxes

A frame is preprocessed in the thread that hands it in; its backbone and decoders run in a thread of the
runtime, in the order and at the time that the C++ scheduler says (docs/running.md); results are made in the
thread that asks for them.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import EngineError, InputError
from argus_edge.package import ModelPackage
from argus_edge.results import Frame
from argus_edge.runtime import _native
from argus_edge.runtime.device import Device
from argus_edge.runtime.engines import EngineStatus, choose_engine, default_threads
from argus_edge.runtime.frame_maker import FrameMaker, measured_names
from argus_edge.runtime.graphs import Graphs
from argus_edge.runtime.numerics import relative_error
from argus_edge.runtime.opening import open_device
from argus_edge.runtime.pending import PendingFrame
from argus_edge.runtime.preprocess import PixelFormat
from argus_edge.runtime.schedule import (
    Overflow,
    Task,
    check_deadline,
    check_rate,
    native_overflow,
    native_specs,
)
from argus_edge.runtime.selection import check_names, choose_precision, packages_at_once, select
from argus_edge.runtime.sources import Source, SourceFrame
from argus_edge.runtime.statistics import RuntimeStats, trace_events, write_trace
from argus_edge.runtime.streaming import stream_frames
from argus_edge.spec import Precision

__all__ = ["Runtime"]

_TRACED_EVENTS: Final = 8192  # whose memory, 2 to 3 MB, is taken at the start
_JOIN_TIMEOUT: Final = 10.0  # [s] for the stage at work to end, when a runtime is closed


class Runtime:
    """A model package opened on this machine's engine.

    Args:
        package: path of a `NAME.argus` folder, or a package that is open already.
        engine: "tensorrt", "openvino", "onnxruntime", or "auto" for the first of them that is installed and
            serves the package; `why` tells why those before it were not taken.
        precision: "fp32", "fp16" or "int8", of those the package holds; by default the lowest, which is the
            fastest.
        tasks: the tasks to run, by default all of the package.
        threads: CPU threads of the engine, by default one for each core this process may use.
        score_threshold: scored results (boxes, instances, people to look for keypoints in) below it are left
            out, in [0, 1].
        size: side [px] or (height, width) of the network's input, of those the package holds; by default its
            first.
        rates: task -> how often it runs [1/s] in each stream; those not named run on every frame.
        priorities: task -> priority, 0 where not named. When there is not time for all, tasks of lower
            priority are skipped.
        deadline_ms: from the capture of a frame to its results [ms], for all tasks or by task; a task that
            would miss it is skipped.
        overflow: what `submit` does with a frame when one is waiting already: "latest" drops the one that
            waits, "oldest" the new one, "wait" waits.
        timeout: longest wait for anything [s].
        keep_warm: run the backbone when nothing has run for so long [s], so that clocks and caches do not
            cool down; None leaves that alone.
        cache: keep what OpenVINO compiles in this user's cache. Without it every opening compiles, and frames
            pass through Python: for packages that are opened once.
        batch: most frames that run at once, each of another stream, where they wait together; the package
            must hold graphs for several (`argus-export --batch`). All graphs up to this number are loaded,
            which takes their memory. 1: frames run one by one.

    Opening reads and checks the whole package and loads the backbone and the decoders of the chosen tasks: a
    graph that does not give what the package declares is found here, and the first call is as fast as the
    others. On OpenVINO the compiled graphs are kept in this user's cache, and run without the interpreter.

    `pose` needs people: it is run last, on those that det or inst has found. When neither is among
    `tasks`, the package's detector is run for it without being reported.

    A runtime may be used from several threads. Frames share no memory with it. A process that was forked off
    cannot use it and opens its own.

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
        *,
        rates: Mapping[str, float | None] | None = None,
        priorities: Mapping[str, int] | None = None,
        deadline_ms: float | Mapping[str, float] | None = None,
        overflow: Overflow = "latest",
        timeout: float = 60.0,
        keep_warm: float | None = None,
        cache: bool = True,
        batch: int = 1,
    ) -> None:
        if not 0 <= score_threshold <= 1:
            raise InputError(f"score_threshold must be in [0, 1], got {score_threshold}")
        opened = package if isinstance(package, ModelPackage) else ModelPackage.open(package)
        self.package: Final = opened if size is None else opened.at(*_sides(size))
        spec = self.package.spec
        packages = {1: self.package, **packages_at_once(opened, spec.input, batch)}
        self.batches: Final = tuple(packages)
        self._selection: Final = select(spec, tasks)
        self.tasks: Final = self._selection.reported
        self.precision: Final = choose_precision(spec, precision)
        self.threads: Final = default_threads() if threads is None else threads
        self.score_threshold: Final = score_threshold
        self.timeout: Final = timeout
        scheduled = _tasks(self.tasks, spec.tasks, rates or {}, priorities or {}, deadline_ms)
        stages = self._selection.stages
        specs = native_specs(stages, scheduled)
        policy = native_overflow(overflow)
        status, why = choose_engine(engine, spec.target)
        self._status: Final[EngineStatus] = status
        device, notes = open_device(
            packages, self._selection, status.name, self.precision, self.threads, score_threshold, cache
        )
        self._device: Final[Device] = device
        self._why: Final = (*why, *notes)
        at_once = self.batches[1:]
        self._names: Final = measured_names(self._selection, at_once)
        self._pipeline: Final = _native.Pipeline(*specs, self._names, _TRACED_EVENTS, at_once)
        self._maker: Final = FrameMaker(
            spec, self._selection, device, self._pipeline, self._names, score_threshold
        )
        if keep_warm is not None:
            self._pipeline.set_keep_warm(keep_warm)
        self._calls: Final = self._pipeline.open_stream(1, _native.Overflow.WAIT)
        self._submits: Final = self._pipeline.open_stream(1, policy)
        self._process: Final = os.getpid()
        self._thread: Final = threading.Thread(
            target=_serve, args=(self._pipeline, device.executor), name="argus_edge", daemon=True
        )
        self._thread.start()
        self._shut_down: Final = weakref.finalize(
            self, _shut_down, self._pipeline, self._thread, device, self._process
        )

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

    def __call__(self, image: NDArray[np.uint8], pixel_format: PixelFormat = "rgb") -> Frame:
        """Run the tasks that are due on one image, and wait for their results.

        Args:
            image: (H, W, 3) uint8 RGB of any size and memory order, or what `pixel_format` says.
            pixel_format: "rgb", "bgr", "nv12" or "yuyv" (`preprocess.PixelFormat`).

        Returns the results in the frame of `image`. `timings` [ms] holds "preprocess", "backbone", for each
        task its name (the decoder's graph; 0 where another task has run it already) and "<task>.decode"
        (making the result), "wait" (for the device, and from one thread to another), and "total".

        Raises ImageError for anything that is not such an image, EngineError when a graph fails (the next
        call goes on), when nothing comes in time, or when the runtime was closed.
        """
        return self._hand_in(self._calls, image, None, pixel_format).result()

    def submit(
        self, image: NDArray[np.uint8], captured: float | None = None, pixel_format: PixelFormat = "rgb"
    ) -> PendingFrame:
        """Hand in one image and do not wait for its results.

        Args:
            image: as for a call; it may be overwritten as soon as this returns.
            captured: when the image was taken, in seconds of time.monotonic(); None is now.
            pixel_format: as for a call.

        Raises ImageError, and EngineError when the runtime was closed.
        """
        return self._hand_in(self._submits, image, captured, pixel_format)

    def stream(
        self,
        source: Source | str | Path | int | Iterable[NDArray[np.uint8]],
        overflow: Overflow | None = None,
    ) -> Generator[tuple[SourceFrame, Frame], None, None]:
        """Run a source to its end: frames are read, run and given out at the same time.

        Args:
            source: an open source, or whatever `open_source` takes.
            overflow: as for the runtime; by default "latest" for a camera or a stream and "wait" for files.

        Yields each frame that was run with its results, in order. A frame on which a task failed has the
        others' results and says so in `missing`. Several streams may run at once, each from a thread of its
        own: they share the backbone, and rates hold for each.

        Raises SourceError when the source fails, after the results of the frames before; EngineError.
        """
        self._check_open()
        return stream_frames(self._pipeline, self._hand_in, source, overflow, self.timeout)

    def set_rate(self, task: str, rate: float | None) -> None:
        """Have a task run so often from now on [1/s]; None: on every frame. Raises TaskError, InputError."""
        check_rate(task, rate)
        self._pipeline.set_rate(self._index(task), rate or 0.0)

    def set_priority(self, task: str, priority: int) -> None:
        """Give a task another priority from now on. Raises TaskError."""
        self._pipeline.set_priority(self._index(task), priority)

    def set_deadline(self, task: str, deadline_ms: float | None) -> None:
        """Give a task another deadline from now on [ms]; None is none. Raises TaskError, InputError."""
        deadline = float("inf") if deadline_ms is None else deadline_ms
        check_deadline(task, deadline)
        self._pipeline.set_deadline(self._index(task), deadline / 1e3)

    def set_enabled(self, task: str, enabled: bool) -> None:
        """Stop running a task, or start again. Raises TaskError."""
        self._pipeline.set_enabled(self._index(task), enabled)

    def stats(self) -> RuntimeStats:
        """What has run since the runtime was opened, and how fast; also when it was closed."""
        return RuntimeStats.of(self._pipeline, self._names, self.tasks)

    def trace(self, path: str | Path) -> None:
        """Write the last 8,192 events and frames as a trace for Perfetto or chrome://tracing.

        Raises InputError when the file cannot be written.
        """
        write_trace(Path(path), trace_events(self._pipeline, self._names, self.tasks))

    def golden_errors(self) -> dict[str, float] | None:
        """Compare this engine, on this machine, with what was recorded in the package when it was exported.

        Returns "<component>.<tensor>" -> greatest difference, as a share of the greatest recorded value (for
        integers: share of the elements that differ). None when the package has no sample of this precision.
        Raises EngineError when the runtime was closed.
        """
        golden, spec = self.package.golden(), self.package.spec.golden
        if golden is None or spec is None or spec.precision != self.precision:
            return None
        self._check_open()
        tasks = self._selection.tasks
        with closing(Graphs(self.package, tasks, self.engine, self.precision, self.threads)) as graphs:
            return {
                f"{component}.{name}": relative_error(expected, outputs[name])
                for component, outputs in graphs.run_all(golden.image, golden.inputs)
                for name, expected in golden.outputs.get(component, {}).items()
            }

    def close(self) -> None:
        """End everything: what waits is dropped, the stage at work ends first. Harmless when repeated."""
        self._shut_down()

    def __enter__(self) -> Runtime:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if os.getpid() != self._process:
            raise EngineError(
                f"the runtime of {self.package.path} was opened before this process was forked off; "
                f"open one here"
            )
        if not self._shut_down.alive:
            raise EngineError(f"the runtime of {self.package.path} was closed; open a new one")

    def _index(self, task: str) -> int:
        check_names("the call", {task: None}, self.tasks)
        return self.tasks.index(task)

    def _hand_in(
        self, stream: int, image: NDArray[np.uint8], captured: float | None, pixel_format: PixelFormat
    ) -> PendingFrame:
        self._check_open()
        begin = self._pipeline.now()
        load = self._device.load(image, pixel_format)
        self._maker.begun(load, begin)
        try:
            ticket = self._pipeline.offer(
                stream,
                begin if captured is None else captured,
                load if load.work is None else load.work,
                self.timeout,
            )
        except RuntimeError as error:  # the stream is closed, and so is the runtime
            raise EngineError(f"the runtime of {self.package.path} was closed; open a new one") from error
        if ticket is None:
            raise EngineError(f"no room for a frame within {self.timeout:g} s; is the engine stuck?")
        return PendingFrame(ticket, load, self._maker.make, self.timeout)


def _serve(pipeline: _native.Pipeline, executor: _native.Executor) -> None:
    """What the runtime's thread does; it knows no Runtime, so that one that is forgotten is freed."""
    try:
        pipeline.serve(executor)
    finally:
        pipeline.close()  # when it failed, nobody may wait for more


def _shut_down(pipeline: _native.Pipeline, thread: threading.Thread, device: Device, process: int) -> None:
    if os.getpid() != process:
        return  # the thread and its locks are the parent's
    pipeline.close()
    if threading.current_thread() is not thread:
        thread.join(_JOIN_TIMEOUT)
    if not thread.is_alive():
        device.close()


def _tasks(
    names: Sequence[str],
    entries: Mapping[str, Any],
    rates: Mapping[str, float | None],
    priorities: Mapping[str, int],
    deadline_ms: float | Mapping[str, float] | None,
) -> list[Task]:
    """What the scheduler is told of each task. Raises TaskError for a name that is not among them."""
    check_names("rates", rates, names)
    check_names("priorities", priorities, names)
    if isinstance(deadline_ms, Mapping):
        check_names("deadline_ms", deadline_ms, names)
        deadlines = dict(deadline_ms)
    else:
        deadlines = {} if deadline_ms is None else dict.fromkeys(names, deadline_ms)
    return [
        Task(
            name,
            entries[name].component,
            rates.get(name),
            priorities.get(name, 0),
            deadlines.get(name, float("inf")),
        )
        for name in names
    ]


def _sides(size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width [px]."""
    return (size, size) if isinstance(size, int) else size
