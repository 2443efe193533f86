"""What the scheduler is told: stages, tasks, and what to do with frames that come too fast.

The scheduler itself is C++ (native/core/scheduler.hpp); this is its vocabulary in Python, shared by the
`Runtime` and by simulations.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from argus_edge.errors import InputError
from argus_edge.runtime import _native

__all__ = ["OVERFLOWS", "Overflow", "Stage", "Task", "counted", "native_overflow", "native_specs"]

Overflow: TypeAlias = Literal["latest", "oldest", "wait"]
"""What happens to a frame when its stream's queue is full: "latest" drops the oldest frame that waits,
"oldest" the new one, "wait" makes whoever offers it wait."""

OVERFLOWS: Final[tuple[Overflow, ...]] = get_args(Overflow)


@dataclass(frozen=True, slots=True)
class Stage:
    """A graph that runs at most once per frame, and the stages before it whose answers it reads."""

    name: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """What is asked of a stage.

    Attributes:
        name: of the task.
        stage: that gives its answer.
        rate: how often [1/s] in each stream; None is on every frame.
        priority: more is more important.
        deadline_ms: from a frame's capture to the answer [ms]; a task that would miss it is skipped.
    """

    name: str
    stage: str
    rate: float | None = None
    priority: int = 0
    deadline_ms: float = math.inf


def check_rate(name: str, rate: float | None) -> None:
    """Raise InputError for a rate that is not one."""
    if rate is not None and not (math.isfinite(rate) and rate > 0):
        raise InputError(
            f"task {name!r}: a rate must be a number of runs per second above 0, or None for every frame, "
            f"got {rate}"
        )


def check_deadline(name: str, deadline_ms: float) -> None:
    """Raise InputError for a deadline that is not one."""
    if not deadline_ms > 0:
        raise InputError(f"task {name!r}: a deadline must be above 0 ms, got {deadline_ms}")


def native_specs(
    stages: Sequence[Stage], tasks: Sequence[Task]
) -> tuple[list[_native.StageSpec], list[_native.TaskSpec]]:
    """The tables that the compiled scheduler takes.

    Raises InputError for stages that are needed but do not come before, and for tasks of unknown stages,
    rates or deadlines.
    """
    places: dict[str, int] = {}
    stage_specs, task_specs = [], []
    for stage in stages:
        unknown = [need for need in stage.needs if need not in places]
        if unknown or stage.name in places:
            raise InputError(
                f"stage {stage.name!r}: expected a name of its own and stages before it, got {stage.needs}"
            )
        stage_specs.append(_native.StageSpec(stage.name, [places[need] for need in stage.needs]))
        places[stage.name] = len(places)
    for task in tasks:
        if task.stage not in places:
            raise InputError(
                f"task {task.name!r}: expected one of the stages {sorted(places)}, got {task.stage!r}"
            )
        check_rate(task.name, task.rate)
        check_deadline(task.name, task.deadline_ms)
        task_specs.append(
            _native.TaskSpec(
                task.name, places[task.stage], task.rate or 0.0, task.priority, task.deadline_ms / 1e3
            )
        )
    return stage_specs, task_specs


def native_overflow(overflow: str) -> _native.Overflow:
    """Raises InputError for an unknown policy."""
    if overflow not in OVERFLOWS:
        raise InputError(f"overflow must be one of {', '.join(OVERFLOWS)}, got {overflow!r}")
    return _native.Overflow[overflow.upper()]


def counted(kinds: type[enum.Enum], counts: Sequence[int]) -> Mapping[str, int]:
    """Counts of the compiled core, in the order of `kinds`, by name: "done", "late" and so on."""
    return {kind.name.lower(): count for kind, count in zip(kinds, counts, strict=True)}
