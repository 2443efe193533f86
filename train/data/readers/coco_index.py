"""What an annotation file in COCO's format lists: images, categories, and which annotation is of which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeGuard

from argus_edge.errors import DatasetError, shown
from argus_edge.keypoints import KEYPOINT_NAMES
from argus_edge.train.data.problems import Problems
from argus_edge.train.data.readers.checks import BrokenEntryError, brief, checked_name, spelt

Annotation: TypeAlias = dict[str, Any]
Id: TypeAlias = int | str

MAX_SIDE: Final = 1 << 20  # [px]


@dataclass(frozen=True, slots=True)
class ListedImage:
    """One entry of `images`."""

    name: str  # of its file, below the folder of pictures; empty if it cannot be used
    size: tuple[int, int] | None  # (height, width) [px], if told
    annotations: tuple[tuple[str, Annotation], ...]  # with their places in the file, for messages
    broken: tuple[str, str] | None = None  # its place, and why it cannot be used


@dataclass(frozen=True)
class Categories:
    """Class names in the order of their indices, and what the ids of the file stand for."""

    names: tuple[str, ...]
    index: Mapping[int, int]  # category id -> class; those of one name are one class
    things: int  # the first so many classes are things
    posed: frozenset[int]  # classes of which people's keypoints are told


def index_categories(file: str, entries: list[Any], panoptic: bool, problems: Problems) -> Categories:
    """Classes in ascending order of category ids; for `panoptic` all things before all stuff.

    A category without a name, or with an id that was there before, is a problem (an annotation of no image).
    So is one with the name of another, though both stay, as one class.
    Raises DatasetError when none is left, or one has keypoints other than COCO's seventeen.
    """
    kept: dict[int, Any] = {}
    for position, entry in enumerate(entries):
        category = entry.get("id") if isinstance(entry, dict) else None
        where = f"{file}, category {brief(category)} (entry {position})"
        name = entry.get("name") if isinstance(entry, dict) else None
        if type(category) is not int:
            problems.add(where, "expected an object with a whole number as id", "annotation")
        elif category in kept:
            problems.add(where, "its id is there before; expected one category of an id", "annotation")
        elif not isinstance(name, str) or not name.strip() or not name.isprintable():
            problems.add(where, f"name {brief(name)} is empty or cannot be printed", "annotation")
        elif panoptic and entry.get("isthing") not in (0, 1):
            problems.add(where, f"isthing is {brief(entry.get('isthing'))}; expected 0 or 1", "annotation")
        else:
            kept[category] = entry
    if not kept:
        raise DatasetError(f"{file}: expected categories with an id and a name, got none")
    _note_same_names(file, kept, panoptic, problems)
    stuff = {c: panoptic and not kept[c]["isthing"] for c in kept}
    classes: dict[tuple[bool, str], int] = {}
    index = {
        c: classes.setdefault((stuff[c], kept[c]["name"].strip()), len(classes))
        for c in sorted(kept, key=lambda c: (stuff[c], c))
    }
    posed = frozenset(index[c] for c in kept if _has_keypoints(file, kept[c]))
    things = sum(not is_stuff for is_stuff, _ in classes)
    return Categories(tuple(name for _, name in classes), index, things, posed)


def index_images(
    file: str,
    found: Mapping[str, Any],
    categories: Categories | None,
    problems: Problems,
) -> dict[Id, ListedImage]:
    """Images in the order of the file with their annotations, by id; unusable ones have keys of their own.

    Args:
        file: its name, for messages.
        found: as `read_annotations` gives it.
        categories: those that annotations may have; None if annotations have none (panoptic).
        problems: gets what is broken: ids that are there twice, unknown images and categories, bad names.
    """
    images = _images(file, found["images"], problems)
    known = None if categories is None else categories.index
    grouped: dict[Id, list[tuple[str, Annotation]]] = {}
    seen: set[Id] = set()
    for position, entry in enumerate(found["annotations"]):
        try:
            where = _check_annotation(position, entry, images, known, seen)
        except BrokenEntryError as error:
            name = brief(entry.get("id")) if isinstance(entry, dict) else "?"
            problems.add(f"{file}, annotation {name} (entry {position})", str(error), "annotation")
            continue
        grouped.setdefault(entry["image_id"], []).append((f"{file}, {where}", entry))
    return {
        key: ListedImage(image.name, image.size, tuple(grouped.get(key, ())), image.broken)
        for key, image in images.items()
    }


def _images(file: str, entries: list[Any], problems: Problems) -> dict[Id, ListedImage]:
    images: dict[Id, ListedImage] = {}
    names: set[str] = set()
    for position, entry in enumerate(entries):
        key = entry.get("id") if isinstance(entry, dict) else None
        try:
            if not _is_id(key):
                raise BrokenEntryError("expected an object with an id, a number or text")
            if key in images:
                raise BrokenEntryError("its id is there before; expected one image of an id")
            name = checked_name(entry.get("file_name"))
            if name in names:
                raise BrokenEntryError(f"its file {shown(name)} is listed before; expected it once")
            size = _size(entry.get("height"), entry.get("width"))
        except BrokenEntryError as error:
            place = f"{file}, image {brief(key)} (entry {position})"
            problems.add(place, str(error), "image")
            # Annotations of a bad image go with it; those of an id that is there twice are of the first.
            free = key if _is_id(key) and key not in images else f"\0{position}"
            images[free] = ListedImage("", None, (), (place, str(error)))
        else:
            names.add(name)
            images[key] = ListedImage(name, size, ())
    return images


def _check_annotation(
    position: int,
    entry: Any,
    images: Mapping[Id, ListedImage],
    categories: Mapping[int, int] | None,
    seen: set[Id],
) -> str:
    """Its place in the file. Raises BrokenEntryError, saying why, if it cannot be used."""
    if not isinstance(entry, dict):
        raise BrokenEntryError("expected an object")
    key, image, category = entry.get("id"), entry.get("image_id"), entry.get("category_id")
    if key is not None:
        if not _is_id(key):
            raise BrokenEntryError("its id is neither number nor text")
        if key in seen:
            raise BrokenEntryError("its id is there before; expected one annotation of an id")
        seen.add(key)
    if not _is_id(image) or image not in images:
        raise BrokenEntryError(f"its image {brief(image)} is not listed")
    if categories is not None and (type(category) is not int or category not in categories):
        raise BrokenEntryError(f"its category {brief(category)} is not among the usable ones")
    return f"annotation at entry {position}" if key is None else f"annotation {brief(key)}"


def _note_same_names(file: str, categories: Mapping[int, Any], panoptic: bool, problems: Problems) -> None:
    first: dict[tuple[bool, str], int] = {}
    for category, entry in sorted(categories.items()):
        name = entry["name"].strip()
        other = first.setdefault((panoptic and not entry["isthing"], name), category)
        if other != category:
            what = f"has the name {brief(name)} of category {other}; both are taken as one class"
            problems.add(f"{file}, category {category}", what, "annotation")


def _has_keypoints(file: str, category: Mapping[str, Any]) -> bool:
    names = category.get("keypoints")
    if not names:
        return False
    wanted = [spelt(name) for name in names] if isinstance(names, list) else []
    if wanted != list(KEYPOINT_NAMES):
        raise DatasetError(
            f"{file}: category {category['name']!r} has {len(wanted)} keypoints, {brief(names)}; expected "
            f"COCO's {len(KEYPOINT_NAMES)}: {', '.join(KEYPOINT_NAMES)}"
        )
    return True


def _size(height: object, width: object) -> tuple[int, int] | None:
    if height is None and width is None:
        return None
    if (
        type(height) is int
        and type(width) is int
        and 0 < min(height, width) <= max(height, width) <= MAX_SIDE
    ):
        return height, width
    raise BrokenEntryError(f"size {brief(height)} x {brief(width)} is not two positive whole numbers")


def _is_id(value: object) -> TypeGuard[Id]:
    return type(value) in (int, str)
