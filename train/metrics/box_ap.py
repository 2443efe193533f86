"""Box average precision and recall as COCO defines them, computed by pycocotools itself.

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014; https://cocodataset.org/#detection-eval.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any, Final, Protocol

import numpy as np

from argus_edge.dependencies import require
from argus_edge.results import Detections
from argus_edge.train.metrics.metric import check_classes

MAX_DETECTIONS: Final = 100
# The order of COCOeval.stats.
FIGURES: Final = (
    "AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large",
    "AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large",
)  # fmt: skip


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
    def visible_pixels(self) -> int:
        """Area of its mask [px]: COCO sorts objects into small, medium and large by it, not by the box."""
        ...


class BoxTruth(Protocol):
    """Anything with objects: a rendered scene, or a sample of a dataset."""

    @property
    def objects(self) -> Sequence[TrueObject]:
        """The objects to be found; none is fine."""
        ...


class BoxAP:
    """AP over IoU 0.50:0.05:0.95, AP50, AP75, by size, and AR, as fractions in [0, 1].

    Small is below 32^2 px of mask, large above 96^2 px; at most 100 detections per image and class; crowds
    do not exist. Classes without an object in the whole set do not enter any mean. Equal scores rank in the
    order of the images, as in pycocotools. With no object at all only the counts `objects`, `detections`
    and `images` remain; with objects and no detection AP is 0.

    Raises DependencyError when pycocotools is not installed.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = tuple(class_names)
        # Asked for here: a missing library should not be found after an hour of predictions.
        self._coco = require("pycocotools.coco", "train")
        self._cocoeval = require("pycocotools.cocoeval", "train")
        self._images = 0
        self._truth: list[dict[str, Any]] = []
        self._found: list[dict[str, Any]] = []

    @property
    def protocol(self) -> str:
        """Names the protocol."""
        return f"COCO box AP@[.50:.95], pycocotools, maxDets {MAX_DETECTIONS}"

    def update(self, result: Detections, truth: BoxTruth) -> None:
        """Add one image: detections with boxes (N, 4) xyxy [px] and the true objects, both in its own frame.

        Raises InputError when the detections were made with other classes than this metric's.
        """
        check_classes("det", result.class_names, self.class_names)
        self._images += 1
        for item in truth.objects:
            box = np.asarray(item.box, dtype=np.float64)
            self._truth.append(self._row(self._truth, box, item.class_id, float(item.visible_pixels)))
        boxes = np.asarray(result.boxes, dtype=np.float64).reshape(-1, 4)
        for box, score, class_id in zip(boxes, result.scores, result.classes, strict=True):
            area = float((box[2] - box[0]) * (box[3] - box[1]))
            self._found.append(self._row(self._found, box, class_id, area) | {"score": float(score)})

    def result(self) -> dict[str, float]:
        """The twelve COCO figures, `AP/<class>` for each class that occurs, and the counts."""
        counts = {"images": self._images, "objects": len(self._truth), "detections": len(self._found)}
        figures: dict[str, float] = {}
        if self._truth:
            evaluation = self._evaluate()
            # pycocotools answers -1 where there is nothing to measure.
            figures = dict(zip(FIGURES, map(float, evaluation.stats), strict=True))
            precision = evaluation.eval["precision"]  # (IoU, recall, class, area range, maxDets)
            for index, name in enumerate(self.class_names):
                figures[f"AP/{name}"] = float(precision[:, :, index, 0, -1].mean())
        return {k: v for k, v in figures.items() if v >= 0} | {k: float(v) for k, v in counts.items()}

    def _row(
        self, rows: list[dict[str, Any]], box: np.ndarray[Any, Any], class_id: int, area: float
    ) -> dict[str, Any]:
        # Ids begin at 1: COCOeval writes the matched id into an array where 0 means "not matched".
        return {
            "id": len(rows) + 1,
            "image_id": self._images,
            "category_id": int(class_id),
            "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
            "area": area,
            "iscrowd": 0,
        }

    def _evaluate(self) -> Any:
        images = [{"id": i} for i in range(1, self._images + 1)]
        categories = [{"id": i, "name": name} for i, name in enumerate(self.class_names)]
        with contextlib.redirect_stdout(io.StringIO()):
            sides = []
            for rows in (self._truth, self._found):
                side = self._coco.COCO()
                side.dataset = {"images": images, "categories": categories}
                side.dataset["annotations"] = [dict(row) for row in rows]  # pycocotools writes into them
                side.createIndex()
                sides.append(side)
            evaluation = self._cocoeval.COCOeval(*sides, iouType="bbox")
            evaluation.params.maxDets = [1, 10, MAX_DETECTIONS]
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return evaluation
