"""Mask average precision and recall as COCO defines them, computed by pycocotools on run-length codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from argus_edge.dependencies import require
from argus_edge.errors import InputError
from argus_edge.results import Instances
from argus_edge.train.metrics.coco import MAX_DETECTIONS, CocoRows
from argus_edge.train.metrics.metric import check_classes


@dataclass(frozen=True, eq=False)
class InstanceTruth:
    """The M objects of one image, in its own frame; masks may overlap."""

    masks: NDArray[np.bool_]  # (M, H, W)
    classes: NDArray[Any]  # (M,) index in the class names
    areas: NDArray[Any] | None = None  # (M,) [px], by which COCO sorts them; the masks' own when not given
    crowds: NDArray[np.bool_] | None = None  # (M,) whether one stands for several; none does when not given


class MaskAP:
    """AP over mask IoU 0.50:0.05:0.95, AP50, AP75, by size, and AR, as fractions in [0, 1].

    The figures, the sizes and what becomes of empty sets are those of `BoxAP`. Masks are kept as run-length
    codes, about a kilobyte each.

    Raises DependencyError when pycocotools is not installed.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = tuple(class_names)
        self._rows = CocoRows("segm", self.class_names)
        self._codec = require("pycocotools.mask", "train")

    @property
    def protocol(self) -> str:
        """Names the protocol."""
        return f"COCO mask AP@[.50:.95], pycocotools (RLE), maxDets {MAX_DETECTIONS}"

    def update(self, result: Instances, truth: InstanceTruth) -> None:
        """Add one image: instances with masks (N, H, W) bool, and the true ones at the same size.

        Raises InputError when classes or sizes differ, or a true class is none of them.
        """
        check_classes("inst", result.class_names, self.class_names)
        height, width = truth.masks.shape[1:]
        # An image without instances may not know its size.
        if len(result) and result.masks.shape[1:] != (height, width):
            raise InputError(
                f"masks are {result.masks.shape[1:]} but those of the truth {(height, width)}; "
                f"sizes must be equal"
            )
        self._rows.next_image(height, width)
        codes = self._encode(truth.masks)
        areas = truth.areas if truth.areas is not None else self._codec.area(codes)
        crowds = truth.crowds if truth.crowds is not None else np.zeros(len(codes), bool)
        for code, class_id, area, crowd in zip(codes, truth.classes, areas, crowds, strict=True):
            self._rows.add_true(class_id, area, bool(crowd), segmentation=code)
        codes = self._encode(result.masks)
        found = zip(codes, result.classes, self._codec.area(codes), result.scores, strict=True)
        for code, class_id, area, score in found:
            self._rows.add_found(class_id, area, score, segmentation=code)

    def result(self) -> dict[str, float]:
        """The twelve COCO figures, `AP/<class>` for each class that occurs, and the counts."""
        return self._rows.figures()

    def _encode(self, masks: NDArray[np.bool_]) -> list[dict[str, Any]]:
        return [self._codec.encode(np.asfortranarray(mask, dtype=np.uint8)) for mask in masks]
