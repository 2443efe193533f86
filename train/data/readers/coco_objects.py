"""One annotation of COCO's instances or person_keypoints as an object: box, mask, keypoints, all checked.

Formats: https://cocodataset.org/#format-data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.keypoints import KEYPOINT_NAMES
from argus_edge.train.data.example import LabelledObject
from argus_edge.train.data.problems import Problems
from argus_edge.train.data.readers.checks import (
    BOX_STAYS,
    BrokenEntryError,
    area_of,
    brief,
    checked_box,
    keypoints_of,
)
from argus_edge.train.data.readers.coco_index import Annotation, Categories
from argus_edge.train.data.readers.masks import mask_of

MAX_AREA: Final = 1e12  # [px]


@dataclass(frozen=True)
class ObjectParser:
    """Makes objects of annotations.

    `masks` and `keypoints` say what is asked for. With `keypoints`, a person of whom the file tells none, or
    broken ones, has them all unlabelled, so that finding this person is neither right nor wrong.
    """

    categories: Categories
    masks: bool
    keypoints: bool
    problems: Problems

    def __call__(self, where: str, annotation: Annotation, size: tuple[int, int]) -> LabelledObject | None:
        """The object in a picture of `size` (height, width) [px], or None.

        What is broken is noted as an annotation: all of it, or a mask or keypoints without which it stays.
        """
        try:
            box = checked_box(annotation.get("bbox"), size)
            crowd, area = annotation.get("iscrowd"), annotation.get("area")
            if crowd not in (None, 0, 1):
                raise BrokenEntryError(f"iscrowd is {brief(crowd)}; expected 0 or 1")
            if area is not None and (type(area) not in (int, float) or not 0 <= area <= MAX_AREA):
                raise BrokenEntryError(f"area is {brief(area)}; expected a number of pixels from 0")
        except BrokenEntryError as error:
            self.problems.add(where, str(error), "annotation")
            return None
        class_id = self.categories.index[annotation["category_id"]]
        return LabelledObject(
            class_id,
            box,
            float(area if area is not None else area_of(box)),
            bool(crowd),
            self._mask(where, annotation, size) if self.masks else None,
            self._keypoints(where, annotation, class_id) if self.keypoints else None,
            area is not None,
        )

    def _mask(self, where: str, annotation: Annotation, size: tuple[int, int]) -> NDArray[np.bool_] | None:
        try:
            if not annotation.get("segmentation"):
                raise BrokenEntryError("it has no mask")
            return mask_of(annotation["segmentation"], size)
        except BrokenEntryError as error:
            self.problems.add(where, f"{error}; {BOX_STAYS}", "annotation")
            return None

    def _keypoints(self, where: str, annotation: Annotation, class_id: int) -> NDArray[np.float32] | None:
        posed = class_id in self.categories.posed
        if annotation.get("keypoints"):
            posed = True
            try:
                return keypoints_of(annotation["keypoints"])
            except BrokenEntryError as error:
                self.problems.add(where, f"{error}; {BOX_STAYS}", "annotation")
        return np.zeros((len(KEYPOINT_NAMES), 3), np.float32) if posed else None
