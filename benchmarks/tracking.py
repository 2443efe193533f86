"""Asks how well the tracker keeps identities when boxes are noisy, missing or doubtful, at several rates.

Clips are rendered, and their true boxes spoilt as a detector would: sides are shifted, objects are missed,
some scores are low, some boxes have nothing under them. Each clip is then tracked as if det ran at 25, 12.5
and 5 Hz. Per rate: MOTA and how often an object's number changed (Bernardin & Stiefelhagen, "Evaluating
Multiple Object Tracking Performance: The CLEAR MOT Metrics", 2008), and IDF1 (Ristani et al., ECCV 2016
workshops), where boxes meet at IoU 0.5 and objects count from 100 px on. "high only" goes without ByteTrack's
round for low scores. Prints a table, then one JSON line.

    python benchmarks/tracking.py --clips 6 --frames 75
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.optimize import linear_sum_assignment

from argus_edge.results import Detections, Frame
from argus_edge.runtime.tracking import Tracker
from argus_edge.runtime.tracking.association import iou
from argus_edge.train.data.scenes import DET_CLASSES, FRAME_RATE, render_clip
from argus_edge.train.data.scenes.splits import get_split

MEETS: Final = 0.5  # [IoU]
FEWEST_PIXELS: Final = 100
STRIDES: Final = (1, 2, 5)  # of the frames that det looks at

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Truth:
    """The objects of one frame."""

    time: float  # [s]
    ids: NDArray[np.int64]  # (N,)
    classes: NDArray[np.int32]  # (N,)
    boxes: Floats  # (N, 4) xyxy [px]


@dataclass(frozen=True)
class Spoiling:
    """How a detector errs."""

    shift: float = 0.04  # standard deviation of each side, as a share of the box's width or height
    missed: float = 0.1  # share of the objects
    doubtful: float = 0.2  # share of the objects with a score of 0.15 to 0.45, instead of 0.6 to 1
    false: float = 0.3  # boxes per frame with nothing under them, scores of 0.1 to 0.6


def clip_truth(seed: int, frames: int, size: int) -> list[Truth]:
    """The true boxes of a rendered clip."""
    truths = []
    for number, scene in enumerate(render_clip(seed, frames, size)):
        objects = [thing for thing in scene.objects if thing.visible_pixels >= FEWEST_PIXELS]
        boxes = np.array([thing.box for thing in objects], np.float64).reshape(-1, 4)
        ids = np.array([thing.instance_id for thing in objects], np.int64)
        classes = np.array([thing.class_id for thing in objects], np.int32)
        truths.append(Truth(number / FRAME_RATE, ids, classes, boxes))
    return truths


def spoilt(truth: Truth, spoiling: Spoiling, size: int, random: np.random.Generator) -> Detections:
    """What a detector would say."""
    seen = random.random(len(truth.ids)) >= spoiling.missed
    boxes, classes = truth.boxes[seen], truth.classes[seen]
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    boxes = boxes + random.normal(0, spoiling.shift, boxes.shape) * sides
    doubtful = random.random(len(boxes)) < spoiling.doubtful
    scores = np.where(doubtful, random.uniform(0.15, 0.45, len(boxes)), random.uniform(0.6, 1, len(boxes)))
    false = random.poisson(spoiling.false)
    corners = random.uniform(0, 0.8 * size, (false, 2))
    extents = random.uniform(0.1, 0.3, (false, 2)) * size
    boxes = np.concatenate([boxes, np.concatenate([corners, corners + extents], axis=1)])
    scores = np.concatenate([scores, random.uniform(0.1, 0.6, false)])
    classes = np.concatenate([classes, random.integers(0, len(DET_CLASSES), false)])
    order = np.argsort(-scores, kind="stable")
    singles = boxes[order].astype(np.float32), scores[order].astype(np.float32)
    return Detections(*singles, classes[order].astype(np.int32), DET_CLASSES)


class Score:
    """CLEAR MOT's and IDF1's counts over one or more clips."""

    def __init__(self) -> None:
        self.true = self.given = self.met = self.switches = self.identified = 0

    def add(self, truths: Sequence[Truth], tracked: Sequence[Detections]) -> None:
        """Count one clip."""
        last: dict[int, int] = {}
        together: Counter[tuple[int, int]] = Counter()
        for truth, found in zip(truths, tracked, strict=True):
            assert found.track_ids is not None
            self.true += len(truth.ids)
            self.given += len(found)
            overlap = iou(truth.boxes, found.boxes)
            together.update(
                (int(truth.ids[row]), int(found.track_ids[column]))
                for row, column in zip(*np.nonzero(overlap >= MEETS), strict=True)
            )
            rows, columns = linear_sum_assignment(-overlap)
            for row, column in zip(rows, columns, strict=True):
                if overlap[row, column] >= MEETS:
                    thing, track = int(truth.ids[row]), int(found.track_ids[column])
                    self.met += 1
                    self.switches += last.setdefault(thing, track) != track
                    last[thing] = track
        self.identified += _identified(together)

    def figures(self) -> dict[str, float]:
        """MOTA, IDF1, switches, and how often an object could have switched."""
        errors = (self.true - self.met) + (self.given - self.met) + self.switches
        return {
            "mota": round(1 - errors / self.true, 4),
            "idf1": round(2 * self.identified / (self.true + self.given), 4),
            "switches": self.switches,
            "objects": self.true,
        }


def _identified(together: Counter[tuple[int, int]]) -> int:
    """Most boxes that one track for each object can have right."""
    things, tracks = (sorted({pair[side] for pair in together}) for side in (0, 1))
    times = np.zeros((len(things), len(tracks)), np.int64)
    for (thing, track), count in together.items():
        times[things.index(thing), tracks.index(track)] = count
    return int(times[linear_sum_assignment(-times)].sum())


def measure(
    clips: Iterable[Sequence[Truth]], stride: int, size: int, low: float, spoiling: Spoiling
) -> dict[str, float]:
    """Track clips of which every `stride`-th frame is looked at; every draw comes from the clip's number."""
    score = Score()
    for number, truths in enumerate(clips):
        random, tracker = np.random.default_rng(number), Tracker(low=low)
        looked_at = truths[::stride]
        frames = [Frame(size, size, {"det": spoilt(truth, spoiling, size, random)}) for truth in looked_at]
        tracked = [tracker(frame, truth.time) for frame, truth in zip(frames, looked_at, strict=True)]
        score.add(looked_at, [frame.det for frame in tracked])
    return score.figures()


def parser() -> argparse.ArgumentParser:
    """Options of the benchmark."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--clips", type=int, default=6, help="(default: %(default)s)")
    p.add_argument("--frames", type=int, default=75, help="of each, 25 per second (default: %(default)s)")
    p.add_argument("--size", type=int, default=128, help="[px] (default: %(default)s)")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    options = parser().parse_args(argv)
    split = get_split("clips")
    clips = [clip_truth(split.seed(index), options.frames, options.size) for index in range(options.clips)]
    table = Table("det at", "tracker", "MOTA", "IDF1", "switches", "objects")
    rows = []
    for stride in STRIDES:
        for name, low in (("ByteTrack", 0.1), ("high only", 0.5)):
            figures = measure(clips, stride, options.size, low, Spoiling())
            rows.append({"hz": FRAME_RATE / stride, "tracker": name, **figures})
            table.add_row(f"{FRAME_RATE / stride:g} Hz", name, *map(str, figures.values()))
    Console().print(table)
    print(json.dumps({**vars(options), "rows": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
