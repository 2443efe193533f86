"""Writes scenes in published layouts, from where an earlier run stopped.

Below the folder, while it is written:
    .parts/settings.json    what is being written
    .parts/done/JOB.json    rows of a picture all of whose files are there
    .parts/unfinished/      files on their way
At the end the rows become the layouts' own lists, scenes.json takes the settings, and .parts goes.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from argus_edge.errors import InputError
from argus_edge.train.data.layouts.files import Files
from argus_edge.train.data.layouts.layout import Entry, Row
from argus_edge.train.data.layouts.mvtec import MVTEC, write_surface
from argus_edge.train.data.layouts.plan import Job, Plan
from argus_edge.train.data.layouts.table import SCENE_LAYOUTS
from argus_edge.train.data.layouts.workers import spread
from argus_edge.train.data.rendered import scene_example
from argus_edge.train.data.scenes import render

_PARTS: Final = ".parts"
_FINISHED: Final = "scenes.json"


def write_scenes(plan: Plan, processes: int | None = None, progress: bool = True) -> int:
    """Write what the plan says, with progress on stderr; returns the number of pictures that were drawn.

    May be killed and started again: the files are the same as if it had not been. A folder that is complete
    stays as it is.

    Args:
        plan: what to write and where.
        processes: that draw, by default one for each core.
        progress: whether to show it.

    Raises:
        InputError: the folder holds something else, was begun with other settings, is in use, or cannot be
            written; or `processes` is below 1.
    """
    if processes is None:
        processes = len(os.sched_getaffinity(0))
    if processes < 1:
        raise InputError(f"processes is {processes}; expected at least 1")
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
        with _alone(plan.folder):
            return _write(plan, processes, progress)
    except OSError as error:
        raise InputError(f"{error.filename or plan.folder}: cannot be written: {error.strerror}") from error


def _write(plan: Plan, processes: int, progress: bool) -> int:
    parts, finished = plan.folder / _PARTS, plan.folder / _FINISHED
    if finished.exists():
        _check_settings(plan, finished)
        shutil.rmtree(parts, ignore_errors=True)
        return 0
    files = _files(plan.folder)
    if (parts / "settings.json").exists():
        _check_settings(plan, parts / "settings.json")
    elif any(path != parts for path in plan.folder.iterdir()):
        raise InputError(
            f"{plan.folder}: holds other files; expected a new or empty folder, or one begun before"
        )
    shutil.rmtree(files.unfinished, ignore_errors=True)
    files.unfinished.mkdir(parents=True)
    files.write_json(f"{_PARTS}/settings.json", plan.settings())
    jobs = [*plan.scenes(), *plan.surfaces()]
    files.make_folder(f"{_PARTS}/done")
    done = {path.stem for path in (parts / "done").iterdir()}
    missing = [job for job in jobs if job.name not in done]
    columns = (TextColumn("pictures"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not progress) as bar:
        task = bar.add_task("pictures", total=len(jobs), completed=len(jobs) - len(missing))
        spread(partial(_draw, plan), missing, processes, lambda number: bar.advance(task, number))
    _finish(plan, files)
    files.write_json(_FINISHED, plan.settings())
    shutil.rmtree(parts)
    return len(missing)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps a second run out of the folder; the system lets go when this one ends, however it does."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"{folder}: another run is writing there; wait until it has ended") from error
        yield
    finally:
        os.close(descriptor)


def _check_settings(plan: Plan, path: Path) -> None:
    """Raises InputError unless the file holds the plan's settings."""
    wanted = plan.settings()
    try:
        found = json.loads(path.read_bytes())
        differing = [name for name in wanted if found[name] != wanted[name]]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not written by this command; take another folder") from error
    if differing:
        texts = (f"{name} {found[name]} instead of {wanted[name]}" for name in differing)
        raise InputError(
            f"{plan.folder}: was begun with {', '.join(texts)}; give the same settings or another folder"
        )


def _files(folder: Path) -> Files:
    return Files(folder, folder / _PARTS / "unfinished")


def _draw(plan: Plan, jobs: Sequence[Job]) -> None:
    """Draws pictures and writes all their files; the part, written last, says that they are there."""
    files = _files(plan.folder)
    for job in jobs:
        rows = {} if job.category else _write_scene(plan, job, files)
        if job.category:
            write_surface(job.split, job.seed, job.category, job.defective, plan.size, files.below(MVTEC))
        files.write_json(f"{_PARTS}/done/{job.name}.json", rows)


def _write_scene(plan: Plan, job: Job, files: Files) -> dict[str, Row]:
    layouts = {name: layout for name, layout in SCENE_LAYOUTS.items() if name in plan.layouts}
    tasks = {task for layout in layouts.values() for task in layout.tasks}
    entry = Entry(job.split, job.seed, scene_example(render(job.seed, plan.size), tasks))
    return {name: layout.add(entry, files.below(name)) for name, layout in layouts.items()}


def _finish(plan: Plan, files: Files) -> None:
    """Writes every layout's files about all of its images."""
    rows: dict[str, dict[str, list[Any]]] = {}
    for job in plan.scenes():
        part = json.loads((files.root / _PARTS / "done" / f"{job.name}.json").read_bytes())
        for name, row in part.items():
            rows.setdefault(name, {"train": [], "val": []})[job.split].append(row)
    for name, splits in rows.items():
        SCENE_LAYOUTS[name].finish(splits, files.below(name))
