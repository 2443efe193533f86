"""From a frame that has run to its results, and how long each step took."""

from __future__ import annotations

from collections.abc import Sequence

from argus_edge.errors import ArgusError, EngineError
from argus_edge.results import Frame, Result
from argus_edge.runtime import _native
from argus_edge.runtime.decode import decode
from argus_edge.runtime.device import Device, Load
from argus_edge.runtime.selection import Selection
from argus_edge.spec import BACKBONE, PackageSpec

__all__ = ["FrameMaker", "measured_names"]


def measured_names(selection: Selection, batches: Sequence[int]) -> list[str]:
    """What a pipeline measures: its stages on one frame and on several at once, "backbone x4", the
    preprocessing, and the making of each task's result.
    """
    stages = [stage.name for stage in selection.stages]
    at_once = [f"{stage} x{frames}" for frames in batches for stage in stages]
    return [*stages, *at_once, "preprocess", *(f"{task}.decode" for task in selection.reported)]


class FrameMaker:
    """Makes results of the decoders' answers, in the thread that asks for them."""

    def __init__(
        self,
        spec: PackageSpec,
        selection: Selection,
        device: Device,
        pipeline: _native.Pipeline,
        names: Sequence[str],
        score_threshold: float,
    ) -> None:
        self._spec, self._selection, self._device, self._pipeline = spec, selection, device, pipeline
        self._score_threshold = score_threshold
        self._names = names

    def begun(self, load: Load, begin: float) -> None:
        """Note that a frame was handed in at `begin` and is preprocessed now [s]."""
        now = self._pipeline.now()
        load.begin, load.preprocess = begin, now - begin
        self._record("preprocess", [], begin, now)

    def make(self, load: Load, report: _native.FrameReport) -> tuple[Frame, Exception | None]:
        """The frame's results, and the first error among its tasks."""
        stages = [stage.name for stage in self._selection.stages]
        seconds = dict(zip(stages, report.seconds, strict=True))
        timings = {"preprocess": load.preprocess, BACKBONE: seconds.pop(BACKBONE)}
        ends = dict(zip(self._selection.reported, report.tasks, strict=True))
        results: dict[str, Result] = {}
        missing: dict[str, str] = {}
        errors: list[Exception] = []
        for task in (task for task in self._selection.tasks if task in ends):
            if ends[task] is _native.TaskEnd.FAILED:
                errors.append(self._error(load, task))
                missing[task] = f"failed: {errors[-1]}"
            elif ends[task] is not _native.TaskEnd.DONE:
                missing[task] = ends[task].name.lower().replace("_", " ")
            else:
                timings[task] = seconds.pop(self._spec.tasks[task].component, 0.0)
                start = self._pipeline.now()
                try:
                    results[task] = self._decode(load, task)
                except ArgusError as error:
                    errors.append(error)
                    missing[task] = f"failed: {error}"
                stop = self._pipeline.now()
                timings[f"{task}.decode"] = stop - start
                self._record(f"{task}.decode", [report.id], start, stop)
        now = self._pipeline.now()
        timings["wait"] = max(now - load.begin - sum(timings.values()), 0.0)
        timings["total"] = now - load.begin
        frame = Frame(
            load.letterbox.image_height,
            load.letterbox.image_width,
            results,
            {stage: value * 1e3 for stage, value in timings.items()},
            missing,
            age_ms=(now - report.captured) * 1e3,
        )
        return frame, errors[0] if errors else None

    def _decode(self, load: Load, task: str) -> Result:
        known = load.results.get(task)
        if known is not None:  # the detections, which pose has needed
            return known
        entry = self._spec.tasks[task]
        outputs = self._device.outputs(load, entry.component)
        return decode(task, outputs, load.letterbox, entry, self._score_threshold, load.persons)

    def _error(self, load: Load, task: str) -> Exception:
        """Why a task failed: what its stage, or one that it needs, said."""
        needs = {stage.name: stage.needs for stage in self._selection.stages}
        wanted, found = [self._spec.tasks[task].component], None
        while wanted:
            stage = wanted.pop()
            found = self._device.error(load, stage) or found
            wanted += needs[stage]
        return found or EngineError(f"task {task!r} failed")

    def _record(self, name: str, frames: list[int], begin: float, end: float) -> None:
        self._pipeline.record(self._names.index(name), frames, begin, end)
