"""Tasks from outside: one description of all that training, evaluation and export ask of a task.

A file of the user's own, named with --task-file, or an installed package's entry point of the group
`argus_edge.tasks`, under the task's name, holds a `CustomTask`. docs/adding-a-task.md walks through one.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import importlib.util
import math
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from argus_edge.errors import ArgusError, TaskError, first_line
from argus_edge.tasks import OutputKind, TaskSpec, all_tasks, check_row, get_task, register_task
from argus_edge.train.data.augment.settings import AUGMENTATIONS, Augmentation
from argus_edge.train.data.classes import SCENE_CLASSES
from argus_edge.train.data.readers.reader import Reader
from argus_edge.train.data.readers.table import READERS
from argus_edge.train.data.scene_labels import CUSTOM_SCENE_LABELS, SCENE_MAPS, SceneLabel
from argus_edge.train.data.transforms import Sample
from argus_edge.train.metrics import TASK_METRICS, TaskMetric

if TYPE_CHECKING:
    from torch import Tensor, nn

    from argus_edge.train.model.build import Variant

GROUP: Final = "argus_edge.tasks"  # of entry points
HINT: Final = "a task of your own needs --task-file FILE"
# The kinds whose labels can be read, placed and drawn, and the task whose pictures are treated alike.
LIKE: Final[Mapping[OutputKind, str]] = {
    "label_map": "seg",
    "dense_map": "edge",
    "normal_map": "normal",
    "scores": "cls",
}
_LAYOUT: Final = re.compile(r"[a-z0-9][a-z0-9_-]*")
# Parts of a task, what they must be, and whether a value is that.
_PARTS: Final[tuple[tuple[str, str, Callable[[Any], bool]], ...]] = (
    ("build", "a function", callable),
    ("loss", "a function", callable),
    ("metric", "a TaskMetric", lambda v: isinstance(v, TaskMetric)),
    (
        "classes",
        "names that differ",
        lambda v: isinstance(v, tuple | list) and all(type(n) is str for n in v) and len({*v}) == len(v),
    ),
    (
        "scenes",
        f"None or a SceneLabel of maps among {', '.join(SCENE_MAPS)}",
        lambda v: v is None or (isinstance(v, SceneLabel) and {*SCENE_MAPS} >= {*v.maps}),
    ),
    (
        "readers",
        "a mapping of layouts to readers",
        lambda v: isinstance(v, Mapping) and all(isinstance(reader, Reader) for reader in v.values()),
    ),
    ("targets", "None or a function", lambda v: v is None or callable(v)),
    ("augmentation", "None or an Augmentation", lambda v: v is None or isinstance(v, Augmentation)),
    ("weight", "a number of 0 or more", lambda v: isinstance(v, int | float) and 0 <= v < math.inf),
)


@dataclass(frozen=True)
class CustomTask:
    """All of a task that is none of the twelve.

    `build` gives the decoder for a variant and the names of the classes: a module with `levels`, those of
    F0..F3 that it reads, `forward`, from these maps to what `loss` takes, and `infer`, from them to the
    outputs that docs/package-format.md has for the task's kind. Ours (UPerNet, DPTDepth, ...) are such.
    """

    row: TaskSpec
    build: Callable[[Variant, Sequence[str]], nn.Module]
    loss: Callable[[Any, Any], Tensor]  # (what `forward` gives, targets of the batch) -> scalar
    metric: TaskMetric
    classes: tuple[str, ...] = ()  # on scenes; data sets tell their own
    scenes: SceneLabel | None = None  # None: it cannot learn from scenes
    readers: Mapping[str, Reader] = field(default_factory=dict)  # layout, as in --data LAYOUT:PATH, -> reader
    targets: Callable[[Sequence[Sample]], Any] | None = None  # None: the labels as tensors, see `targets.py`
    augmentation: Augmentation | None = None  # of data sets; None: as of our task in LIKE
    weight: float = 1.0  # of the loss, which it should bring to the order of 1


@dataclass(frozen=True)
class TaskOrigins:
    """Where the tasks of this process come from. Unpickled in another process, it loads them there."""

    files: tuple[Path, ...] = ()
    entry_points: tuple[str, ...] = ()

    def __reduce__(self) -> tuple[Callable[..., TaskOrigins], tuple[Any, ...]]:
        return load_origins, (self.files, self.entry_points)


_tasks: Final[dict[str, CustomTask]] = {}
_origins: Final[dict[str, str]] = {}  # task -> the file's name or the entry point
_files: Final[dict[Path, tuple[str, ...]]] = {}  # file -> its tasks
_entry_points: Final[list[str]] = []


def add_task_option(add: Callable[..., argparse.Action]) -> None:
    """Add --task-file to a command; `add` is the `add_argument` of its parser."""
    add(
        "--task-file",
        action="append",
        type=Path,
        default=[],
        metavar="FILE",
        help="Python file with a task of your own (docs/adding-a-task.md); repeatable",
    )


def load_task_files(paths: Sequence[Path]) -> None:
    """Run the user's files and make the tasks in them known; one that is loaded already is passed over.

    Raises TaskError when there is no such file, it does not run, or holds no task or one that cannot be.
    """
    for path in dict.fromkeys(path.expanduser().resolve() for path in paths):
        if path in _files:
            continue
        module = _imported(path)
        found = {id(v): v for v in vars(module).values() if isinstance(v, CustomTask)}
        if not found:
            raise TaskError(f"{path}: holds no task; expected a CustomTask among its names")
        for task in found.values():
            add_task(task, str(path))
            _origins[task.row.name] = path.name
        _files[path] = tuple(task.row.name for task in found.values())


def find_task(name: str) -> TaskSpec:
    """The row of a task: one of the twelve, a loaded one, or that of an installed entry point of this name.

    Raises TaskError when there is none, or the entry point's is none.
    """
    if not is_known(name):
        raise TaskError(f"unknown task {name!r}; the tasks are: {', '.join(all_tasks())}; {HINT}")
    return get_task(name)


def is_known(name: str) -> bool:
    """Whether there is such a task; an installed entry point of this name is loaded.

    Raises TaskError when what the entry point holds is no such task.
    """
    if name not in all_tasks():
        for entry_point in importlib.metadata.entry_points(group=GROUP, name=name):
            _load_entry_point(entry_point)
    return name in all_tasks()


def load_installed() -> None:
    """Make the tasks of all installed entry points known, with their readers. Errors as of `is_known`."""
    for entry_point in importlib.metadata.entry_points(group=GROUP):
        is_known(entry_point.name)


def load_origins(files: Sequence[Path], entry_points: Sequence[str]) -> TaskOrigins:
    """Make the tasks known that another process has; errors as of `load_task_files` and `find_task`."""
    load_task_files(files)
    for name in entry_points:
        find_task(name)
    return origins()


def origins() -> TaskOrigins:
    """Where the tasks of this process come from."""
    return TaskOrigins(tuple(_files), tuple(_entry_points))


def origin_of(name: str) -> str | None:
    """Name of the file or entry point that a task comes from; None for one of the twelve."""
    return _origins.get(name)


def custom_task(name: str) -> CustomTask:
    """The task `name`, which is none of the twelve. Raises TaskError when it is not known."""
    find_task(name)
    try:
        return _tasks[name]
    except KeyError:
        raise TaskError(f"task {name!r} has a row, but nothing to train it with; use add_task") from None


def add_task(task: CustomTask, where: str = "add_task") -> None:
    """Make a task known: in the tables that have the twelve, and here.

    Raises TaskError, naming `where` it comes from, when it cannot be, or its name or a reader's is taken.
    """
    try:
        _check(task)
    except TaskError as error:
        raise TaskError(f"{where}: {error}") from None
    name = task.row.name
    register_task(task.row)
    _tasks[name] = task
    _origins[name] = where
    TASK_METRICS[name] = task.metric
    AUGMENTATIONS[name] = task.augmentation or AUGMENTATIONS[LIKE[task.row.kind]]
    if task.classes:
        SCENE_CLASSES[name] = tuple(task.classes)
    if task.scenes is not None:
        CUSTOM_SCENE_LABELS[name] = _named(name, task.scenes)
    READERS.update(task.readers)


@contextmanager
def users_code(name: str, part: str) -> Iterator[None]:
    """What is done here calls a part of the user's task `name`, which raises what it likes.

    Raises TaskError in place of that, naming task and part, and the line of the user's file if there is one.
    """
    try:
        yield
    except Exception as error:
        file = next((path for path, tasks in _files.items() if name in tasks), None)
        place = "" if file is None else _place(file, error)
        what = "" if isinstance(error, ArgusError) else f"{type(error).__name__}: "
        raise TaskError(f"{place}task {name!r}: its {part}: {what}{first_line(error)}") from error


def _named(name: str, scenes: SceneLabel) -> SceneLabel:
    """The same, with errors that say whose they are."""

    def rule(maps: Mapping[str, Any]) -> Any:
        with users_code(name, "label of scenes"):
            return scenes.rule(maps)

    return replace(scenes, rule=rule)


def _check(task: CustomTask) -> None:
    check_row(task.row)
    name = task.row.name
    if task.row.kind not in LIKE:
        raise TaskError(
            f"task {name!r}: tasks of kind {task.row.kind!r} cannot be trained from outside yet; the kinds "
            f"are {', '.join(LIKE)}"
        )
    for part, expected, fits in _PARTS:
        value = getattr(task, part)
        if not fits(value):
            raise TaskError(f"task {name!r}: its {part} must be {expected}, got {value!r:.80}")
    if task.scenes is not None and not task.classes and task.row.kind in ("label_map", "scores"):
        raise TaskError(f"task {name!r}: learns from scenes, so it needs the names of its classes; got none")
    for layout, reader in task.readers.items():
        if not _LAYOUT.fullmatch(layout) or layout in READERS:
            raise TaskError(
                f"task {name!r}: a reader's name must be like {_LAYOUT.pattern} and none of "
                f"{', '.join(READERS)}; got {layout!r}"
            )
        if name not in reader.tasks:
            raise TaskError(f"task {name!r}: its reader {layout!r} tells about {', '.join(reader.tasks)}")


def _load_entry_point(entry_point: importlib.metadata.EntryPoint) -> None:
    where = f"entry point {entry_point.name} = {entry_point.value}"
    try:
        task = entry_point.load()
    except Exception as error:  # somebody else's module raises what it likes
        raise TaskError(f"{where}: {type(error).__name__}: {first_line(error)}") from error
    if not isinstance(task, CustomTask) or task.row.name != entry_point.name:
        got = f"task {task.row.name!r}" if isinstance(task, CustomTask) else f"a {type(task).__name__}"
        raise TaskError(f"{where}: expected the CustomTask {entry_point.name!r}, got {got}")
    add_task(task, where)
    _entry_points.append(entry_point.name)


def _imported(path: Path) -> ModuleType:
    """The module that a file is, under a name of its own, so that what it defines can go to workers."""
    if not path.is_file():
        raise TaskError(f"{path}: no such file; expected a Python file with a CustomTask")
    name = f"argus_task_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TaskError(f"{path}: expected a Python file, NAME.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the user's file raises what it likes
        del sys.modules[name]
        raise TaskError(f"{_place(path, error)}{type(error).__name__}: {first_line(error)}") from error
    return module


def _place(path: Path, error: BaseException) -> str:
    """The file and, if it is known, the line at which an error came up, for the start of a message."""
    frames = traceback.extract_tb(error.__traceback__)
    line = next((frame.lineno for frame in reversed(frames) if frame.filename == str(path)), None)
    if isinstance(error, SyntaxError) and error.filename == str(path):
        line = error.lineno
    return f"{path}:{line}: " if line else f"{path}: "
