"""YOLO's layout, as Ultralytics reads and Roboflow writes it: a text of labels for every picture.

https://docs.ultralytics.com/datasets/. A line is one object: its class, and as shares of the picture's width
and height a box (cx cy w h), an outline (x y ...), or a box and keypoints (x y or x y visibility).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import DatasetError, shown
from argus_edge.keypoints import KEYPOINT_NAMES
from argus_edge.train.data.example import Example, LabelledObject
from argus_edge.train.data.problems import Problems
from argus_edge.train.data.readers.checks import (
    BOX_STAYS,
    PEOPLE_BY_BOX,
    BrokenEntryError,
    area_of,
    brief,
    checked_box,
    clipped_box,
    keypoints_of,
)
from argus_edge.train.data.readers.files import read_text
from argus_edge.train.data.readers.listed import BrokenFile, ListedImages, counted, picture
from argus_edge.train.data.readers.masks import checked_polygon, filled, filled_area
from argus_edge.train.data.readers.reader import Reader
from argus_edge.train.data.readers.yolo_files import (
    LAYOUT,
    NAME_FILES,
    find_pictures,
    label_of,
    read_description,
)

TASKS: Final = ("det", "inst", "pose")
TOLERANCE: Final = 1e-3  # exporters round; what is farther out of the picture is a mistake


@dataclass(frozen=True)
class LineParser:
    """Makes an object of a line.

    Keypoints are told where pixel i covers [i, i + 1), as boxes are; here integers are pixel centres, so half
    a pixel is subtracted.
    """

    classes: int
    shape: tuple[int, int] | None  # how many keypoints, and values of each; None if lines have none
    masks: bool
    keypoints: bool
    problems: Problems

    def __call__(self, where: str, line: str, size: tuple[int, int]) -> LabelledObject | None:
        """The object in a picture of `size` (height, width) [px], its box cut at the border, or None.

        What is broken is noted as an annotation: the line, or a mask or keypoints without which it stays.
        """
        try:
            class_id, shares = self._values(line)
            if self.is_outline(line):
                polygon, box = _outline(shares, size)
                area = float(filled_area([polygon], size))
                mask = filled([polygon], size) if self.masks else None
                return LabelledObject(class_id, box, area, mask=mask)
            box = _box(shares[:4], size)
        except BrokenEntryError as error:
            self.problems.add(where, str(error), "annotation")
            return None
        if self.masks:
            self.problems.add(where, f"it has no outline; {BOX_STAYS}", "annotation")
        keypoints = self._keypoints(where, shares[4:], size) if self.keypoints and self.shape else None
        return LabelledObject(class_id, box, area_of(box), keypoints=keypoints, area_known=False)

    def is_outline(self, line: str) -> bool:
        """Whether it has as many values as an outline. With keypoints none has."""
        values = len(line.split()) - 1
        return self.shape is None and values >= 6 and values % 2 == 0

    def _values(self, line: str) -> tuple[int, NDArray[np.float64]]:
        """The class, and the shares of an outline, or of a box and keypoints. Raises BrokenEntryError."""
        try:
            values = np.array([float(word) for word in line.split()])
        except ValueError:
            raise BrokenEntryError(f"{brief(line)} is not a line of numbers") from None
        if not np.isfinite(values if self.is_outline(line) else values[:5]).all():
            raise BrokenEntryError("it holds a value that is not finite")
        if values[0] not in range(self.classes):
            raise BrokenEntryError(f"class {values[0]:g} is none of 0 to {self.classes - 1}")
        posed = 0 if self.shape is None else self.shape[0] * self.shape[1]
        if not self.is_outline(line) and len(values) not in (5, 5 + posed):
            form = f"and {posed} of keypoints" if posed else "or x and y of at least three points"
            raise BrokenEntryError(f"{len(values)} values; expected a class, then 4 of a box {form}")
        return int(values[0]), values[1:]

    def _keypoints(
        self, where: str, shares: NDArray[np.float64], size: tuple[int, int]
    ) -> NDArray[np.float32]:
        try:
            if shares.size:
                return _placed(shares.reshape(len(KEYPOINT_NAMES), -1), size)
        except BrokenEntryError as error:
            self.problems.add(where, f"{error}; {BOX_STAYS}", "annotation")
        # Finding such a person is neither right nor wrong.
        return np.zeros((len(KEYPOINT_NAMES), 3), np.float32)


def _outline(
    shares: NDArray[np.float64], size: tuple[int, int]
) -> tuple[NDArray[np.float64], tuple[float, float, float, float]]:
    """Polygon [px] and box of an outline. Raises BrokenEntryError."""
    points = _within(shares).reshape(-1, 2) * size[::-1]
    corner, extent = points.min(axis=0), np.ptp(points, axis=0)
    return checked_polygon(points.ravel(), size), checked_box([*corner, *extent], size)


def _placed(points: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float32]:
    """Keypoints (17, 3) of shares (17, 2) or (17, 3). Raises BrokenEntryError."""
    if points.shape[1] == 3:
        visibility = points[:, 2]
    else:  # nothing says so, but a point in the very corner or before it was never placed
        visibility = np.where((points < 0).any(axis=1) | (points == 0).all(axis=1), 0, 2)
    labelled = visibility != 0
    placed = np.zeros((len(points), 3))
    placed[labelled, :2] = _within(points[labelled, :2]) * size[::-1] - 0.5
    placed[:, 2] = visibility
    return keypoints_of(placed.ravel())


def _within(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Raises BrokenEntryError if any is not from 0 to 1."""
    if (np.abs(shares - 0.5) > 0.5 + TOLERANCE).any():
        worst = shares.flat[np.abs(shares - 0.5).argmax()]
        raise BrokenEntryError(f"value {worst:g} is not from 0 to 1; expected shares of width and height")
    return shares.clip(0, 1)


