"""Panoptic quality: how well segments are found and how well they fit.

Kirillov et al., "Panoptic Segmentation", CVPR 2019; counted as panopticapi's evaluation.py counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import InputError
from argus_edge.results import PanopticMap

VOID: Final = 0
MATCH_IOU: Final = 0.5  # exclusive: above it no segment can have two partners


class TrueSegment(NamedTuple):
    """One segment of the truth; a crowd stands for several things."""

    id: int  # its value in the map
    class_id: int  # index in the class names
    is_thing: bool
    crowd: bool = False


@dataclass(frozen=True, eq=False)
class PanopticTruth:
    """The segments of one image."""

    segment_ids: NDArray[Any]  # (H, W) of an integer type, 0 = void: the truth does not say
    segments: Sequence[TrueSegment]


class PanopticQuality:
    """PQ = SQ x RQ per class and its means over all classes, things and stuff, as fractions in [0, 1].

    A predicted and a true segment of one class match if their IoU is above 0.5, void left out of the union.
    SQ is the mean IoU of the matches, RQ = TP / (TP + FP / 2 + FN / 2). Crowds match nothing and are not
    missed; a prediction more than half of which is void, or crowd of its class, is not false. Classes with
    neither truth nor predictions that count do not enter the means. PQ of the means is the mean of the PQ,
    not the product of the means. With nothing counted only `images` and `objects` remain.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = tuple(class_names)
        self._images = 0
        self._objects = 0
        # Per class: sum of the IoU of the matches, and how many segments are TP, FP, FN.
        self._sums: NDArray[np.float64] = np.zeros((len(self.class_names), 4))
        self._things: dict[int, bool] = {}

    @property
    def protocol(self) -> str:
        """Names the protocol."""
        return f"PQ as panopticapi, match IoU > {MATCH_IOU}, void {VOID} ignored, mean over classes"

    def update(self, result: PanopticMap, truth: PanopticTruth) -> None:
        """Add one image: predicted and true segment ids (H, W) with their segments.

        Raises InputError when sizes differ, a map holds an id without a segment, a prediction has a segment
        without a pixel, or classes are not this metric's.
        """
        found, true = np.asarray(result.segment_ids), np.asarray(truth.segment_ids)
        if found.shape != true.shape:
            raise InputError(f"panoptic map is {found.shape} but the truth {true.shape}; sizes must be equal")
        for segment in result.segments:
            self._note(segment.class_id, segment.is_thing)
            if self.class_names[segment.class_id] != segment.class_name:
                raise InputError(
                    f"task 'pan': class {segment.class_id} is {segment.class_name!r} to the model but "
                    f"{self.class_names[segment.class_id]!r} in the data; evaluate it on its own classes"
                )
        for item in truth.segments:
            self._note(item.class_id, item.is_thing)
        overlap = _overlaps(found, true)
        classes = {segment.id: segment.class_id for segment in result.segments}
        found_area = _areas("predicted", found, classes)
        true_area = _areas("true", true, {segment.id: segment.class_id for segment in truth.segments})
        if set(found_area) != set(classes):
            raise InputError(f"predicted segments {sorted(set(classes) - set(found_area))} have no pixel")
        self._images += 1
        self._objects += sum(not item.crowd for item in truth.segments)
        self._count(overlap, classes, found_area, true_area, truth.segments)

    def result(self) -> dict[str, float]:
        """`PQ`, `SQ`, `RQ`, the same with `_things` and `_stuff`, `PQ/<class>` if counted, and the counts."""
        fit, matched, false, missed = self._sums.T
        rows = np.flatnonzero(matched + false + missed)
        segmentation = np.divide(fit, matched, out=np.zeros_like(fit), where=matched > 0)[rows]
        recognition = matched[rows] / (matched + 0.5 * false + 0.5 * missed)[rows]
        quality = {"PQ": segmentation * recognition, "SQ": segmentation, "RQ": recognition}
        things = np.array([self._things[row] for row in rows.tolist()], bool)
        figures: dict[str, float] = {}
        for suffix, kept in (("", np.ones_like(things)), ("_things", things), ("_stuff", ~things)):
            if kept.any():
                figures |= {name + suffix: float(values[kept].mean()) for name, values in quality.items()}
        figures |= {
            f"PQ/{self.class_names[row]}": float(value)
            for row, value in zip(rows, quality["PQ"], strict=True)
        }
        return figures | {"images": float(self._images), "objects": float(self._objects)}

    def _note(self, class_id: int, is_thing: bool) -> None:
        """Remember what kind of class it is."""
        if not 0 <= class_id < len(self.class_names):
            raise InputError(f"segment of class {class_id} but there are {len(self.class_names)} classes")
        if self._things.setdefault(class_id, is_thing) != is_thing:
            raise InputError(f"class {self.class_names[class_id]!r} is told to be a thing and to be stuff")

    def _count(
        self,
        overlap: Mapping[tuple[int, int], int],
        classes: Mapping[int, int],
        found_area: Mapping[int, int],
        true_area: Mapping[int, int],
        truth: Sequence[TrueSegment],
    ) -> None:
        """Add one image's matches, false and missed segments. `overlap` is (found, true) ids -> [px]."""
        segments = {item.id: item for item in truth}
        matched: set[int] = set()
        hit: set[int] = set()
        for (found, true), inside in overlap.items():
            item = segments.get(true)
            if item is None or item.crowd or classes.get(found) != item.class_id:
                continue
            union = found_area[found] + true_area[true] - inside - overlap.get((found, VOID), 0)
            if inside / union > MATCH_IOU:
                self._sums[item.class_id] += (inside / union, 1, 0, 0)
                matched.add(found)
                hit.add(true)
        crowds: dict[int, list[int]] = {}
        for item in truth:
            if item.crowd:
                crowds.setdefault(item.class_id, []).append(item.id)
            elif item.id not in hit:
                self._sums[item.class_id, 3] += 1
        for found in classes.keys() - matched:
            ignored = (VOID, *crowds.get(classes[found], ()))
            if sum(overlap.get((found, i), 0) for i in ignored) / found_area[found] <= 0.5:
                self._sums[classes[found], 2] += 1


def _areas(name: str, ids: NDArray[Any], known: Mapping[int, int]) -> dict[int, int]:
    """Map (H, W) -> area [px] of each id in it but void. Raises InputError for one that is not `known`."""
    values, counts = np.unique(ids, return_counts=True)
    areas = dict(zip(values.tolist(), counts.tolist(), strict=True))
    areas.pop(VOID, None)
    if unknown := set(areas) - set(known):
        raise InputError(f"{name} panoptic map holds ids {sorted(unknown)} that no segment has")
    return areas


def _overlaps(found: NDArray[Any], true: NDArray[Any]) -> dict[tuple[int, int], int]:
    """Two maps (H, W) -> area [px] that each pair of ids (found, true) shares."""
    # Ids take up to 24 bits (COCO's RGB) or 31: two fit into 64.
    pairs = found.astype(np.int64) << 32 | true.astype(np.int64)
    values, counts = np.unique(pairs, return_counts=True)
    ids = zip((values >> 32).tolist(), (values & 0xFFFFFFFF).tolist(), strict=True)
    return dict(zip(ids, counts.tolist(), strict=True))
