"""Rendered scenes and surfaces as examples. Knows no torch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.train.data.example import Example, LabelledObject
from argus_edge.train.data.scene_labels import CUSTOM_SCENE_LABELS, maps_needed, with_custom
from argus_edge.train.data.scenes import Scene
from argus_edge.train.data.scenes.targets import edges, image_class, panoptic, saliency
from argus_edge.train.data.surfaces import SURFACE_CATEGORIES, render_surface
from argus_edge.train.data.transforms import scene_maps
from argus_edge.train.metrics import AnomalyTruth, PanopticTruth, TrueSegment

_PIXEL_CENTRE: Final = np.array([0.5, 0.5, 0], np.float32)  # scenes count pixels from their corners


def scene_examples(
    tasks: Collection[str], first_seed: int, count: int, size: int, cache: Path | None = None
) -> Iterator[Example]:
    """`count` scenes from `first_seed` on, `size` [px] a side, with the labels that `tasks` need.

    `cache` keeps them for the next time.
    """
    from argus_edge.train.data.scenes.dataset import SceneDataset  # which needs rich, to show progress

    scenes = SceneDataset(first_seed, count, size, cache, normals="normal" in maps_needed(tasks))
    return (scene_example(scene, tasks) for scene in scenes)


def surface_examples(first_seed: int, count: int, size: int) -> Iterator[Example]:
    """Surfaces of every category in turn, whole and defective ones; `size` [px]."""
    kinds = len(SURFACE_CATEGORIES)
    for index in range(count):
        category, defective = SURFACE_CATEGORIES[index % kinds], index // kinds % 2 == 1
        yield surface_example(first_seed + index, category, defective, size)


def surface_example(seed: int, category: str, defective: bool, size: int) -> Example:
    """The surface of a seed; arguments and errors as for `render_surface`."""
    surface = render_surface(seed, category, defective, size)
    return Example(f"{category} {seed}", surface.image, anomaly=AnomalyTruth(surface.category, surface.mask))


def scene_example(scene: Scene, tasks: Collection[str]) -> Example:
    """A scene with the labels that `tasks` need; parts only where there are people, as PASCAL has them."""
    asked: dict[str, tuple[str, Callable[[Scene], Any]]] = {
        "seg": ("labels", lambda s: s.labels),
        "parse": ("parts", _parts),
        "sal": ("saliency", saliency),
        "edge": ("edges", edges),
        "depth": ("depth", lambda s: s.depth),
        "normal": ("normals", lambda s: s.normals),
        "pan": ("panoptic", _segments),
        "cls": ("image_class", image_class),
    }
    labels = {name: make(scene) for task, (name, make) in asked.items() if task in tasks}
    objects = _objects(scene, masks="inst" in tasks) if {"det", "inst", "pose"} & set(tasks) else None
    return Example(f"scene {scene.seed}", scene.image, objects, **labels, custom=_custom_labels(scene, tasks))


def _custom_labels(scene: Scene, tasks: Collection[str]) -> dict[str, NDArray[Any]]:
    own = [task for task in tasks if task in CUSTOM_SCENE_LABELS]
    if not own:
        return {}
    return with_custom(scene_maps(scene, scene.image, lambda values: values, maps_needed(own)), own)


def _parts(scene: Scene) -> NDArray[np.uint8] | None:
    return scene.parts if scene.parts.any() else None


def _objects(scene: Scene, masks: bool) -> tuple[LabelledObject, ...]:
    people = {
        person.instance_id: np.where(person.keypoints[:, 2:] > 0, person.keypoints - _PIXEL_CENTRE, 0)
        for person in scene.people
    }
    return tuple(
        LabelledObject(
            thing.class_id,
            thing.box,
            float(thing.visible_pixels),
            mask=scene.instances == thing.instance_id if masks else None,
            keypoints=people.get(thing.instance_id),
        )
        for thing in scene.objects
    )


def _segments(scene: Scene) -> PanopticTruth:
    ids, segments = panoptic(scene)
    return PanopticTruth(ids, [TrueSegment(s.id, s.class_id, s.is_thing) for s in segments])