def _box(shares: NDArray[np.float64], size: tuple[int, int]) -> tuple[float, float, float, float]:
    x, y, width, height = (_within(shares) * (size[1], size[0], size[1], size[0])).tolist()
    return clipped_box(checked_box([x - width / 2, y - height / 2, width, height], size), size)


@dataclass(frozen=True, slots=True)
class YoloImage:
    """A picture and its file of labels, which need not exist: then the picture has no objects."""

    picture: Path
    labels: Path


@dataclass(frozen=True)
class _ImageReader:
    root: Path
    parse: LineParser
    problems: Problems

    def __call__(self, entry: YoloImage) -> Example:
        image = picture(self.root, entry.picture)
        name = shown(entry.labels.relative_to(self.root))
        try:
            # A link to nowhere is not the same as no labels: it is read, which fails.
            text = read_text(entry.labels) if os.path.lexists(entry.labels) else ""
        except DatasetError as error:
            raise BrokenFile(name, str(error).removeprefix(f"{shown(entry.labels)}: ")) from error
        seen: dict[str, int] = {}
        objects = []
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                where = f"{name}, line {number}"
                first = seen.setdefault(" ".join(line.split()), number)
                if first != number:
                    what = f"the same as line {first}; expected an object once"
                    self.problems.add(where, what, "annotation")
                elif (item := self.parse(where, line, (image.shape[0], image.shape[1]))) is not None:
                    objects.append(item)
        return Example(shown(entry.picture.relative_to(self.root)), image, tuple(objects))


def open_yolo(path: Path, split: str, tasks: tuple[str, ...], problems: Problems) -> ListedImages[YoloImage]:
    """A data set in YOLO's layout.

    Args:
        path: its folder, or its description (data.yaml).
        split: "train", "val" (also called valid) or "test".
        tasks: det, inst, pose. inst is left out if no line is an outline, pose without kpt_shape. As YOLO
            knows no areas of people, 0.53 times that of the box is taken, which the title says.
        problems: gets what is broken. A label file without a picture counts as one annotation; a picture
            whose label file cannot be read is lost.

    Raises DatasetError if the names of classes, the split or all of its labels are missing.
    """
    root = path.parent if path.is_file() else path
    description = read_description(root, path if path.is_file() else None, "pose" in tasks)
    pictures = find_pictures(root, split, description.splits, problems)
    entries = [YoloImage(each, label_of(root, each)) for each in pictures]
    _note_lone_labels(root, entries, problems)
    parse = LineParser(len(description.names), description.keypoints, False, "pose" in tasks, problems)
    told = tuple(task for task in tasks if _tells(task, parse, entries))
    if not told:
        raise DatasetError(
            f"{shown(root)}: labels say nothing for {', '.join(tasks)}; inst needs outlines (class x y x y "
            f"x y ...), pose needs kpt_shape: [17, 3] in data.yaml"
        )
    return ListedImages(
        title=counted(f"YOLO {split} in {shown(root)}", len(entries), None)
        + (f", {PEOPLE_BY_BOX}" if "pose" in told else ""),
        classes={task: KEYPOINT_NAMES if task == "pose" else description.names for task in told},
        tasks=told,
        problems=problems,
        entries=entries,
        read=_ImageReader(root, replace(parse, masks="inst" in told), problems),
    )


def _tells(task: str, parse: LineParser, entries: Sequence[YoloImage]) -> bool:
    if task == "pose":
        return parse.shape is not None
    return task == "det" or any(_has_outline(parse, entry.labels) for entry in entries)


def _has_outline(parse: LineParser, labels: Path) -> bool:
    try:
        return labels.is_file() and any(map(parse.is_outline, read_text(labels).splitlines()))
    except DatasetError:
        return False  # noted when its picture is read


def _note_lone_labels(root: Path, entries: Sequence[YoloImage], problems: Problems) -> None:
    known = {entry.labels for entry in entries}
    for folder in sorted({labels.parent for labels in known}):
        if "labels" in folder.relative_to(root).parts:  # beside pictures other texts may lie
            found = (path for path in folder.glob("*.txt") if not path.name.startswith("."))
            # LabelImg writes the names of the classes beside the labels.
            for path in sorted({path for path in found if path.name not in NAME_FILES} - known):
                what = "labels without a picture of the same name"
                problems.add(shown(path.relative_to(root)), what, "annotation")


YOLO: Final = Reader("YOLO", TASKS, ("train", "val"), LAYOUT, open_yolo)
