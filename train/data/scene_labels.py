"""What rendered scenes say about tasks from outside: a map made of those that scenes have."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["CUSTOM_SCENE_LABELS", "SCENE_MAPS", "SceneLabel", "maps_needed", "with_custom"]

SCENE_MAPS: Final = ("seg", "parse", "depth", "normal", "inst", "pan", "edge", "sal")
"""What scenes have, by the task that learns from it; labels of tasks from outside are made of these."""


@dataclass(frozen=True, slots=True)
class SceneLabel:
    """How the label of a task follows from a scene's maps.

    `rule` takes the maps that are named in `maps`, as `Sample.maps` has them, and gives the label: a map
    (H, W) of classes, 255 = ignore; one of float32, NaN = unknown; one (H, W, 3) of float32 unit vectors,
    0 = unknown; or the index of the image's class. The maps are those of the picture as the network sees it,
    cropped, mirrored, with depth for its scale, so what follows from them is right as it is.
    """

    maps: tuple[str, ...]  # of SCENE_MAPS
    rule: Callable[[Mapping[str, NDArray[Any]]], NDArray[Any] | int]


CUSTOM_SCENE_LABELS: Final[dict[str, SceneLabel]] = {}
"""Those of the tasks from outside that can learn from scenes, by task."""


def maps_needed(tasks: Collection[str]) -> tuple[str, ...]:
    """`tasks`, and the maps from which the labels of those from outside are made; each once."""
    custom = (CUSTOM_SCENE_LABELS[task].maps for task in tasks if task in CUSTOM_SCENE_LABELS)
    return tuple(dict.fromkeys([*tasks, *(name for maps in custom for name in maps)]))


def with_custom(maps: Mapping[str, NDArray[Any]], tasks: Collection[str]) -> dict[str, NDArray[Any]]:
    """Of the maps those that `tasks` ask for, and the labels of tasks from outside that follow from them."""
    own = [task for task in tasks if task in CUSTOM_SCENE_LABELS]
    labels = {task: np.asarray(CUSTOM_SCENE_LABELS[task].rule(maps)) for task in own}
    return {name: values for name, values in maps.items() if name in tasks} | labels
