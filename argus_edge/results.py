"""What a frame gives: small frozen records of arrays, in the original image's frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import TaskError
from argus_edge.tasks import TASKS, require_built

__all__ = ["DenseMap", "Detections", "Frame", "LabelMap", "Result"]


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """N boxes, best first. `classes` index `class_names`."""

    boxes: NDArray[np.float32]  # (N, 4) xyxy [px], continuous: pixel i covers [i, i + 1)
    scores: NDArray[np.float32]  # (N,) in [0, 1], descending
    classes: NDArray[np.int32]  # (N,)
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.boxes)

    def to_json(self) -> dict[str, Any]:
        """Return {"boxes": [{"class", "score", "xyxy"}, ...]}, xyxy in [px]."""
        rows = zip(self.boxes.tolist(), self.scores.tolist(), self.classes.tolist(), strict=True)
        boxes = [
            {"class": self.class_names[c], "score": round(s, 4), "xyxy": [round(v, 2) for v in box]}
            for box, s, c in rows
        ]
        return {"boxes": boxes}

    def to_coco(self, image_id: int = 0) -> list[dict[str, Any]]:
        """Return COCO result records: `bbox` as xywh [px], `category_id` counted from 0 as in `classes`."""
        rows = zip(self.boxes.tolist(), self.scores.tolist(), self.classes.tolist(), strict=True)
        return [
            {"image_id": image_id, "category_id": c, "bbox": [x0, y0, x1 - x0, y1 - y0], "score": s}
            for (x0, y0, x1, y1), s, c in rows
        ]


@dataclass(frozen=True, slots=True, eq=False)
class LabelMap:
    """One class id per pixel; ids index `class_names`, others (255) mean no class."""

    labels: NDArray[np.uint8]  # (H, W)
    class_names: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the size [px] and the share of the pixels, 0-1, of each class that occurs."""
        height, width = self.labels.shape
        counts = np.bincount(self.labels.ravel(), minlength=len(self.class_names))
        fractions = {
            name: round(float(count) / self.labels.size, 6)
            for name, count in zip(self.class_names, counts, strict=False)
            if count
        }
        return {"height": height, "width": width, "fractions": fractions}


@dataclass(frozen=True, slots=True, eq=False)
class DenseMap:
    """One measured value per pixel, in `unit`."""

    values: NDArray[np.float32]  # (H, W)
    unit: str

    def to_json(self) -> dict[str, Any]:
        """Return the size [px], the unit, and the least, median and greatest value."""
        height, width = self.values.shape
        figures = {"min": self.values.min(), "median": np.median(self.values), "max": self.values.max()}
        rounded = {name: round(float(value), 4) for name, value in figures.items()}
        return {"height": height, "width": width, "unit": self.unit, **rounded}


Result = Detections | LabelMap | DenseMap
_R = TypeVar("_R", Detections, LabelMap, DenseMap)


@dataclass(frozen=True, eq=False)
class Frame:
    """The results of one image. A task that was not run raises TaskError when asked for.

    Attributes:
        image_height, image_width: size of the image the results belong to [px].
        results: task name -> result, in the order in which the tasks were run.
        timings: stage name -> time it took [ms].
    """

    image_height: int
    image_width: int
    results: Mapping[str, Result]
    timings: Mapping[str, float] = field(default_factory=dict)

    @property
    def det(self) -> Detections:
        """The detected objects."""
        return self._result("det", Detections)

    @property
    def seg(self) -> LabelMap:
        """The semantic class of each pixel."""
        return self._result("seg", LabelMap)

    @property
    def depth(self) -> DenseMap:
        """The distance of each pixel along the optical axis [m]."""
        return self._result("depth", DenseMap)

    def to_json(self) -> dict[str, Any]:
        """Return a dict that json.dumps accepts: image size [px], one entry per task, timings [ms]."""
        return {
            "image": {"height": self.image_height, "width": self.image_width},
            "results": {task: result.to_json() for task, result in self.results.items()},
            "timings_ms": {stage: round(ms, 3) for stage, ms in self.timings.items()},
        }

    def draw(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a copy of `image` (H, W, 3) uint8 RGB, the one they came from, with the results on it."""
        from argus_edge.runtime.draw import draw  # the runtime imports the contract, not the other way round

        return draw(image, self)

    def _result(self, task: str, kind: type[_R]) -> _R:
        result = self.results.get(task)
        if not isinstance(result, kind):
            self._refuse(task)
        return result

    def _refuse(self, task: str) -> NoReturn:
        require_built(task)
        ran = ", ".join(self.results) or "none"
        raise TaskError(f"task {task!r} was not run on this frame; tasks run: {ran}")

    def __getattr__(self, name: str) -> NoReturn:
        # Reached only for names that are neither fields nor properties, such as tasks not built yet.
        if name in TASKS:
            self._refuse(name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
