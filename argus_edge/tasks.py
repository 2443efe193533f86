"""The twelve tasks, one row each, and rows of tasks from outside."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from argus_edge.errors import TaskError

__all__ = [
    "CUSTOM_KINDS",
    "TASKS",
    "DecoderName",
    "OutputKind",
    "TaskSpec",
    "all_tasks",
    "check_row",
    "check_task_name",
    "get_task",
    "register_task",
]

OutputKind = Literal[
    "boxes",
    "masks",
    "panoptic",
    "label_map",
    "dense_map",
    "normal_map",
    "keypoints",
    "scores",
    "anomaly",
]
DecoderName = Literal["mask_dino", "mask2former", "upernet", "dpt", "pooler", "simplenet"]


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One row of the task table.

    `unit` is the unit of the result's values ("" where they have none), `metric` the figure a task is judged
    by, `decoder` the one of ours that answers it: None for a task from outside, which brings its own.
    """

    name: str
    title: str
    kind: OutputKind
    metric: str
    unit: str = ""
    decoder: DecoderName | None = None


_ROWS: Final = (
    TaskSpec("det", "object detection", "boxes", "box AP", "px", "mask_dino"),
    TaskSpec("inst", "instance segmentation", "masks", "mask AP", "px", "mask_dino"),
    TaskSpec("pan", "panoptic segmentation", "panoptic", "PQ", "", "mask2former"),
    TaskSpec("seg", "semantic segmentation", "label_map", "mIoU", "", "upernet"),
    TaskSpec("parse", "human part segmentation", "label_map", "mIoU", "", "upernet"),
    TaskSpec("sal", "saliency", "dense_map", "maxF", "", "upernet"),
    TaskSpec("edge", "edge detection", "dense_map", "odsF", "", "upernet"),
    TaskSpec("depth", "depth estimation", "dense_map", "delta1", "m", "dpt"),
    TaskSpec("normal", "surface normals", "normal_map", "mean angle [deg]", "", "dpt"),
    TaskSpec("pose", "human pose", "keypoints", "OKS AP", "px", "dpt"),
    TaskSpec("cls", "classification", "scores", "top-1", "", "pooler"),
    TaskSpec("anom", "anomaly detection", "anomaly", "image AUROC", "", "simplenet"),
)

TASKS: Final[dict[str, TaskSpec]] = {row.name: row for row in _ROWS}
CUSTOM_KINDS: Final[tuple[OutputKind, ...]] = (
    "boxes",
    "masks",
    "label_map",
    "dense_map",
    "normal_map",
    "scores",
    "anomaly",
)
"""What a task from outside may answer. Persons, for keypoints, and countable classes are of pose and pan."""

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
# A task's name is that of its component in a package, of a stage in timings, and of its figures in a log.
_RESERVED: Final = frozenset(
    {"backbone", "crop_backbone", "preprocess", "read", "write", "total", "loss", "weight"}
)
_LONGEST: Final = 64  # characters of a title, a metric or a unit
_custom: Final[dict[str, TaskSpec]] = {}


def all_tasks() -> dict[str, TaskSpec]:
    """Return the twelve and those that were registered, by name."""
    return {**TASKS, **_custom}


def get_task(name: str) -> TaskSpec:
    """Return the row of the task `name`. Raises TaskError, listing all names, when there is none."""
    try:
        return all_tasks()[name]
    except KeyError:
        raise TaskError(f"unknown task {name!r}; the tasks are: {', '.join(all_tasks())}") from None


def register_task(row: TaskSpec) -> None:
    """Make the row of a task from outside known to `get_task`, for this process.

    Raises TaskError as `check_row` does.
    """
    check_row(row)
    _custom[row.name] = row


def check_row(row: object) -> None:
    """Raise TaskError when a row from outside is no TaskSpec, has a name that is taken or is none, or its
    kind, title, metric or unit is not as packages can carry it.
    """
    if not isinstance(row, TaskSpec):
        raise TaskError(f"a task's row must be a TaskSpec, got {row!r:.80}")
    check_task_name(row.name)
    if row.name in all_tasks():
        raise TaskError(f"task {row.name!r} is there already; give the new one another name")
    if row.kind not in CUSTOM_KINDS:
        raise TaskError(
            f"task {row.name!r}: expected one of the kinds {', '.join(CUSTOM_KINDS)}, got {row.kind!r}"
        )
    texts: tuple[tuple[str, object, int], ...] = (
        ("title", row.title, 1),
        ("metric", row.metric, 1),
        ("unit", row.unit, 0),
    )
    for what, text, least in texts:
        if not isinstance(text, str) or not least <= len(text) <= _LONGEST or not text.isprintable():
            raise TaskError(
                f"task {row.name!r}: its {what} must be {least} to {_LONGEST} printable characters, "
                f"got {text!r}"
            )
    if row.decoder is not None:
        raise TaskError(
            f"task {row.name!r}: decoder {row.decoder!r} is for our own rows; leave it None and build one"
        )


def check_task_name(name: object) -> None:
    """Raise TaskError unless a task from outside may have this name."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise TaskError(f"a task's name must be like {_NAME.pattern}, got {name!r}")
    if name in _RESERVED:
        raise TaskError(f"a task cannot be named {name!r}, which stands for something else; choose another")
