"""What a runtime has done: counts and times in one object, in Prometheus' text form, and as a trace."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from argus_edge.errors import InputError
from argus_edge.runtime import _native
from argus_edge.runtime.schedule import counted

__all__ = ["RuntimeStats", "StageStats", "TaskStats", "trace_events", "write_trace"]

_SHARES: Final = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99, "p99_9_ms": 0.999}


@dataclass(frozen=True, slots=True)
class StageStats:
    """Times [ms] of one stage, or of anything that was measured, to 1 %."""

    count: int
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p99_9_ms: float
    max_ms: float

    @staticmethod
    def of(histogram: _native.Histogram) -> StageStats:
        """Read a histogram of the compiled core."""
        shares = {name: histogram.percentile(share) * 1e3 for name, share in _SHARES.items()}
        mean = histogram.sum / histogram.total * 1e3 if histogram.total else 0.0
        return StageStats(histogram.total, mean, **shares, max_ms=histogram.largest * 1e3)


@dataclass(frozen=True, slots=True)
class TaskStats:
    """How the turns of a task ended, and what is asked of it now.

    `missed` of the `done` turns were later than the deadline; `late` and `yielded` ones were skipped: they
    would have been too late, or would have cost a task of higher priority its turn.
    """

    done: int
    late: int
    yielded: int
    failed: int
    missed: int
    rate: float | None
    priority: int


@dataclass(frozen=True, slots=True)
class RuntimeStats:
    """What has run since a runtime was opened.

    Attributes:
        offered: frames that were handed in.
        frames: how many ended in which way: "done"; "idle", no task was due; "skipped", all due tasks were;
            "failed"; "overflow", dropped for want of room; "closed". With the frame at work and those that
            wait they add up to `offered`.
        tasks: task -> its turns.
        stages: stage -> its times; also "preprocess" and "<task>.decode".
        queue: from a frame's capture to the start of its backbone.
        age: from a frame's capture to the end of its decoders.
    """

    offered: int
    frames: Mapping[str, int]
    tasks: Mapping[str, TaskStats]
    stages: Mapping[str, StageStats]
    queue: StageStats
    age: StageStats

    @staticmethod
    def of(pipeline: _native.Pipeline, names: Sequence[str], tasks: Sequence[str]) -> RuntimeStats:
        """Read the counters of a pipeline."""
        stats, specs = pipeline.stats(), pipeline.tasks()
        turns = {}
        for place, task in enumerate(tasks):
            ends, spec = counted(_native.TaskEnd, stats.tasks[place]), specs[place]
            turns[task] = TaskStats(
                done=ends["done"],
                late=ends["late"],
                yielded=ends["yielded"],
                failed=ends["failed"],
                missed=stats.missed[place],
                rate=spec.rate or None,
                priority=spec.priority,
            )
        frames = counted(_native.FrameEnd, stats.frames)
        return RuntimeStats(
            offered=stats.offered,
            frames={end: count for end, count in frames.items() if end not in ("waiting", "running")},
            tasks=turns,
            stages={name: StageStats.of(times) for name, times in zip(names, stats.stages, strict=True)},
            queue=StageStats.of(stats.queue),
            age=StageStats.of(stats.age),
        )

    def to_json(self) -> dict[str, Any]:
        """Return a dict that json.dumps accepts."""
        return asdict(self)

    def to_prometheus(self) -> str:
        """Return the text form that Prometheus scrapes; times in seconds, as it wants them."""
        return "\n".join(_metrics(self)) + "\n"


def _metrics(stats: RuntimeStats) -> Iterator[str]:
    yield from _family("frames_total", "counter", "Frames by how they ended.")
    for end, count in stats.frames.items():
        yield f'argus_frames_total{{end="{end}"}} {count}'
    yield from _family("frames_offered_total", "counter", "Frames that were handed in.")
    yield f"argus_frames_offered_total {stats.offered}"
    yield from _family("turns_total", "counter", "Turns of each task by how they ended.")
    for task, turns in stats.tasks.items():
        for end in ("done", "late", "yielded", "failed"):
            yield f'argus_turns_total{{task="{task}",end="{end}"}} {getattr(turns, end)}'
    yield from _family("deadlines_missed_total", "counter", "Turns that were done, but too late.")
    for task, turns in stats.tasks.items():
        yield f'argus_deadlines_missed_total{{task="{task}"}} {turns.missed}'
    yield from _summary("stage_seconds", "Time of each stage.", stats.stages, "stage")
    frame_times = {"queue": stats.queue, "age": stats.age}
    yield from _summary("frame_seconds", "Time from capture to start and to end.", frame_times, "until")


def _summary(name: str, text: str, times: Mapping[str, StageStats], label: str) -> Iterator[str]:
    yield from _family(name, "summary", text)
    for key, each in times.items():
        for field, share in _SHARES.items():
            value = getattr(each, field) / 1e3
            yield f'argus_{name}{{{label}="{key}",quantile="{share:g}"}} {value:.6g}'
        yield f'argus_{name}_sum{{{label}="{key}"}} {each.mean_ms * each.count / 1e3:.6g}'
        yield f'argus_{name}_count{{{label}="{key}"}} {each.count}'


def _family(name: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP argus_{name} {text}", f"# TYPE argus_{name} {kind}"


def trace_events(
    pipeline: _native.Pipeline, names: Sequence[str], tasks: Sequence[str]
) -> list[dict[str, Any]]:
    """The last events in Chrome's trace form: stages, time in the queue, and frames with how they ended."""
    process = os.getpid()
    told: list[dict[str, Any]] = [
        {"ph": "M", "pid": process, "tid": thread, "name": "thread_name", "args": {"name": name}}
        for thread, name in enumerate(("stages", "queue", "dropped frames"))
    ]
    told += [
        _span(process, 0, names[event.name], event.begin, event.end, {"frames": event.frames})
        for event in pipeline.events()
    ]
    for report in pipeline.reports():
        arguments = {"frame": report.id, "stream": report.stream, "end": report.end.name.lower()}
        if report.started:
            ends = {task: end.name.lower() for task, end in zip(tasks, report.tasks, strict=True)}
            waited = {**arguments, **ends}
            told.append(_span(process, 1, f"frame {report.id}", report.captured, report.started, waited))
        else:
            instant = {"ph": "i", "s": "t", "pid": process, "tid": 2, "ts": report.ended * 1e6}
            told.append({**instant, "name": arguments["end"], "args": arguments})
    return told


def _span(
    process: int, thread: int, name: str, begin: float, end: float, arguments: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "ph": "X",
        "pid": process,
        "tid": thread,
        "name": name,
        "ts": begin * 1e6,  # [us]
        "dur": max(end - begin, 0.0) * 1e6,
        "args": dict(arguments),
    }


def write_trace(path: Path, events: Sequence[Mapping[str, Any]]) -> None:
    """Write events as a file that Perfetto and chrome://tracing open. Raises InputError."""
    try:
        path.write_text(json.dumps({"traceEvents": list(events), "displayTimeUnit": "ms"}), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: the trace cannot be written: {error.strerror}") from error
