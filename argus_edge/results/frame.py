"""The results of one image, under the names of their tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import TaskError
from argus_edge.results.labels import Classification
from argus_edge.results.maps import AnomalyMap, DenseMap, LabelMap, NormalMap, PanopticMap
from argus_edge.results.objects import Detections, Instances, Keypoints

Result: TypeAlias = (
    Detections
    | Instances
    | PanopticMap
    | LabelMap
    | DenseMap
    | NormalMap
    | Keypoints
    | Classification
    | AnomalyMap
)
_R = TypeVar("_R", bound=Result)


@dataclass(frozen=True, eq=False)
class Frame:
    """The results of one image, `frame.seg` or `frame["seg"]`. A task that was not run raises TaskError.

    Attributes:
        image_height, image_width: size of the image the results belong to [px].
        results: task name -> result, in the order in which the tasks were run.
        timings: stage name -> time it took [ms].
        missing: task -> why it has no result here: "not due", "late", "yielded" or "failed: ...".
        age_ms: from the capture of the image to its results [ms]; None where no runtime made them.
    """

    image_height: int
    image_width: int
    results: Mapping[str, Result]
    timings: Mapping[str, float] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    age_ms: float | None = None

    @property
    def det(self) -> Detections:
        """The detected objects."""
        return self._result("det", Detections)

    @property
    def inst(self) -> Instances:
        """The detected objects with their masks."""
        return self._result("inst", Instances)

    @property
    def pan(self) -> PanopticMap:
        """The thing or stuff that each pixel belongs to."""
        return self._result("pan", PanopticMap)

    @property
    def seg(self) -> LabelMap:
        """The semantic class of each pixel."""
        return self._result("seg", LabelMap)

    @property
    def parse(self) -> LabelMap:
        """The part of the human body at each pixel."""
        return self._result("parse", LabelMap)

    @property
    def sal(self) -> DenseMap:
        """The probability, 0-1, that each pixel belongs to what stands out."""
        return self._result("sal", DenseMap)

    @property
    def edge(self) -> DenseMap:
        """The probability, 0-1, that the border of an object runs through each pixel."""
        return self._result("edge", DenseMap)

    @property
    def depth(self) -> DenseMap:
        """The distance of each pixel along the optical axis [m]."""
        return self._result("depth", DenseMap)

    @property
    def normal(self) -> NormalMap:
        """The direction of the surface at each pixel."""
        return self._result("normal", NormalMap)

    @property
    def pose(self) -> Keypoints:
        """The keypoints of each person."""
        return self._result("pose", Keypoints)

    @property
    def cls(self) -> Classification:
        """The class of the image as a whole."""
        return self._result("cls", Classification)

    @property
    def anom(self) -> AnomalyMap:
        """How strange each pixel, and the image, is for an item of each category."""
        return self._result("anom", AnomalyMap)

    def __getitem__(self, task: str) -> Result:
        """Return the result of any task by its name; those from outside have no other way."""
        try:
            return self.results[task]
        except KeyError:
            raise self._not_run(task) from None

    def to_json(self) -> dict[str, Any]:
        """Return a dict that json.dumps accepts: image size [px], one entry per task, timings [ms]."""
        told: dict[str, Any] = {
            "image": {"height": self.image_height, "width": self.image_width},
            "results": {task: result.to_json() for task, result in self.results.items()},
            "timings_ms": {stage: round(ms, 3) for stage, ms in self.timings.items()},
        }
        if self.missing:
            told["missing"] = dict(self.missing)
        if self.age_ms is not None:
            told["age_ms"] = round(self.age_ms, 3)
        return told

    def draw(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a copy of `image` (H, W, 3) uint8 RGB, the one they came from, with the results on it."""
        from argus_edge.runtime.draw import draw  # the runtime imports the contract, not the other way round

        return draw(image, self)

    def _result(self, task: str, kind: type[_R]) -> _R:
        result = self.results.get(task)
        if not isinstance(result, kind):
            raise self._not_run(task)
        return result

    def _not_run(self, task: str) -> TaskError:
        ran = ", ".join(self.results) or "none"
        why = f" ({self.missing[task]})" if task in self.missing else ""
        return TaskError(f"task {task!r} was not run on this frame{why}; tasks run: {ran}")
