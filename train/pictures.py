"""The images on which a model does worst, as pictures: prediction beside truth."""

from __future__ import annotations

import heapq
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import InputError
from argus_edge.results import AnomalyMap, DenseMap, Frame, Result
from argus_edge.runtime.draw import draw_apart
from argus_edge.runtime.draw.maps import value_span
from argus_edge.tasks import get_task
from argus_edge.train.data.example import Example
from argus_edge.train.metrics import Metric, TaskMetric
from argus_edge.train.truth import true_result

Pixels = NDArray[np.uint8]  # (H, W, 3) RGB

PANEL: Final = 960  # longest side of prediction and of truth in a picture [px]
LEAST: Final = 480  # small images are enlarged to this [px]
BAR: Final = 30  # height of a line of text [px]
LETTERS: Final = 0.55  # scale of the font
GAP: Final = 6  # [px]
GROUND: Final = 24  # grey behind the panels
INDEX: Final = "worst.json"  # lists the pictures beside it
NAME: Final = 60  # characters of an image's name in a file name
OURS: Final = re.compile(r"[a-z][a-z0-9_]*-\d{2,}--?\d+\.\d{4}-[\w.+-]*\.png", re.ASCII)  # as `Picture.file`


@dataclass(frozen=True, slots=True)
class Picture:
    """One of the worst images of a task."""

    task: str
    rank: int  # 1 is the worst
    image: str  # its name in the data set
    figure: str
    value: float
    png: bytes

    @property
    def file(self) -> str:
        """A name that is safe and, by task and rank, used once."""
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", self.image)[-NAME:].strip("._-")
        return f"{self.task}-{self.rank:02d}-{self.value:.4f}-{name}.png"


class WorstImages:
    """Keeps, for each task, the `count` images whose primary figure is lowest (of an error: highest).

    The figure of an image is that of a new metric which has seen this image only. Where the primary figure
    needs several images, as the AUROC of images does, the next headline figure that one image has stands in.
    Images without any, for example without an object to be found, are counted and left out.
    """

    def __init__(
        self,
        count: int,
        metrics: Mapping[str, TaskMetric],
        classes: Mapping[str, Sequence[str]],
        make: Callable[[str], Metric[Any, Any]],
    ) -> None:
        """`classes` names those of each task's results, `make` gives a new metric of a task."""
        self.count = count
        self.without: Counter[str] = Counter()  # task -> images without a figure
        self._metrics, self._classes, self._make = metrics, classes, make
        self._seen = 0
        # Per task a heap with the best of the worst on top: (badness, -order, name, figure, value, PNG).
        self._kept: dict[str, list[tuple[float, int, str, str, float, bytes]]] = {}

    def add(self, task: str, example: Example, result: Result, truth: Any) -> None:
        """Take one image of a task, with the result and the truth that its metric compares."""
        metric = self._make(task)
        metric.update(result, truth)
        figures = metric.result()
        figure = next((name for name in self._metrics[task].headline if name in figures), None)
        if figure is None:
            self.without[task] += 1
            return
        self._seen += 1
        value = figures[figure]
        badness = value if figure in self._metrics[task].errors else -value
        kept = self._kept.setdefault(task, [])
        if len(kept) == self.count and (badness, -self._seen) < kept[0][:2]:
            return
        caption = f"{get_task(task).title}   {figure} {value:.4f}   {example.name}"
        png = _encoded(task, example, result, self._classes.get(task, ()), caption)
        heapq.heappush(kept, (badness, -self._seen, example.name, figure, value, png))
        if len(kept) > self.count:
            heapq.heappop(kept)

    def pictures(self) -> list[Picture]:
        """What was kept, task by task, the worst first."""
        return [
            Picture(task, rank, *entry[2:])
            for task, kept in self._kept.items()
            for rank, entry in enumerate(sorted(kept, reverse=True), 1)
        ]


