"""Measures how fast training data is read, augmented and put into batches, without a model.

Rendered pictures are written as COCO and ADE20K have theirs, read back by the readers of these layouts, and
augmented as `AUGMENTATIONS` says: boxes with large scale jitter, class maps with crops and other colours, and
both of one picture, which is then decoded twice, once by each reader. Wanted are 60 images per second with
two processes at 320 px. Prints a table, then one JSON line.

    python benchmarks/loader.py --workers 2
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import torch
from rich.console import Console
from rich.table import Table

from argus_edge.train.data.dataset import LabelledImages
from argus_edge.train.data.example import Example
from argus_edge.train.data.layouts import Plan, write_scenes
from argus_edge.train.data.readers import open_data
from argus_edge.train.loader import ExampleSamples, Steps, load_steps
from argus_edge.train.recipe import Phase

WANTED = 60.0  # images per second
BATCH = 8
WARM_UP = 4  # batches, until all workers run
CPU_IMAGES = 100  # read in this process, to count its CPU time


@dataclass(frozen=True)
class Speed:
    """What one data set did."""

    tasks: str
    images: int  # that were timed
    images_per_second: float
    cpu_ms_per_image: float  # of one process, reading and augmenting
    reading_cpu_ms_per_image: float  # of that, for reading alone


class SamePictures:
    """Two data sets of the same pictures as one: objects from the first, class maps from the second."""

    title = "COCO's objects on ADE20K's maps"
    tasks = ("det", "seg")

    def __init__(self, objects: LabelledImages, maps: LabelledImages) -> None:
        self.objects, self.maps = objects, maps
        self.classes = {**objects.classes, **maps.classes}
        self.metrics = {**objects.metrics, **maps.metrics}
        self.problems = maps.problems

    def __len__(self) -> int:
        return len(self.maps)

    def __getitem__(self, index: int) -> Example | None:
        told, mapped = self.objects[index], self.maps[index]
        return None if told is None or mapped is None else replace(mapped, objects=told.objects)


def measure(images: LabelledImages, tasks: tuple[str, ...], options: argparse.Namespace) -> Speed:
    """The speed of one data set, in batches from worker processes and of this process alone."""
    size, batches = (options.size, options.size), options.images // BATCH
    samples = ExampleSamples(images, tasks, seed=0)
    phases = [Phase(WARM_UP + batches, options.size, BATCH)]
    clock = time.perf_counter()
    steps = load_steps(Steps(None, [(samples, phases)]), range(WARM_UP + batches), options.workers)
    for number, _ in enumerate(steps, 1):
        if number == WARM_UP:
            clock = time.perf_counter()
    seconds = time.perf_counter() - clock
    return Speed(
        "+".join(tasks),
        batches * BATCH,
        round(batches * BATCH / seconds, 1),
        _cpu_ms(lambda position: samples.draw(position, size)),
        _cpu_ms(lambda position: images[position % len(images)]),
    )


def _cpu_ms(get: Callable[[int], object]) -> float:
    """CPU time of this process for each item [ms]; another load on the machine hardly changes it."""
    start = time.process_time()
    for position in range(CPU_IMAGES):
        get(position)
    return round((time.process_time() - start) * 1e3 / CPU_IMAGES, 2)


def show(speeds: list[Speed], size: int, workers: int) -> Table:
    """The figures of all data sets, and whether they are as wanted."""
    table = Table(title=f"{size} px, {workers} worker processes, batches of {BATCH}")
    for column in ("tasks", "images/s", f"at least {WANTED:.0f}", "CPU ms/image", "of it reading"):
        table.add_column(column, justify="left" if column == "tasks" else "right")
    for s in speeds:
        fast = "yes" if s.images_per_second >= WANTED else "no"
        figures = (
            f"{s.images_per_second:.1f}",
            fast,
            f"{s.cpu_ms_per_image}",
            f"{s.reading_cpu_ms_per_image}",
        )
        table.add_row(s.tasks, *figures)
    return table


def parser() -> argparse.ArgumentParser:
    """Options of the benchmark."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--pictures", type=int, default=200, help="that are rendered (default: %(default)s)")
    p.add_argument(
        "--size", type=int, default=320, help="of pictures and samples [px] (default: %(default)s)"
    )
    p.add_argument("--images", type=int, default=1200, help="that are timed (default: %(default)s)")
    p.add_argument("--workers", type=int, default=2, help="processes (default: %(default)s)")
    p.add_argument("--data", type=Path, help="folder to keep the pictures in (default: a temporary one)")
    return p


def run(options: argparse.Namespace, folder: Path) -> list[Speed]:
    """All figures, on pictures below `folder`, written where they are not there yet."""
    layouts = ("coco", "ade20k")
    write_scenes(Plan(folder, options.pictures + 2, 2, 0, (options.size, options.size), layouts))
    coco = open_data(f"coco:{folder / 'coco'}", "train", ("det",))
    ade20k = open_data(f"ade20k:{folder / 'ade20k'}", "train", ("seg",))
    return [measure(images, images.tasks, options) for images in (coco, ade20k, SamePictures(coco, ade20k))]


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    options = parser().parse_args(argv)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as temporary:
        speeds = run(options, options.data or Path(temporary))
    Console().print(show(speeds, options.size, options.workers))
    print(
        json.dumps({"size": options.size, "workers": options.workers, "speeds": [asdict(s) for s in speeds]})
    )
    return 0 if all(s.images_per_second >= WANTED for s in speeds) else 1


if __name__ == "__main__":
    sys.exit(main())
