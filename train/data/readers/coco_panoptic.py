"""COCO's panoptic format: a picture whose colours are ids of segments, and a list of what the segments are.

Format: https://cocodataset.org/#format-data, section 4; id = R + 256 G + 65536 B, 0 = void.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import ImageError, shown
from argus_edge.train.data.images import read_map
from argus_edge.train.data.problems import Problems
from argus_edge.train.data.readers.checks import BrokenEntryError, brief, checked_name
from argus_edge.train.data.readers.coco_index import Annotation, Categories
from argus_edge.train.metrics import PanopticTruth, TrueSegment

VOID: Final = 0
_WEIGHTS: Final = np.array([1, 1 << 8, 1 << 16], np.int32)
_TOLD: Final = 8  # ids named in a message


@dataclass(frozen=True)
class PanopticParser:
    """Reads the segments of an image from the maps in `folder`, which is below `root`."""

    root: Path
    folder: Path
    categories: Categories
    problems: Problems

    def __call__(self, where: str, annotation: Annotation, size: tuple[int, int]) -> PanopticTruth | None:
        """The segments in a picture of `size` (height, width) [px]; None if their map cannot be used.

        What is broken is noted as an annotation: the whole map, or a segment, whose pixels are void then.
        """
        try:
            name = checked_name(annotation.get("file_name"))
            entries = annotation.get("segments_info")
            if not isinstance(entries, list):
                raise BrokenEntryError("expected a list segments_info")
        except BrokenEntryError as error:
            self.problems.add(where, str(error), "annotation")
            return None
        path = self.folder / name
        place = shown(path.relative_to(self.root))
        try:
            ids = _read_ids(path, size)
        except ImageError as error:
            self.problems.add(place, str(error), "annotation")
            return None
        present = set(np.unique(ids).tolist()) - {VOID}
        segments = self._segments(where, entries, present)
        unlisted = sorted(present - _listed(entries))
        if unlisted:
            some = ", ".join(map(str, unlisted[:_TOLD])) + (", ..." if len(unlisted) > _TOLD else "")
            what = f"segments {some} ({len(unlisted)}) are not listed in the annotation; taken as void"
            self.problems.add(place, what, "annotation")
        unusable = present - {segment.id for segment in segments}
        if unusable:
            ids[np.isin(ids, list(unusable))] = VOID
        return PanopticTruth(ids, segments)

    def _segments(self, where: str, entries: Iterable[Any], present: set[int]) -> list[TrueSegment]:
        segments: dict[int, TrueSegment] = {}
        for position, entry in enumerate(entries):
            number = entry.get("id") if isinstance(entry, dict) else None
            try:
                segment = self._segment(entry, present)
                if segment.id in segments:
                    raise BrokenEntryError("its id is there before; expected one segment of an id")
            except BrokenEntryError as error:
                place = f"{where}, segment {brief(number)} (entry {position})"
                self.problems.add(place, str(error), "annotation")
            else:
                segments[segment.id] = segment
        return list(segments.values())

    def _segment(self, entry: Any, present: set[int]) -> TrueSegment:
        """Raises BrokenEntryError, saying why, if it cannot be used."""
        if not isinstance(entry, dict) or type(entry.get("id")) is not int:
            raise BrokenEntryError("expected an object with a whole number as id")
        category, crowd = entry.get("category_id"), entry.get("iscrowd")
        if type(category) is not int or category not in self.categories.index:
            raise BrokenEntryError(f"its category {brief(category)} is not among the usable ones")
        if crowd not in (None, 0, 1):
            raise BrokenEntryError(f"iscrowd is {brief(crowd)}; expected 0 or 1")
        if entry["id"] not in present:
            raise BrokenEntryError("it has no pixel in the map")
        class_id = self.categories.index[category]
        return TrueSegment(entry["id"], class_id, class_id < self.categories.things, bool(crowd))


def _listed(entries: Iterable[Any]) -> set[int]:
    ids = (entry.get("id") for entry in entries if isinstance(entry, dict))
    return {number for number in ids if type(number) is int}


def _read_ids(path: Path, size: tuple[int, int]) -> NDArray[np.int32]:
    """(H, W) ids. Raises ImageError if it is no whole picture in RGB of that size."""
    colours = read_map(path)
    if colours.ndim != 3:
        raise ImageError("segments are in grey or a palette; expected RGB, with id = R + 256 G + 65536 B")
    if colours.shape[:2] != size:
        raise ImageError(
            f"segments are {colours.shape[0]}x{colours.shape[1]} but the picture {size[0]}x{size[1]}"
        )
    ids: NDArray[np.int32] = colours.astype(np.int32) @ _WEIGHTS
    return ids
