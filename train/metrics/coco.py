"""What is true and what was found in a set of images, as the rows that pycocotools measures.

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014; https://cocodataset.org/#detection-eval.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from argus_edge.dependencies import require
from argus_edge.errors import InputError

MAX_DETECTIONS: Final = 100
# The order of COCOeval.stats for boxes and masks.
FIGURES: Final = (
    "AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large",
    "AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large",
)  # fmt: skip


class CocoRows:
    """Collects rows image by image and hands them to COCOeval.

    Raises DependencyError when pycocotools is not installed.
    """

    def __init__(
        self,
        kind: Literal["bbox", "segm", "keypoints"],
        class_names: Sequence[str],
        max_detections: Sequence[int] = (1, 10, MAX_DETECTIONS),
        sigmas: NDArray[np.float64] | None = None,
    ) -> None:
        self.kind = kind
        self.class_names = tuple(class_names)
        self.max_detections = list(max_detections)
        self.sigmas = sigmas  # of keypoints
        # Asked for here: a missing library should not be found after an hour of predictions.
        self._coco = require("pycocotools.coco", "train")
        self._cocoeval = require("pycocotools.cocoeval", "train")
        self._images: list[dict[str, int]] = []
        self._truth: list[dict[str, Any]] = []
        self._found: list[dict[str, Any]] = []

    def next_image(self, height: int = 0, width: int = 0) -> None:
        """Begin an image, to which the rows that follow belong. Its size [px] matters to masks only."""
        self._images.append({"id": len(self._images) + 1, "height": height, "width": width})

    def add_true(self, class_id: int, area: float, crowd: bool = False, **fields: Any) -> None:
        """Add a true object of `area` [px]; what is found inside a crowd is neither right nor wrong.

        Raises InputError for a class that there is not, which pycocotools would pass over.
        """
        if not 0 <= class_id < len(self.class_names):
            raise InputError(f"true object of class {class_id} but there are {len(self.class_names)} classes")
        row = self._row(self._truth, class_id, area) | {"iscrowd": int(crowd)}
        self._truth.append(row | fields)

    def add_found(self, class_id: int, area: float, score: float, **fields: Any) -> None:
        """Add something that was found, of `area` [px]."""
        row = self._row(self._found, class_id, area) | {"iscrowd": 0, "score": float(score)}
        self._found.append(row | fields)

    def figures(self, names: Sequence[str] = FIGURES) -> dict[str, float]:
        """COCOeval's figures under `names`, `AP/<class>` for each class that occurs, and the counts."""
        counts = {"images": len(self._images), "objects": len(self._truth), "detections": len(self._found)}
        figures: dict[str, float] = {}
        if self._truth:
            evaluation = self._evaluate()
            # pycocotools answers -1 where there is nothing to measure.
            figures = dict(zip(names, map(float, evaluation.stats), strict=True))
            precision = evaluation.eval["precision"]  # (threshold, recall, class, area range, maxDets)
            for index, name in enumerate(self.class_names):
                figures[f"AP/{name}"] = float(precision[:, :, index, 0, -1].mean())
        return {k: v for k, v in figures.items() if v >= 0} | {k: float(v) for k, v in counts.items()}

    def _row(self, rows: list[dict[str, Any]], class_id: int, area: float) -> dict[str, Any]:
        # Ids begin at 1: COCOeval writes the matched id into an array where 0 means "not matched".
        row = {"id": len(rows) + 1, "image_id": len(self._images)}
        return row | {"category_id": int(class_id), "area": float(area)}

    def _evaluate(self) -> Any:
        categories = [{"id": i, "name": name} for i, name in enumerate(self.class_names)]
        with contextlib.redirect_stdout(io.StringIO()):
            sides = []
            for rows in (self._truth, self._found):
                side = self._coco.COCO()
                side.dataset = {"images": self._images, "categories": categories}
                # Not copied: what pycocotools writes into them is the same each time.
                side.dataset["annotations"] = rows
                side.createIndex()
                sides.append(side)
            evaluation = self._cocoeval.COCOeval(*sides, iouType=self.kind)
            evaluation.params.maxDets = self.max_detections
            if self.sigmas is not None:
                evaluation.params.kpt_oks_sigmas = self.sigmas
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return evaluation
