"""What is measured: a checkpoint, run by torch, or a model package on an engine, which needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from argus_edge.dependencies import require
from argus_edge.errors import InputError, TaskError
from argus_edge.package import ModelPackage
from argus_edge.runtime import engines as runtime_engines
from argus_edge.runtime.session import Runtime
from argus_edge.spec import PRECISIONS, Precision
from argus_edge.tasks import all_tasks, get_task
from argus_edge.train.custom import origin_of
from argus_edge.train.metrics.keypoint_ap import MAX_PERSONS
from argus_edge.train.validate import Predict

ENGINES: Final = ("auto", *runtime_engines.ENGINES, "torch")


@dataclass(frozen=True)
class Subject:
    """A model ready to run: one predictor per precision, all with the same tasks."""

    engine: str
    predictors: Mapping[str, Predict]
    notes: Mapping[str, str] = field(default_factory=dict)  # task -> what its protocol has to name


@dataclass(frozen=True)
class Model:
    """A model that is known, but not loaded."""

    tasks: tuple[str, ...]
    classes: Mapping[str, tuple[str, ...]]  # of each of its tasks that has classes
    takes_people: bool  # whether predictors may be told where the people are
    load: Callable[[Sequence[str]], AbstractContextManager[Subject]]  # for some of its tasks


def find_model(
    path: Path, engine: str = "auto", precisions: Sequence[str] | None = None, threads: int | None = None
) -> Model:
    """The checkpoint or package at `path`.

    Args:
        path: its folder.
        engine: one of ENGINES.
        precisions: of a package, by default its lowest.
        threads: of a package's engine.

    Raises InputError when there is none or it cannot be run like this, and as reading it does.
    """
    if (path / "model.json").is_file():
        return _checkpoint(path, engine, precisions)
    if path.is_dir():
        return _package(path, engine, precisions, threads)
    raise InputError(f"{path}: expected a checkpoint or model package, which are folders; got none")


def check_tasks(path: Path, model: Model, tasks: Sequence[str]) -> None:
    """Raise TaskError unless all of `tasks` are the model's."""
    for task in tasks:
        get_task(task)
        if task not in model.tasks:
            raise TaskError(f"{path} has no task {task!r}; it has: {', '.join(model.tasks)}")


def _checkpoint(path: Path, engine: str, precisions: Sequence[str] | None) -> Model:
    if engine not in ("auto", "torch"):
        raise InputError(f"{path} is a checkpoint, run by torch; export it to use {engine}")
    if precisions is not None and list(precisions) != ["fp32"]:
        raise InputError(f"{path} is a checkpoint, run in fp32; export it for other precisions")
    require("torch", "train")
    from argus_edge.train.model.checkpoint import load_checkpoint
    from argus_edge.train.predict import TorchPredictor

    model, info = load_checkpoint(path)

    @contextmanager
    def load(tasks: Sequence[str]) -> Iterator[Subject]:
        yield Subject("torch", {"fp32": TorchPredictor(model, info, tasks)})

    return Model(info.tasks, info.classes, True, load)


def _package(path: Path, engine: str, precisions: Sequence[str] | None, threads: int | None) -> Model:
    if engine == "torch":
        raise InputError(f"{path} is not a checkpoint, and only those run on torch")
    package = ModelPackage.open(path)
    _check_rows(path, package)
    chosen = [_precision(name) for name in precisions] if precisions is not None else [None]

    @contextmanager
    def load(tasks: Sequence[str]) -> Iterator[Subject]:
        with ExitStack() as stack:
            runtimes = [
                stack.enter_context(
                    Runtime(package, engine, precision, tasks, threads=threads, score_threshold=0.0)
                )
                for precision in chosen
            ]
            name = f"{runtimes[0].engine} {runtimes[0].engine_version}"
            predictors: dict[str, Predict] = {runtime.precision: runtime for runtime in runtimes}
            yield Subject(name, predictors, _notes(package))

    tasks = package.spec.tasks
    return Model(tuple(tasks), {name: entry.classes for name, entry in tasks.items()}, False, load)


def _check_rows(path: Path, package: ModelPackage) -> None:
    """Raise InputError where a task from outside is of another kind here than in the package."""
    known = all_tasks()
    for task, entry in package.spec.tasks.items():
        kind = entry.row(task).kind if task in known else None
        if kind is not None and kind != known[task].kind:
            raise InputError(
                f"{path}: its task {task!r} is of kind {kind!r}, that of {origin_of(task)} of kind "
                f"{known[task].kind!r}; name the file that it was trained with"
            )


def _notes(package: ModelPackage) -> dict[str, str]:
    """That the package gives the pose of fewer people than the metric takes, where it does."""
    entry = package.spec.tasks.get("pose")
    slots = package.spec.components[entry.component].persons if entry is not None else None
    if slots is None or slots.shape[0] >= MAX_PERSONS:
        return {}
    return {"pose": f"at most {slots.shape[0]} people, as exported"}


def _precision(name: str) -> Precision:
    for precision in PRECISIONS:
        if name == precision:
            return precision
    raise InputError(f"unknown precision {name!r}; expected {', '.join(PRECISIONS)}")
