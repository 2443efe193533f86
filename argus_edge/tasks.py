"""The twelve tasks: one row each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from argus_edge.errors import TaskError

__all__ = ["TASKS", "DecoderName", "OutputKind", "TaskSpec", "get_task"]

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
    by.
    """

    name: str
    title: str
    kind: OutputKind
    decoder: DecoderName
    metric: str
    unit: str


_ROWS: Final = (
    TaskSpec("det", "object detection", "boxes", "mask_dino", "box AP", "px"),
    TaskSpec("inst", "instance segmentation", "masks", "mask_dino", "mask AP", "px"),
    TaskSpec("pan", "panoptic segmentation", "panoptic", "mask2former", "PQ", ""),
    TaskSpec("seg", "semantic segmentation", "label_map", "upernet", "mIoU", ""),
    TaskSpec("parse", "human part segmentation", "label_map", "upernet", "mIoU", ""),
    TaskSpec("sal", "saliency", "dense_map", "upernet", "maxF", ""),
    TaskSpec("edge", "edge detection", "dense_map", "upernet", "odsF", ""),
    TaskSpec("depth", "depth estimation", "dense_map", "dpt", "delta1", "m"),
    TaskSpec("normal", "surface normals", "normal_map", "dpt", "mean angle [deg]", ""),
    TaskSpec("pose", "human pose", "keypoints", "dpt", "OKS AP", "px"),
    TaskSpec("cls", "classification", "scores", "pooler", "top-1", ""),
    TaskSpec("anom", "anomaly detection", "anomaly", "simplenet", "image AUROC", ""),
)

TASKS: Final[dict[str, TaskSpec]] = {row.name: row for row in _ROWS}


def get_task(name: str) -> TaskSpec:
    """Return the row of the task `name`. Raises TaskError, listing all names, when there is none."""
    try:
        return TASKS[name]
    except KeyError:
        raise TaskError(f"unknown task {name!r}; the tasks are: {', '.join(TASKS)}") from None
