"""One annotation of COCO's instances or person_keypoints as an object: box, mask, keypoints, all checked.

Formats: https://cocodataset.org/#format-data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from argus_edge.keypoints import KEYPOINT_NAMES
from argus_edge.train.data.example import LabelledObject
from argus_edge.train.data.readers.checks import BrokenEntryError, brief, clipped_box, keypoints_of
from argus_edge.train.data.readers.coco_index import Annotation, Categories
from argus_edge.train.data.readers.masks import mask_of

MAX_AREA: Final = 1e12  # [px]


@dataclass(frozen=True)
class ObjectParser:
    """Makes objects of annotations.

    `masks` and `keypoints` say what is asked for. With `keypoints`, a person of whom the file tells none has
    them all unlabelled, so that finding this person is neither right nor wrong.
    """

    categories: Categories
    masks: bool
    keypoints: bool

    def __call__(self, annotation: Annotation, size: tuple[int, int]) -> LabelledObject:
        """The object, in a picture of `size` (height, width) [px]; its box is cut at the picture's border.

        Raises BrokenEntryError, saying what is wrong, if anything asked for is broken.
        """
        class_id = self.categories.index[annotation["category_id"]]
        box = clipped_box(annotation.get("bbox"), size)
        crowd, area = annotation.get("iscrowd"), annotation.get("area")
        if crowd not in (None, 0, 1):
            raise BrokenEntryError(f"iscrowd is {brief(crowd)}; expected 0 or 1")
        mask = mask_of(annotation["segmentation"], size) if self._has_mask(annotation) else None
        if area is None:
            area = np.count_nonzero(mask) if mask is not None else (box[2] - box[0]) * (box[3] - box[1])
        elif type(area) not in (int, float) or not 0 <= area <= MAX_AREA:
            raise BrokenEntryError(f"area is {brief(area)}; expected a number of pixels from 0")
        keypoints = None
        if self.keypoints:
            if annotation.get("keypoints"):
                keypoints = keypoints_of(annotation["keypoints"])
            elif class_id in self.categories.posed:
                keypoints = np.zeros((len(KEYPOINT_NAMES), 3), np.float32)
        return LabelledObject(class_id, box, float(area), bool(crowd), mask, keypoints)

    def _has_mask(self, annotation: Annotation) -> bool:
        return self.masks and bool(annotation.get("segmentation"))
