"""What each task's metric compares with, from a rendered scene or surface. Knows no torch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np

from argus_edge.train.data.scenes import Scene
from argus_edge.train.data.scenes.targets import edges, image_class, instance_masks, panoptic, saliency
from argus_edge.train.data.surfaces import SURFACE_CATEGORIES, Surface, render_surface
from argus_edge.train.metrics import InstanceTruth, PanopticTruth, PoseTruth, TrueSegment
from argus_edge.train.metrics.anomaly import AnomalyTruth

PIXEL_CENTRE: Final = np.array([0.5, 0.5, 0], np.float32)  # scenes count pixels from their corners


def _instances(scene: Scene) -> InstanceTruth:
    return InstanceTruth(instance_masks(scene), scene.classes)


def _segments(scene: Scene) -> PanopticTruth:
    ids, segments = panoptic(scene)
    return PanopticTruth(ids, [TrueSegment(s.id, s.class_id, s.is_thing) for s in segments])


def _people(scene: Scene) -> PoseTruth:
    objects = {thing.instance_id: thing for thing in scene.objects}
    people = [(person, objects[person.instance_id]) for person in scene.people]
    return PoseTruth(
        np.array([p.keypoints - PIXEL_CENTRE for p, _ in people], np.float32).reshape(-1, 17, 3),
        np.array([thing.visible_pixels for _, thing in people], np.float64),
        np.array([thing.box for _, thing in people], np.float64).reshape(-1, 4),
    )


_TRUTHS: Final[Mapping[str, Callable[[Scene], Any]]] = {
    "inst": _instances,
    "pan": _segments,
    "parse": lambda scene: scene.parts,
    "sal": saliency,
    "edge": edges,
    "normal": lambda scene: scene.normals,
    "pose": _people,
    "cls": image_class,
}


def truth_of(task: str, sample: Any) -> Any:
    """What `task` is judged by on one sample; None where the sample says nothing about it.

    Surfaces are for anomaly detection and nothing else, everything else is for the other tasks. Metrics read
    boxes, labels and depth from the sample itself.
    """
    if isinstance(sample, Surface):
        return AnomalyTruth(sample.category, sample.mask) if task == "anom" else None
    if task == "anom":
        return None
    return _TRUTHS[task](sample) if task in _TRUTHS else sample


def samples_for(
    tasks: Collection[str], first_seed: int, count: int, size: int, cache: Path | None = None
) -> tuple[Iterable[Any], int]:
    """`count` scenes where tasks need them, as many surfaces where anomaly detection is among them, and their
    number together; from `first_seed` on, `size` [px] a side. `cache` keeps scenes for the next time.
    """
    from argus_edge.train.data.scenes.dataset import (
        SceneDataset,
    )  # which shows progress, and needs rich for it

    parts: list[Iterable[Any]] = []
    if set(tasks) != {"anom"}:
        parts.append(SceneDataset(first_seed, count, size, cache, normals="normal" in tasks))
    if "anom" in tasks:
        parts.append(surfaces(first_seed, count, size))
    return chain(*parts), count * len(parts)


def surfaces(first_seed: int, count: int, size: int) -> Iterator[Surface]:
    """Surfaces of every category in turn, whole and defective ones; `size` [px]."""
    kinds = len(SURFACE_CATEGORIES)
    for index in range(count):
        category, defective = SURFACE_CATEGORIES[index % kinds], index // kinds % 2 == 1
        yield render_surface(first_seed + index, category, defective, size)
