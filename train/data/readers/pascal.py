"""PASCAL-Context with parts of people and saliency: PASCAL_MT, of ASTMT, MTI-Net, ATRC and InvPT.

    ImageSets/Context/{train,val}.txt  one name a line: 4,998 and 5,105
    ImageSets/Parts/{train,val}.txt    optional: which of them show people, as JSON {"NAME": [VOC classes of
                                       its objects, 15 is person], ...}, or as names, one a line
    JPEGImages/NAME.jpg | .png
    human_parts_png/NAME.png           parse: (H, W) 8 bits, 0 to 6 in the order of PART_CLASSES, 255 unknown,
                                       all 0 without people; or, where there is none of that name:
    human_parts/NAME.mat               PASCAL-Part (Chen et al., CVPR 2014), a MATLAB file up to version 7
    sal_distill/NAME.png               sal: (H, W) 8 bits, salient above half of 255; 1 in a map of 0 and 1
    pascal-context/trainval/NAME.mat   edge: `LabelMap` (H, W); boundaries are where it changes, thinned
    semseg/VOC12/NAME.png              seg: (H, W) VOC's 21 classes, 255 unknown; or, where there is none:
    semseg/pascal-context/NAME.png

The last two may be missing as a whole. For parse alone only images with people are listed. Beside other tasks
all are; those without people, or with people of whom no part is labelled, say nothing about parts. Without
ImageSets/Parts the files of parts are looked through when the set is opened for parse alone, which takes
minutes for the whole of it. A person's pixels that are in no part are background, as are other objects.

Published protocols: mIoU over the 7 classes with the background; maxF as ATRC has it; boundaries with a
tolerance of 0.0075 of the diagonal at 99 thresholds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import DatasetError, first_line, shown
from argus_edge.train.data.problems import Problems
from argus_edge.train.data.readers.files import choose_split, inside, read_text, require_paths
from argus_edge.train.data.readers.listed import (
    BrokenFile,
    ClassValues,
    ListedImages,
    broken_file,
    counted,
    label_map,
)
from argus_edge.train.data.readers.maps import MapReader, MapSource, first_there, listed_lines, read_classes
from argus_edge.train.data.readers.pascal_part import PERSON, parts_of_people, shows_people
from argus_edge.train.data.readers.reader import Reader
from argus_edge.train.data.scenes import PART_CLASSES
from argus_edge.train.metrics import PASCAL_CONTEXT, TASK_METRICS, EdgeMetrics
from argus_edge.train.metrics.thinning import thin

VOC_NAMES: Final = (
    "background, aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, diningtable, dog, horse, "
    "motorbike, person, pottedplant, sheep, sofa, train, tvmonitor"
)
CLASSES: Final = {"parse": PART_CLASSES, "seg": tuple(VOC_NAMES.split(", "))}

# Those with people are counted differently by different publications.
PUBLISHED: Final[dict[str, tuple[int, ...]]] = {"train": (4_998,), "val": (5_105,)}
PUBLISHED_PEOPLE: Final[dict[str, tuple[int, ...]]] = {"train": (1_736, 1_716), "val": (1_853, 1_817)}

LISTS: Final = "ImageSets/Context"
PICTURES: Final = ("JPEGImages/{}.jpg", "JPEGImages/{}.png")
PART_PLACES: Final = ("human_parts_png/{}.png", "human_parts/{}.mat")
SEG_PLACES: Final = ("semseg/VOC12/{}.png", "semseg/pascal-context/{}.png")
HALF: Final = 127  # of 255, as the next value is above it


def open_pascal(root: Path, split: str, tasks: tuple[str, ...], problems: Problems) -> ListedImages[str]:
    """The set, of images with people only where `tasks` is parse alone.

    Raises DatasetError with everything that is missing.
    """
    title = "PASCAL_MT"
    folders = {
        "parse": "human_parts_png" if (root / "human_parts_png").is_dir() else "human_parts",
        "sal": "sal_distill",
        "edge": "pascal-context/trainval",
        "seg": "semseg",
    }
    # Copies are passed on without what only the other tasks need.
    told = tuple(t for t in tasks if t in ("parse", "sal") or (root / folders[t]).is_dir()) or tasks
    require_paths(title, root, [LISTS, "JPEGImages", *(folders[task] for task in told)], PASCAL.layout)
    there = sorted(path.stem for path in (root / LISTS).glob("*.txt"))
    split = choose_split(title, root, split, there)
    list_file = f"{LISTS}/{split}.txt"
    names = listed_lines(root, list_file)
    published = PUBLISHED
    if told == ("parse",):
        names, published = _with_people(root, f"ImageSets/Parts/{split}.txt", names), PUBLISHED_PEOPLE
    counts = published.get(split, ())
    count = len(names) if len(names) in counts else next(iter(counts), None)
    title = counted(f"{title} {split} in {shown(root)}", len(names), count)
    sources = {
        "parse": MapSource("parts", PART_PLACES, _parts),
        "sal": MapSource("saliency", ("sal_distill/{}.png",), _saliency),
        "edge": MapSource("edges", ("pascal-context/trainval/{}.mat",), _edges),
        "seg": MapSource("labels", SEG_PLACES, _labels),
    }
    read = MapReader(root, list_file, PICTURES, [sources[task] for task in told], problems)
    classes = {task: CLASSES[task] for task in told if task in CLASSES}
    metrics = {"edge": replace(TASK_METRICS["edge"], make=_context_edges)} if "edge" in told else {}
    return ListedImages(title, classes, told, problems, names, read, metrics)


def _with_people(root: Path, parts_list: str, names: Sequence[str]) -> tuple[str, ...]:
    """Those of the names whose images show people."""
    if (root / parts_list).is_file():
        listed = _listed_people(root / parts_list)
        people = tuple(name for name in names if name in listed)
    else:
        people = tuple(name for name in names if _may_show_people(root, name))
    if not people:
        raise DatasetError(
            f"{shown(root)}: no image of the split shows people, as {parts_list} or, without it, "
            f"the files of parts tell"
        )
    return people


def _listed_people(path: Path) -> set[str]:
    """The images with people by a list of their names, or by JSON as ASTMT writes it."""
    text = read_text(path)
    if not text.lstrip().startswith("{"):
        return {line.strip() for line in text.splitlines()}
    try:
        return {name for name, classes in json.loads(text).items() if PERSON in classes}
    except (ValueError, TypeError, RecursionError) as error:
        raise DatasetError(
            f"{shown(path)}: expected names, one a line, or JSON of names and their objects' VOC classes: "
            f"{first_line(error)}"
        ) from error


def _may_show_people(root: Path, name: str) -> bool:
    """By the file of its parts; a broken one may, and is told of when it is read."""
    if inside(root, name) is None:
        return True
    path = first_there(root, PART_PLACES, name)
    try:
        return bool(label_map(root, path).any()) if path.suffix == ".png" else shows_people(root, path)
    except BrokenFile:
        return True


def _parts(root: Path, path: Path) -> NDArray[np.uint8] | None:
    if path.suffix == ".mat":
        return parts_of_people(root, path)
    parts = _classes(root, path, "parse")
    return parts if parts.any() else None


def _labels(root: Path, path: Path) -> NDArray[np.uint8]:
    return _classes(root, path, "seg")


def _classes(root: Path, path: Path, task: str) -> NDArray[np.uint8]:
    return ClassValues(len(CLASSES[task]))(root, path, label_map(root, path))


def _saliency(root: Path, path: Path) -> NDArray[np.uint8]:
    values = label_map(root, path)
    if values.dtype != np.uint8:
        raise broken_file(root, path, f"expected a grey picture of 8 bits, got {values.dtype}")
    return (values > (0 if values.max() == 1 else HALF)).astype(np.uint8)


def _edges(root: Path, path: Path) -> NDArray[np.uint8]:
    """Where the Laplacian of the map of classes is not 0, thinned, as ASTMT has it."""
    classes = read_classes(root, path, "LabelMap").astype(np.float64)
    changes: NDArray[Any] = cv2.Laplacian(classes, cv2.CV_64F)
    return thin(changes != 0).astype(np.uint8)


def _context_edges(_: Sequence[str]) -> EdgeMetrics:
    return EdgeMetrics(PASCAL_CONTEXT)


PASCAL: Final = Reader(
    title="PASCAL-Context",
    tasks=("parse", "sal", "edge", "seg"),
    splits=("train", "val"),
    layout="PASCAL_MT: ImageSets/Context/{train,val}.txt, JPEGImages/, human_parts/ or human_parts_png/, "
    "sal_distill/, pascal-context/trainval/, semseg/; ImageSets/Parts/{train,val}.txt tells who shows people",
    open=open_pascal,
)