def prepare_folder(folder: Path) -> None:
    """Make the folder for pictures, before they are worked for.

    Raises InputError when it cannot be made, or holds a file that looks like a picture of ours but is not
    listed in its worst.json: what somebody else put there is not overwritten.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = {path.name for path in folder.iterdir() if OURS.fullmatch(path.name) or path.name == INDEX}
    except OSError as error:
        raise InputError(f"{folder}: cannot hold pictures: {error.strerror}") from error
    foreign = found - _listed(folder)
    if foreign:
        raise InputError(
            f"{folder}: holds {min(foreign)!r}, which no evaluation has written; choose another folder"
        )


def write_pictures(folder: Path, pictures: Sequence[Picture]) -> list[Path]:
    """Write the pictures and worst.json, in place of those of the evaluation before.

    Raises InputError as `prepare_folder` does, or when writing fails.
    """
    prepare_folder(folder)
    try:
        for name in _listed(folder):
            (folder / name).unlink(missing_ok=True)
        rows = [
            {
                "file": p.file,
                "task": p.task,
                "rank": p.rank,
                "image": p.image,
                "figure": p.figure,
                "value": p.value,
            }
            for p in pictures
        ]
        # The list first: wherever the writing ends, what is there will be known as ours.
        with (folder / INDEX).open("x", encoding="ascii") as file:
            json.dump({"made_by": "argus-eval", "worst": rows}, file, indent=2)
        for picture in pictures:
            with (folder / picture.file).open("xb") as target:
                target.write(picture.png)
    except OSError as error:
        raise InputError(f"{folder}: cannot write pictures: {error.strerror}") from error
    return [folder / picture.file for picture in pictures]


def _listed(folder: Path) -> set[str]:
    """The files of an earlier evaluation in the folder, its list included; none if that is not ours."""
    try:
        index = json.loads((folder / INDEX).read_text(encoding="ascii"))
        if index["made_by"] != "argus-eval":
            return set()
        return {INDEX} | {row["file"] for row in index["worst"] if OURS.fullmatch(row["file"])}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return set()


def draw_both(task: str, example: Example, result: Result, names: Sequence[str]) -> tuple[Pixels, Pixels]:
    """The prediction and the truth of one image, each drawn on it, (H, W, 3) uint8 RGB; depth in the colours
    of the truth's span.

    `names` are the task's classes. The example must say something about the task.
    """
    truth = true_result(task, example, names)
    assert truth is not None
    if isinstance(result, AnomalyMap) and isinstance(truth, AnomalyMap):
        values, score = result.of(truth.categories[0])
        result = AnomalyMap(values[None], np.array([score], np.float32), truth.categories)
    span = value_span(truth.values) if isinstance(truth, DenseMap) else None
    return _drawn(task, example, result, span), _drawn(task, example, truth, span)


def _drawn(task: str, example: Example, result: Result, span: tuple[float, float] | None) -> Pixels:
    height, width = example.image.shape[:2]
    ((_, drawn),) = draw_apart(example.image, Frame(height, width, {task: result}), span=span)
    return drawn


def _encoded(task: str, example: Example, result: Result, names: Sequence[str], caption: str) -> bytes:
    """The picture of one image as PNG."""
    prediction, truth = draw_both(task, example, result, names)
    panels = {"prediction": _panel(prediction), "truth": _panel(truth)}
    _, data = cv2.imencode(".png", cv2.cvtColor(_beside(panels, caption), cv2.COLOR_RGB2BGR))
    return data.tobytes()


def _panel(drawn: Pixels) -> Pixels:
    """The picture in a size to be looked at."""
    height, width = drawn.shape[:2]
    scale = min(max(max(height, width), LEAST), PANEL) / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    return drawn if scale == 1 else np.asarray(cv2.resize(drawn, size, interpolation=method), np.uint8)


def _beside(panels: Mapping[str, Pixels], caption: str) -> Pixels:
    """Panels of one size beside one another, each under its name, all under the caption."""
    height, width, _ = next(iter(panels.values())).shape
    canvas = np.full((2 * BAR + height, len(panels) * (width + GAP) - GAP, 3), GROUND, np.uint8)
    _write(canvas, caption, 0, 0, canvas.shape[1])
    for number, (name, panel) in enumerate(panels.items()):
        left = number * (width + GAP)
        canvas[2 * BAR :, left : left + width] = panel
        _write(canvas, name, left, BAR, width)
    return canvas


def _write(canvas: Pixels, text: str, left: int, top: int, width: int) -> None:
    """One line in a bar, in letters that fit into `width` [px]."""
    font, plain = cv2.FONT_HERSHEY_SIMPLEX, text.encode("ascii", "backslashreplace").decode()
    (extent, _), _ = cv2.getTextSize(plain, font, LETTERS, 1)
    scale = LETTERS * min(1.0, (width - 8) / max(extent, 1))
    cv2.putText(canvas, plain, (left + 4, top + BAR - 10), font, scale, (230, 230, 230), 1, cv2.LINE_AA)
