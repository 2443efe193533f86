"""A task of one's own: which ground lies within four metres. docs/adding-a-task.md walks through it.

argus-train --task-file examples/near_ground.py --tasks ground --out runs/ground
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from argus_edge.tasks import TaskSpec
from argus_edge.train.custom import CustomTask
from argus_edge.train.data.readers.label_maps import LABEL_MAPS
from argus_edge.train.data.readers.relabelled import as_task
from argus_edge.train.data.scene_labels import SceneLabel
from argus_edge.train.data.scenes.scene import GROUND
from argus_edge.train.losses.segmentation import segmentation_loss
from argus_edge.train.metrics import MeanIoU, TaskMetric
from argus_edge.train.model.build import BACKBONES, Variant
from argus_edge.train.model.decoders.upernet import UPerNet

CLASSES = ("elsewhere", "near ground", "far ground")
NEAR = 4.0  # [m]


def label(maps: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8]:
    """What a scene says about the task: a class (H, W) for each pixel, from its labels and depth [m]."""
    distance_class = np.where(maps["depth"] < NEAR, 1, 2)
    return np.where(maps["seg"] == GROUND, distance_class, 0).astype(np.uint8)


def build(variant: Variant, classes: Sequence[str]) -> nn.Module:
    """A UPerNet with few channels: there are only three classes to tell apart."""
    return UPerNet(BACKBONES[variant].width, 32, len(classes), nn.BatchNorm2d, auxiliary=None)


TASK = CustomTask(
    row=TaskSpec("ground", "near ground", "label_map", metric="mIoU"),
    build=build,
    loss=segmentation_loss,
    metric=TaskMetric(lambda names: MeanIoU(names, task="ground"), headline=("mIoU",)),
    classes=CLASSES,
    scenes=SceneLabel(maps=("seg", "depth"), rule=label),
    readers={"ground-maps": as_task(LABEL_MAPS, told="seg", task="ground")},
)
