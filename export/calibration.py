"""The images that quantisation and parity look at: rendered scenes, or a folder of the user's own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import InputError
from argus_edge.runtime.preprocess import preprocess
from argus_edge.runtime.sources import open_source
from argus_edge.spec import ImageSpec
from argus_edge.train.data.scenes import render
from argus_edge.train.data.scenes.splits import get_split

RENDER_PROCESSES = 2


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


def scene_set(count: int, spec: ImageSpec, advance: Callable[[], None]) -> CalibrationSet:
    """`count` scenes of the calibration split, which neither training nor validation sees."""
    split = get_split("calibration")
    seeds = [split.seed(i) for i in range(count)]
    images = []
    with ProcessPoolExecutor(RENDER_PROCESSES, mp_context=get_context("spawn")) as pool:
        for image in pool.map(_render, seeds, [max(spec.height, spec.width)] * count, chunksize=8):
            images.append(preprocess(image, spec)[0])
            advance()
    return CalibrationSet("scenes", tuple(images))


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


def sample_evenly(items: Sequence[NDArray[np.uint8]], count: int) -> list[NDArray[np.uint8]]:
    """At most `count` items, spread over the whole sequence."""
    picks = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
    return [items[i] for i in dict.fromkeys(picks.tolist())]
