"""The images that quantisation and parity look at: scenes, a data set, or images of the user's own."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import InputError
from argus_edge.runtime.preprocess import preprocess
from argus_edge.runtime.sources import open_source
from argus_edge.spec import ImageSpec
from argus_edge.train.data.dataset import LabelledImages
from argus_edge.train.data.readers import READERS
from argus_edge.train.data.scenes import render
from argus_edge.train.data.scenes.splits import get_split
from argus_edge.train.sources import open_part

RENDER_PROCESSES: Final = 2
SCENES: Final = "scenes"

Item = TypeVar("Item")


@dataclass(frozen=True)
class CalibrationSet:
    """Network inputs (1, S, S, 3) uint8 RGB, and where they came from."""

    source: str
    images: tuple[NDArray[np.uint8], ...]

    @property
    def sha256(self) -> str:
        digest = hashlib.sha256()
        for image in self.images:
            digest.update(image.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class CalibrationSource:
    """Where images to calibrate on come from; known to be there, but not read yet."""

    title: str  # for people
    read: Callable[[int, ImageSpec, Callable[[], None]], CalibrationSet]
    """(how many at most, network input, called after each image) -> the images.

    Raises InputError for none.
    """


def find_calibration(text: str, tasks: Sequence[str]) -> CalibrationSource:
    """What --calibration names: "scenes", LAYOUT:PATH[@SPLIT] as training takes it, or a folder or video.

    Of a data set it is the part that is learnt from, if none is named. Its labels are not looked at, but
    opened where it has some of `tasks`.

    Raises InputError where there is nothing of the kind.
    """
    if text == SCENES:
        return CalibrationSource("rendered scenes that training never sees", scene_set)
    if text.partition(":")[0] in READERS:
        reader = READERS[text.partition(":")[0]]
        told = [task for task in tasks if task in reader.tasks] or reader.tasks[:1]
        images = open_part(text, told)

        def read(count: int, spec: ImageSpec, advance: Callable[[], None]) -> CalibrationSet:
            return data_set(images, count, spec, advance)

        return CalibrationSource(f"images from all over {images.title}", read)
    path = Path(text)
    if not path.exists():
        raise InputError(
            f"--calibration {text}: expected 'scenes', LAYOUT:PATH[@SPLIT] with one of the layouts "
            f"{', '.join(READERS)}, or a folder of images or a video; there is no such file or folder"
        )

    def read_folder(count: int, spec: ImageSpec, advance: Callable[[], None]) -> CalibrationSet:
        return folder_set(path, count, spec, advance)

    return CalibrationSource(f"first images of {path}", read_folder)


def scene_set(count: int, spec: ImageSpec, advance: Callable[[], None]) -> CalibrationSet:
    """`count` scenes of the calibration split, which neither training nor validation sees."""
    split = get_split("calibration")
    seeds = [split.seed(i) for i in range(count)]
    images = []
    pool = ProcessPoolExecutor(RENDER_PROCESSES, get_context("spawn"))
    try:
        with _interrupts_held_back():
            rendered = pool.map(_render, seeds, [max(spec.height, spec.width)] * count, chunksize=8)
        for image in rendered:
            images.append(preprocess(image, spec)[0])
            advance()
    finally:
        pool.shutdown(cancel_futures=True)
    return CalibrationSet(SCENES, tuple(images))


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Ctrl-C waits, and never comes to processes that are started meanwhile: this one tells them to stop."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def data_set(
    data: LabelledImages, count: int, spec: ImageSpec, advance: Callable[[], None]
) -> CalibrationSet:
    """`count` images from all over a data set, or all it has. Raises InputError when none can be used."""
    images = []
    usable = (e.image for i in _spread(len(data), count) if (e := data[i]) is not None)
    for image in islice(usable, count):
        images.append(preprocess(image, spec)[0])
        advance()
    if not images:
        raise InputError(f"{data.title}: no image to calibrate on; {len(data)} are listed, none can be used")
    return CalibrationSet(data.title.partition(" in ")[0], tuple(images))


def folder_set(folder: Path, count: int, spec: ImageSpec, advance: Callable[[], None]) -> CalibrationSet:
    """The first `count` images of a folder or frames of a video. Raises InputError when it has none."""
    images: list[NDArray[np.uint8]] = []
    with open_source(folder) as source:
        for frame in source:
            if len(images) == count:
                break
            images.append(preprocess(frame.image, spec)[0])
            advance()
    if not images:
        raise InputError(f"{folder}: no image to calibrate on")
    return CalibrationSet(folder.name or str(folder), tuple(images))


def _render(seed: int, size: int) -> NDArray[np.uint8]:
    return render(seed, size).image


def _spread(length: int, count: int) -> Iterator[int]:
    """`count` places from all over `length`, and then those left, for where some cannot be used."""
    first = dict.fromkeys(evenly(length, count))
    yield from first
    yield from (index for index in range(length) if index not in first)


def evenly(length: int, count: int) -> list[int]:
    """At most `count` of the indices below `length`, spread over all of them."""
    picks = np.linspace(0, length - 1, min(count, length)).round().astype(int)
    return list(dict.fromkeys(picks.tolist()))


def sample_evenly(items: Sequence[Item], count: int) -> list[Item]:
    """At most `count` items, spread over the whole sequence."""
    return [items[i] for i in evenly(len(items), count)]
