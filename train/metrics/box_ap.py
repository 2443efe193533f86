"""Box average precision and recall as COCO defines them, computed by pycocotools itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from argus_edge.results import Detections
from argus_edge.train.metrics.coco import MAX_DETECTIONS, CocoRows
from argus_edge.train.metrics.metric import check_classes


class TrueObject(Protocol):
    """One object of the truth."""

    @property
    def class_id(self) -> int:
        """Index into the class names of the task."""
        ...

    @property
    def box(self) -> Sequence[float] | np.ndarray[Any, Any]:
        """Xyxy [px] in the original image, (4,)."""
        ...

    @property
    def area(self) -> float:
        """Area of its mask [px]: COCO sorts objects into small, medium and large by it, not by the box."""
        ...

    @property
    def crowd(self) -> bool:
        """Whether it stands for several."""
        ...


class BoxAP:
    """AP over IoU 0.50:0.05:0.95, AP50, AP75, by size, and AR, as fractions in [0, 1].

    Small is below 32^2 px of mask, large above 96^2 px; at most 100 detections per image and class; what is
    found inside a crowd is neither right nor wrong. Classes without an object in the whole set do not enter
    any mean. Equal scores rank in the order of the images, as in pycocotools. With no object at all only the
    counts `objects`, `detections` and `images` remain; with objects and no detection AP is 0.

    Raises DependencyError when pycocotools is not installed.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = tuple(class_names)
        self._rows = CocoRows("bbox", self.class_names)

    @property
    def protocol(self) -> str:
        """Names the protocol."""
        return f"COCO box AP@[.50:.95], pycocotools, maxDets {MAX_DETECTIONS}"

    def update(self, result: Detections, truth: Sequence[TrueObject]) -> None:
        """Add one image: detections with boxes (N, 4) xyxy [px] and the true objects, both in its own frame.

        Raises InputError when the detections were made with other classes than this metric's, or an object
        has none of them.
        """
        check_classes("det", result.class_names, self.class_names)
        self._rows.next_image()
        for item in truth:
            self._rows.add_true(item.class_id, item.area, item.crowd, bbox=xywh(item.box))
        for box, score, class_id in zip(result.boxes, result.scores, result.classes, strict=True):
            x, y, width, height = xywh(box)
            self._rows.add_found(class_id, width * height, score, bbox=[x, y, width, height])

    def result(self) -> dict[str, float]:
        """The twelve COCO figures, `AP/<class>` for each class that occurs, and the counts."""
        return self._rows.figures()


def xywh(box: Sequence[float] | np.ndarray[Any, Any]) -> list[float]:
    """Box (4,) xyxy [px] -> corner, width and height [px], as COCO writes boxes."""
    x0, y0, x1, y1 = np.asarray(box, dtype=np.float64).tolist()
    return [x0, y0, x1 - x0, y1 - y0]
