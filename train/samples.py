"""A few validation images with truth and prediction side by side, as small JPEG pictures."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np

from argus_edge.results import Result
from argus_edge.train.data.example import Example
from argus_edge.train.pictures import Pixels, draw_both
from argus_edge.train.truth import true_result

COUNT: Final = 4  # images of a task
SIDE: Final = 320  # longest side of the truth and of the prediction in a picture [px]
GAP: Final = 4  # between them [px]
QUALITY: Final = 85  # of JPEG


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a task: truth on the left, prediction on the right."""

    task: str
    image: str  # its name in the data set
    width: int  # of the picture [px]
    height: int  # [px]
    jpeg: bytes


class Samples:
    """Takes what `evaluate` shows it, and draws up to COUNT images of each task, spread over the set."""

    def __init__(self, images: int, classes: Mapping[str, Sequence[str]]) -> None:
        """`images` is how many there will be, `classes` names those of each task's results."""
        self._places = [round(i * max(0, images - 1) / (COUNT - 1)) for i in range(COUNT)]
        self._classes = classes
        self._seen: Counter[str] = Counter()
        self._kept: defaultdict[str, list[Sample]] = defaultdict(list)

    def add(self, task: str, example: Example, result: Result, truth: Any) -> None:  # noqa: ARG002
        """Take one image of a task; of pose, images without people are passed over."""
        if task == "pose" and not len(example.people().keypoints):
            return
        kept, seen = self._kept[task], self._seen[task]
        self._seen[task] += 1
        if len(kept) == COUNT or seen < self._places[len(kept)]:
            return
        names = self._classes.get(task, ())
        if true_result(task, example, names) is not None:
            kept.append(_sample(task, example, result, names))

    @property
    def pictures(self) -> list[Sample]:
        """Task by task, in the order of the images."""
        return [sample for kept in self._kept.values() for sample in kept]


def _sample(task: str, example: Example, result: Result, names: Sequence[str]) -> Sample:
    prediction, truth = (_shrunk(picture) for picture in draw_both(task, example, result, names))
    gap = np.full((truth.shape[0], GAP, 3), 255, np.uint8)
    both = np.hstack([truth, gap, prediction])
    encoded = cv2.imencode(".jpg", cv2.cvtColor(both, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return Sample(task, example.name, both.shape[1], both.shape[0], encoded[1].tobytes())


def _shrunk(picture: Pixels) -> Pixels:
    height, width = picture.shape[:2]
    scale = SIDE / max(height, width)
    if scale >= 1:
        return picture
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
