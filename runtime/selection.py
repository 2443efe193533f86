"""What a runtime makes of its arguments and its package: tasks, their detector, and the stages to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from argus_edge.errors import InputError, PackageError, TaskError
from argus_edge.package import ModelPackage
from argus_edge.runtime.decode import check_outputs
from argus_edge.runtime.persons import PERSON
from argus_edge.runtime.schedule import Stage
from argus_edge.spec import BACKBONE, ImageSpec, PackageSpec, Precision, TaskEntry
from argus_edge.tasks import get_task

__all__ = ["POSE", "Selection", "choose_precision", "packages_at_once", "select"]

POSE: Final = "keypoints"
"""The output kind of what needs persons."""

_DETECTORS: Final = ("det", "inst")


@dataclass(frozen=True, slots=True)
class Selection:
    """The tasks to run and the stages that answer them.

    Attributes:
        reported: the tasks that were asked for.
        detector: the task that finds people for pose; None where nothing needs them.
        tasks: all that run, in the order of their stages: `reported`, and the detector if it is none of them.
        stages: the backbone first, then each decoder once.
    """

    reported: tuple[str, ...]
    detector: str | None
    tasks: tuple[str, ...]
    stages: tuple[Stage, ...]


def select(spec: PackageSpec, tasks: Sequence[str] | None) -> Selection:
    """Choose what to run. Raises TaskError, InputError, PackageError."""
    reported = _choose_tasks(spec, tasks)
    detector = _choose_detector(spec, reported)
    needed = [*reported, detector] if detector is not None else reported
    order = tuple(dict.fromkeys(sorted(needed, key=lambda task: spec.tasks[task].row(task).kind == POSE)))
    for task in order:
        entry = spec.tasks[task]
        check_outputs(task, entry, spec.components[entry.component].outputs, spec.input)
        if entry.row(task).kind == POSE:
            _check_heatmaps(spec, entry)
    needs: dict[str, tuple[str, ...]] = {BACKBONE: ()}
    for task in order:
        entry = spec.tasks[task]
        after = () if detector is None or entry.row(task).kind != POSE else (spec.tasks[detector].component,)
        needs.setdefault(entry.component, (BACKBONE, *after))
    return Selection(reported, detector, order, tuple(Stage(name, before) for name, before in needs.items()))


def choose_precision(spec: PackageSpec, precision: Precision | None) -> Precision:
    """The precision asked for, or the lowest of the package. Raises InputError where it has none such."""
    if precision is None:
        return spec.precisions[-1]
    if precision not in spec.precisions:
        raise InputError(
            f"package {spec.name!r} has no precision {precision!r}; it has: {', '.join(spec.precisions)}"
        )
    return precision


def packages_at_once(package: ModelPackage, image: ImageSpec, most: int) -> dict[int, ModelPackage]:
    """The package for each number of frames that it takes at once, from 2 to `most`, in inputs like `image`.

    Raises InputError where `most` asks for some and there are none.
    """
    if most < 1:
        raise InputError(f"batch must be at least 1, got {most}")
    has = sorted(
        each.batch for each in package.spec.inputs if each.batch > 1 and replace(each, batch=1) == image
    )
    found = {frames: package.at(image.height, image.width, frames) for frames in has if frames <= most}
    if most > 1 and not found:
        raise InputError(
            f"package {package.spec.name!r} has graphs for {', '.join(map(str, has)) or 'no'} frames of "
            f"{image.size} px at once, asked for up to {most}; export it with --batch {most}"
        )
    return found


def check_names(what: str, given: Mapping[str, object], tasks: Sequence[str]) -> None:
    """Raise TaskError where `given` names something that is not among the tasks that run."""
    for task in given:
        if task not in tasks:
            get_task(task)
            raise TaskError(f"{what} names {task!r}, which is not run; tasks run: {', '.join(tasks)}")


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
    if not any(spec.tasks[task].row(task).kind == POSE for task in tasks):
        return None
    able = [task for task in _DETECTORS if task in spec.tasks and PERSON in spec.tasks[task].classes]
    if not able:
        raise TaskError(
            f"task 'pose' needs a detector of the class {PERSON!r}, and package {spec.name!r} has none; "
            f"export it with det or inst, or choose tasks without pose"
        )
    return next((task for task in able if task in tasks), able[0])


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
