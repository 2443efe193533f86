"""Which annotation files of a COCO data set tell about which tasks, and what they list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from argus_edge.errors import DatasetError, shown
from argus_edge.train.data.problems import Problems
from argus_edge.train.data.readers.checks import BOX_STAYS, BrokenEntryError, keypoints_of
from argus_edge.train.data.readers.coco_files import (
    expected_annotations,
    find_annotations,
    read_annotations,
    splits_there,
)
from argus_edge.train.data.readers.coco_index import (
    Annotation,
    Categories,
    ListedImage,
    index_categories,
    index_images,
)

LAYOUT: Final = (
    "annotations/{instances,person_keypoints,panoptic}_SPLIT2017.json and SPLIT2017/ with pictures, "
    "annotations/panoptic_SPLIT2017/ with maps of segments; or KIND_SPLIT.json and SPLIT/; or "
    "SPLIT/_annotations.coco.json beside its pictures; or one such JSON file, its pictures beside it"
)
KINDS: Final = {"det": "instances", "inst": "instances", "pose": "person_keypoints", "pan": "panoptic"}

_TOLD_BY: Final = {"det": "bbox", "inst": "segmentation", "pose": "keypoints", "pan": "segments_info"}


@dataclass(frozen=True)
class Part:
    """What one annotation file tells."""

    path: Path
    name: str  # for messages
    tasks: tuple[str, ...]  # pan, or any of the others
    categories: Categories
    images: tuple[ListedImage, ...]


def parts_of_file(root: Path, path: Path, tasks: tuple[str, ...], problems: Problems) -> list[Part]:
    """What an annotation file tells of `tasks`. Raises DatasetError if nothing, or it cannot be read."""
    found = read_annotations(path, _not_needed(tasks))
    panoptic = any("segments_info" in entry for entry in found["annotations"] if isinstance(entry, dict))
    told = tuple(task for task in tasks if (task == "pan") == panoptic and _tells(found, task))
    if not told:
        kind = "segments" if panoptic else "objects"
        raise DatasetError(
            f"{shown(path)}: lists {kind} but tells nothing for {', '.join(tasks)}; name another file or task"
        )
    return [_part(root, path, found, told, problems)]


def parts_of_folder(root: Path, split: str, tasks: tuple[str, ...], problems: Problems) -> list[Part]:
    """What is told of objects, then of segments, where asked for. Raises DatasetError if there is neither."""
    objects = _objects(root, split, tasks, problems)
    parts = [] if objects is None else [objects]
    panoptic = find_annotations(root, split, "panoptic") if "pan" in tasks else None
    if panoptic is not None:
        found = read_annotations(panoptic, ("segmentation", "keypoints"))
        parts.append(_part(root, panoptic, found, ("pan",), problems))
    if not parts:
        kinds = dict.fromkeys(KINDS[task] for task in tasks)
        raise DatasetError(
            f"{shown(root)}: nothing for {', '.join(tasks)} in the split {split!r}; expected "
            f"{' and '.join(expected_annotations(split, kind) for kind in kinds)}; splits there: "
            f"{', '.join(map(shown, splits_there(root))) or 'none'}; layout: {LAYOUT}"
        )
    return parts


def _objects(root: Path, split: str, tasks: tuple[str, ...], problems: Problems) -> Part | None:
    boxes = people = None
    if {"det", "inst"}.intersection(tasks):
        boxes = find_annotations(root, split, "instances")
    if "pose" in tasks:
        people = find_annotations(root, split, "person_keypoints")
        people = people or find_annotations(root, split, "instances")
    if boxes is not None:
        found = read_annotations(boxes, _not_needed(tasks))
        own = tuple(t for t in tasks if t != "pan" and (t != "pose" or people == boxes) and _tells(found, t))
        if own:
            part = _part(root, boxes, found, own, problems)
            return part if people in (None, boxes) else _with_people(root, part, people, tasks, problems)
    if people is not None and people != boxes:
        found = read_annotations(people, _not_needed(("pose",)))
        if _tells(found, "pose"):
            return _part(root, people, found, ("pose",), problems)
    return None


def _not_needed(tasks: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_TOLD_BY[task] for task in ("inst", "pose") if task not in tasks)


def _tells(found: Mapping[str, Any], task: str) -> bool:
    """Whether any annotation says something for the task; without any, all is told: there is nothing."""
    entries = found["annotations"]
    return not entries or any(isinstance(entry, dict) and entry.get(_TOLD_BY[task]) for entry in entries)


def _part(
    root: Path, path: Path, found: Mapping[str, Any], tasks: tuple[str, ...], problems: Problems
) -> Part:
    name = shown(path.relative_to(root))
    panoptic = "pan" in tasks
    categories = index_categories(name, found["categories"], panoptic, problems)
    images = index_images(name, found, None if panoptic else categories, problems)
    return Part(path, name, tasks, categories, tuple(images.values()))


def _with_people(root: Path, objects: Part, path: Path, tasks: tuple[str, ...], problems: Problems) -> Part:
    """The objects with the keypoints that another file has under the same annotation ids."""
    people = _part(root, path, read_annotations(path, _not_needed(("pose",))), ("pose",), problems)
    by_id: dict[tuple[str, Any], tuple[str, Annotation]] = {}
    for image in people.images:
        for where, annotation in image.annotations:
            by_id[image.name, annotation.get("id", where)] = where, annotation
    for image in objects.images:
        for _, annotation in image.annotations:
            where, person = by_id.pop((image.name, annotation.get("id")), ("", {}))
            if person.get("keypoints"):
                _give_keypoints(annotation, person, where, problems)
    for where, _ in by_id.values():
        what = f"no annotation of this id and image in {objects.name}, which has the boxes"
        problems.add(where, what, "annotation")
    names = {people.categories.names[i] for i in people.categories.posed}
    posed = frozenset(i for i, name in enumerate(objects.categories.names) if name in names)
    told = tuple(task for task in tasks if task in (*objects.tasks, "pose"))
    return replace(objects, tasks=told, categories=replace(objects.categories, posed=posed))


def _give_keypoints(to: Annotation, person: Annotation, where: str, problems: Problems) -> None:
    """Broken ones are noted in their own file; the object goes without."""
    try:
        keypoints_of(person["keypoints"])
    except BrokenEntryError as error:
        problems.add(where, f"{error}; {BOX_STAYS}", "annotation")
    else:
        to["keypoints"] = person["keypoints"]
