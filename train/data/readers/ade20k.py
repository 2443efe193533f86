"""ADE20K as released for the scene parsing challenge of 2016; instances and panoptic maps in COCO's form.

Zhou et al., "Scene Parsing through ADE20K Dataset", CVPR 2017. The files of instances and of panoptic maps
are made by the scripts of Mask2Former or MMDetection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import DatasetError, shown
from argus_edge.train.data.dataset import LabelledImages
from argus_edge.train.data.example import IGNORE, Example
from argus_edge.train.data.problems import Problems
from argus_edge.train.data.readers.coco import open_coco
from argus_edge.train.data.readers.files import choose_split, read_text, require_paths, unique_names
from argus_edge.train.data.readers.listed import BrokenFile, ClassValues, ListedImages, broken_file, picture
from argus_edge.train.data.readers.pairs import Pair, PairReader, pair_up
from argus_edge.train.data.readers.reader import Reader

TITLE: Final = "ADE20K"
SPLITS: Final = ("training", "validation")
LAYOUT: Final = (
    "images/{training,validation}/*.jpg; for seg annotations/{training,validation}/*.png and "
    "objectInfo150.txt; for inst ade20k_instance_{train,val}.json; for pan ade20k_panoptic_{train,val}.json "
    "and ade20k_panoptic_{train,val}/*.png"
)
# Numbers of images to train and to validate on. That of inst and pan is what trainers keep of all images.
PUBLISHED: Final = {"seg": (20_210, 2_000), "inst": (13_385, 1_353), "pan": (17_277, 1_743)}
_SHORT: Final = {"training": "train", "validation": "val"}
_SIZES_DIFFER: Final = "the maps and the files of instances and segments differ in its size"
_OTHER: Final = 0  # what is of none of the classes, which count from 1


class _ReadOnce:
    """Reads pictures as `picture` does, each only the first time it is asked for."""

    def __init__(self) -> None:
        self._pictures: dict[Path, NDArray[np.uint8]] = {}

    def __call__(self, root: Path, path: Path, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        if path not in self._pictures:
            self._pictures[path] = picture(root, path, size)
        image = self._pictures[path]
        if size is not None and image.shape[:2] != size:
            raise broken_file(root, path, _SIZES_DIFFER)
        return image


@dataclass(frozen=True)
class _ReadAll:
    """Reads an image of several lists, told by its index in each, and puts the labels together."""

    parts: tuple[ListedImages[Any], ...]  # whose `read` also takes how to read pictures

    def __call__(self, entry: tuple[int | None, ...]) -> Example:
        once = _ReadOnce()
        parts: list[tuple[Any, int | None]] = list(zip(self.parts, entry, strict=True))
        examples: list[Example] = [part.read(part.entries[i], once) for part, i in parts if i is not None]
        first = examples[0]
        for other in examples[1:]:
            if other.image.shape != first.image.shape:
                raise BrokenFile(first.name, _SIZES_DIFFER)
            first = replace(
                first,
                objects=first.objects if other.objects is None else other.objects,
                panoptic=first.panoptic if other.panoptic is None else other.panoptic,
            )
        return first


def open_ade20k(path: Path, split: str, tasks: tuple[str, ...], problems: Problems) -> LabelledImages:
    """Pictures sorted by name; with inst or pan alone, those of their files in the order there.

    Args:
        path: the folder, usually called ADEChallengeData2016.
        split: "training" or "validation", or "train" or "val".
        tasks: seg, inst, pan. Those of which there is no file are left out. An image of which the file of
            instances or segments does not tell says nothing about them.
        problems: gets what is broken. An image that is broken for one of the tasks is left out for all.

    Raises DatasetError if pictures, or the files of all tasks, are missing, or a file is not what it must be.
    """
    require_paths(TITLE, path, ("images",), LAYOUT)
    there = [name for name in SPLITS if (path / "images" / name).is_dir()]
    split = choose_split(TITLE, path, split, there, (("training", "train"), ("validation", "val")))
    files = {
        "seg": path / "annotations" / split,
        "inst": path / f"ade20k_instance_{_SHORT[split]}.json",
        "pan": path / f"ade20k_panoptic_{_SHORT[split]}.json",
    }
    told = tuple(task for task in tasks if files[task].exists())
    if not told:
        require_paths(TITLE, path, [shown(files[task].relative_to(path)) for task in tasks], LAYOUT)
    parts: dict[str, ListedImages[Any]] = {}
    for task in sorted(told, key=list(files).index):
        if task == "seg":
            parts[task] = _open_maps(path, split, problems)
        else:
            parts[task] = open_coco(files[task], split, (task,), problems)
    counts = "; ".join(_count(task, part, split) for task, part in parts.items())
    return ListedImages(
        f"{TITLE} {split} in {shown(path)}: {counts}",
        {task: part.classes[task] for task, part in parts.items()},
        told,
        problems,
        _together(tuple(parts.values())),
        _ReadAll(tuple(parts.values())),
    )


def _open_maps(path: Path, split: str, problems: Problems) -> ListedImages[Pair]:
    require_paths(TITLE, path, ("objectInfo150.txt",), LAYOUT)
    names = _class_names(path / "objectInfo150.txt")
    maps = path / "annotations" / split
    pairs = pair_up(path, path / "images" / split, maps, problems)
    read = PairReader(path, maps, ClassValues(len(names), first=1, ignored=(_OTHER,)))
    return ListedImages(TITLE, {"seg": names}, ("seg",), problems, pairs, read)


def _class_names(path: Path) -> tuple[str, ...]:
    """Names from a table with tabs between columns, among them Idx, from 1, and Name, a list of synonyms."""
    heading, *lines = read_text(path).splitlines() or [""]
    columns = [column.strip() for column in heading.split("\t")]
    rows = [
        dict(zip(columns, map(str.strip, line.split("\t")), strict=False)) for line in lines if line.strip()
    ]
    names = {row.get("Idx", ""): row.get("Name", "") for row in rows}
    expected = [str(number) for number in range(1, len(rows) + 1)]
    if not rows or list(names) != expected or not all(names.values()) or len(rows) >= IGNORE:
        raise DatasetError(
            f"{shown(path)}: expected columns Idx and Name with tabs between them, and a line for each "
            f"class, numbered from 1 in order; got {heading[:60]!r} and {len(rows)} lines"
        )
    return unique_names(names)


def _together(parts: Sequence[ListedImages[Any]]) -> list[tuple[int | None, ...]]:
    """For each image of any part its index in all of them. Images are the same if their files' names are."""
    found: dict[str, list[int | None]] = {}
    for number, part in enumerate(parts):
        for index, entry in enumerate(part.entries):
            name = entry.picture.name if isinstance(entry, Pair) else PurePath(entry.listed.name).name
            key = name or f"/{number}/{index}"  # a broken entry may have no name
            found.setdefault(key, [None] * len(parts))[number] = index
    return [tuple(indices) for indices in found.values()]


def _count(task: str, part: ListedImages[Any], split: str) -> str:
    """The files of instances list all images, and published are those with objects."""
    published = PUBLISHED[task][SPLITS.index(split)]
    counts = {"images": len(part)}
    if task == "inst":
        counts["with objects"] = sum(bool(entry.objects) for entry in part.entries)
    note = "as published" if published in counts.values() else f"{published:,} published"
    return f"{task} {', '.join(f'{count:,} {what}' for what, count in counts.items())} ({note})"


ADE20K: Final = Reader(TITLE, ("seg", "inst", "pan"), SPLITS, LAYOUT, open_ade20k)
