"""COCO's layout: objects with boxes, masks and keypoints, and panoptic segments.

https://cocodataset.org/#format-data. Exports of Roboflow and others have the same files at other places.
Boxes are taken as they are written, also where they reach out of the picture, as pycocotools takes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from argus_edge.errors import DatasetError, shown
from argus_edge.keypoints import KEYPOINT_NAMES
from argus_edge.train.data.example import Example
from argus_edge.train.data.problems import Problems
from argus_edge.train.data.readers.checks import PEOPLE_BY_BOX
from argus_edge.train.data.readers.coco_files import PROBED, folder_of, image_folders
from argus_edge.train.data.readers.coco_index import Annotation, ListedImage
from argus_edge.train.data.readers.coco_objects import ObjectParser
from argus_edge.train.data.readers.coco_panoptic import PanopticParser
from argus_edge.train.data.readers.coco_parts import KINDS, LAYOUT, Part, parts_of_file, parts_of_folder
from argus_edge.train.data.readers.files import inside
from argus_edge.train.data.readers.listed import BrokenFile, ListedImages, ReadPicture, picture
from argus_edge.train.data.readers.reader import Reader

TASKS: Final = ("det", "inst", "pose", "pan")

# Files as published -> number of images, and of those with objects.
PUBLISHED: Final = {
    "annotations/instances_train2017.json": (118_287, 117_266),
    "annotations/instances_val2017.json": (5_000, 4_952),
}


@dataclass(frozen=True, slots=True)
class CocoImage:
    """An image as the files of objects and of segments list it; None where one of them does not."""

    listed: ListedImage
    objects: tuple[tuple[str, Annotation], ...] | None
    segments: tuple[str, Annotation] | None


@dataclass(frozen=True, eq=False)
class CocoImages(ListedImages[CocoImage]):
    """The data set."""

    things: int = 0  # of the classes of pan the first so many are things


@dataclass(frozen=True)
class _ImageReader:
    root: Path
    folder: Path  # of the pictures, below root
    objects: ObjectParser | None
    segments: PanopticParser | None
    problems: Problems

    def __call__(self, entry: CocoImage, read: ReadPicture = picture) -> Example:
        if entry.listed.broken is not None:
            raise BrokenFile(*entry.listed.broken)
        path = self.folder / entry.listed.name
        image = read(self.root, path, entry.listed.size)
        size = image.shape[0], image.shape[1]
        objects = None
        if self.objects is not None and entry.objects is not None:
            found = [self.objects(where, one, size) for where, one in entry.objects]
            objects = tuple(item for item in found if item is not None)
        segments = None
        if self.segments is not None and entry.segments is not None:
            segments = self.segments(*entry.segments, size)
        return Example(shown(path.relative_to(self.root)), image, objects, panoptic=segments)


def open_coco(path: Path, split: str, tasks: tuple[str, ...], problems: Problems) -> CocoImages:
    """A data set in COCO's layout.

    Args:
        path: its folder, or one annotation file, which is read whatever the split is.
        split: "train", "val" or what else there is an annotation file of.
        tasks: det, inst, pose, pan. Those of which the files say nothing are left out. With pose alone, the
            objects are those of person_keypoints; with det or inst, those of instances, which get their
            keypoints by the id of the annotation. Where no area is told, it is that of the box, and of people
            0.53 times that, which the title says.
        problems: gets what is broken. A broken category counts as an annotation.

    Raises DatasetError if nothing is said about any of the tasks, there are no pictures, or a file is no
    annotation file.
    """
    named = path.is_file()
    if named:
        root = path.parent.parent if path.parent.name == "annotations" else path.parent
        parts = parts_of_file(root, path, tasks, problems)
    else:
        root = path
        parts = parts_of_folder(root, split, tasks, problems)
    folders = image_folders(root, parts[0].path, None if named else split)
    objects = next((part for part in parts if "pan" not in part.tasks), None)
    segments = next((part for part in parts if "pan" in part.tasks), None)
    told = {task: part for part in parts for task in part.tasks}
    reader = _ImageReader(
        root,
        _picture_folder(root, parts[0], folders),
        ObjectParser(objects.categories, "inst" in told, "pose" in told, problems) if objects else None,
        _segment_parser(root, segments, folders, problems) if segments else None,
        problems,
    )
    title = _title(root, parts[0], named)
    if "pose" in told and _lacks_areas(told["pose"]):
        title += f", {PEOPLE_BY_BOX}"
    return CocoImages(
        title=title,
        classes={t: KEYPOINT_NAMES if t == "pose" else p.categories.names for t, p in told.items()},
        tasks=tuple(task for task in tasks if task in told),
        problems=problems,
        entries=_merged(objects, segments),
        read=reader,
        things=segments.categories.things if segments else 0,
    )


def _lacks_areas(part: Part) -> bool:
    """Whether there are keypoints without the area that says how exact they must be."""
    annotations = (annotation for image in part.images for _, annotation in image.annotations)
    return any(one.get("keypoints") and one.get("area") is None for one in annotations)


def _picture_folder(root: Path, part: Part, folders: Sequence[Path]) -> Path:
    """Where the pictures are. Raises DatasetError if no folder holds any of the first ones listed."""
    names = [image.name for image in part.images if image.name][:PROBED]
    folder = folder_of(names, folders) if names else root
    if folder is None:
        tried = ", ".join(shown(folder.relative_to(root)) + "/" for folder in folders)
        raise DatasetError(
            f"{shown(root)}: none of the first pictures that {part.name} lists ({shown(names[0])}, ...) "
            f"is in {tried}; expected layout: {LAYOUT}"
        )
    return folder


def _segment_parser(root: Path, part: Part, folders: Sequence[Path], problems: Problems) -> PanopticParser:
    """Raises DatasetError if no folder holds any of the first maps listed."""
    listed = [one.get("file_name") for image in part.images for _, one in image.annotations]
    names = [name for name in listed if isinstance(name, str) and inside(root, name)][:PROBED]
    own = part.path.with_suffix("")
    folder = folder_of(names, [own, root / own.name, *folders]) if names else own
    if folder is None:
        raise DatasetError(
            f"{shown(root)}: missing the maps of segments that {part.name} lists ({shown(names[0])}, ...); "
            f"expected them in {shown(own.relative_to(root))}/"
        )
    return PanopticParser(root, folder, part.categories, problems)


def _merged(objects: Part | None, segments: Part | None) -> tuple[CocoImage, ...]:
    """Images of both files, put together by the names of their pictures, those of objects first."""
    others = list(segments.images) if segments else []
    by_name = {image.name: image for image in others if image.name}
    entries = []
    for image in objects.images if objects else ():
        other = by_name.pop(image.name, None)
        entries.append(CocoImage(replace(image, annotations=()), image.annotations, _map_of(other)))
    left = [image for image in others if not image.name or image.name in by_name]
    entries += [CocoImage(replace(image, annotations=()), None, _map_of(image)) for image in left]
    return tuple(entries)


def _map_of(image: ListedImage | None) -> tuple[str, Annotation] | None:
    return image.annotations[0] if image and image.annotations else None


def _title(root: Path, part: Part, named: bool) -> str:
    stem = part.path.stem
    if part.path.name == "_annotations.coco.json":
        stem = part.path.parent.name
    elif not named:
        stem = next(stem[len(kind) + 1 :] for kind in KINDS.values() if stem.startswith(kind))
    told = sum(bool(image.annotations) for image in part.images)
    images, published = PUBLISHED.get(part.name, (0, 0))
    note = ""
    if images == len(part.images):
        note = ", as published" if published == told else f"; published are {published:,}"
    label = "segments" if "pan" in part.tasks else "objects"
    return f"COCO {stem} in {shown(root)}: {len(part.images):,} images ({told:,} with {label}{note})"


COCO: Final = Reader("COCO", TASKS, ("train", "val"), LAYOUT, open_coco)
