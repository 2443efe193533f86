"""The twelve tasks: one row each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from argus_edge.errors import TaskError

__all__ = ["TASKS", "DecoderName", "OutputKind", "TaskSpec", "get_task", "require_built"]

OutputKind = Literal["boxes", "masks", "panoptic", "label_map", "dense_map", "keypoints", "scores", "anomaly"]
DecoderName = Literal["mask_dino", "mask2former", "upernet", "dpt", "pooler", "simplenet"]


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One row of the task table.

    `unit` is the unit of the result's values ("" where they have none), `metric` the figure a task is judged
    by, `built` says whether this version can train, export and run it.
    """

    name: str
    title: str
    kind: OutputKind
    decoder: DecoderName
    metric: str
    unit: str
    built: bool


_ROWS: Final = (
    TaskSpec("det", "object detection", "boxes", "mask_dino", "box AP", "px", True),
    TaskSpec("inst", "instance segmentation", "masks", "mask_dino", "mask AP", "px", False),
    TaskSpec("pan", "panoptic segmentation", "panoptic", "mask2former", "PQ", "", False),
    TaskSpec("seg", "semantic segmentation", "label_map", "upernet", "mIoU", "", True),
    TaskSpec("parse", "human part segmentation", "label_map", "upernet", "mIoU", "", False),
    TaskSpec("sal", "saliency", "dense_map", "upernet", "maxF", "", False),
    TaskSpec("edge", "edge detection", "dense_map", "upernet", "odsF", "", False),
    TaskSpec("depth", "depth estimation", "dense_map", "dpt", "delta1", "m", True),
    TaskSpec("normal", "surface normals", "dense_map", "dpt", "mean angle [deg]", "", False),
    TaskSpec("pose", "human pose", "keypoints", "dpt", "OKS AP", "px", False),
    TaskSpec("cls", "classification", "scores", "pooler", "top-1", "", False),
    TaskSpec("anom", "anomaly detection", "anomaly", "simplenet", "image AUROC", "", False),
)

TASKS: Final[dict[str, TaskSpec]] = {row.name: row for row in _ROWS}


def get_task(name: str) -> TaskSpec:
    """Return the row of the task `name`. Raises TaskError, listing all names, when there is none."""
    try:
        return TASKS[name]
    except KeyError:
        raise TaskError(f"unknown task {name!r}; the tasks are: {', '.join(TASKS)}") from None


def require_built(name: str) -> TaskSpec:
    """Return the row of `name`. Raises TaskError when it is unknown or not built yet in this version."""
    task = get_task(name)
    if not task.built:
        available = ", ".join(row.name for row in _ROWS if row.built)
        raise TaskError(f"task {name!r} is not built yet in this version; available: {available}")
    return task
