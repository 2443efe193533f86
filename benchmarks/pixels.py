"""Asks what the compiled work on pixels gains over OpenCV and numpy, and what share of a frame it takes.

First each piece by itself, at two sizes of image: the network's input from RGB, BGR, NV12 and YUYV, against
OpenCV's conversion and its INTER_AREA, the one of its filters that looks at every pixel as well when an image
shrinks; then masks, panoptic merge and normals of twenty discs, against the references of the tests. Both
forms run on one thread, whose own time counts, in turn, round after round, so that a drifting machine
cancels; `times` is the median over the rounds of the other's time by ours.
Then whole frames of a package, from scenes.mp4 as they are and at 1920 x 1080: the share of preprocessing and
of the making of results. Wanted: at most 8 %. Prints two tables, then one JSON line.

    argus-export --tasks det,seg,depth --precision int8
    python -m benchmarks.pixels nano.argus
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from argus_edge import Runtime
from argus_edge.geometry import Letterbox
from argus_edge.runtime.decode.dense_map import map_to_image
from argus_edge.runtime.decode.masks import masks_to_image
from argus_edge.runtime.decode.normal_map import normals_to_image
from argus_edge.runtime.decode.panoptic import compete
from argus_edge.runtime.engines import default_threads
from argus_edge.runtime.machine import this_machine
from argus_edge.runtime.preprocess import PixelFormat, preprocess, to_rgb
from argus_edge.spec import ImageSpec
from tests.runtime.references import decode as reference

WANTED: Final = 0.08  # of a frame's time, at most
WARM_UP: Final = 2  # rounds
CLIP: Final = Path(__file__).parents[1] / "examples" / "scenes.mp4"
SIZES: Final = ((480, 640), (1080, 1920))  # of images (height, width) [px]
SIDE: Final = 320  # of the network's input [px]
DISCS: Final = 20

Pair = tuple[Callable[[], Any], Callable[[], Any]]  # ours, the other


def with_opencv(image: NDArray[np.uint8], spec: ImageSpec, pixel_format: PixelFormat) -> NDArray[np.uint8]:
    """The network's input (spec.height, spec.width, 3) as a program without this project would make it."""
    rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if pixel_format == "bgr" else to_rgb(image, pixel_format)
    letterbox = Letterbox(rgb.shape[0], rgb.shape[1], spec.height, spec.width)
    tensor = np.full((spec.height, spec.width, 3), spec.pad_color, np.uint8)
    inside = tensor[: letterbox.resized_height, : letterbox.resized_width]
    inside[:] = cv2.resize(rgb, inside.shape[1::-1], interpolation=cv2.INTER_AREA)
    return tensor


def frames(height: int, width: int) -> dict[PixelFormat, NDArray[np.uint8]]:
    """Noise in every format."""
    shapes: dict[PixelFormat, tuple[int, ...]] = {
        "rgb": (height, width, 3),
        "bgr": (height, width, 3),
        "nv12": (height * 3 // 2, width),
        "yuyv": (height, width, 2),
    }
    generator = np.random.default_rng(0)
    return {name: generator.integers(0, 256, shape, np.uint8) for name, shape in shapes.items()}


def discs(letterbox: Letterbox) -> NDArray[np.float32]:
    """Logits (DISCS, SIDE / 4, SIDE / 4) of discs of 3 to 30 % of the image's width, with soft borders."""
    generator = np.random.default_rng(0)
    cell = np.arange(SIDE // 4) * 4 + 1.5
    x = generator.uniform(0, letterbox.resized_width, (DISCS, 1, 1))
    y = generator.uniform(0, letterbox.resized_height, (DISCS, 1, 1))
    radius = letterbox.resized_width * generator.uniform(0.015, 0.15, (DISCS, 1, 1))
    return np.clip(radius - np.hypot(cell - x, cell[:, None] - y), -9, 9).astype(np.float32)


def questions(height: int, width: int) -> Iterator[tuple[str, Pair]]:
    """What is compared, by its name."""
    spec, letterbox = ImageSpec(SIDE, SIDE), Letterbox(height, width, SIDE, SIDE)
    for name, image in frames(height, width).items():
        yield (
            f"input from {name}",
            (
                lambda image=image, name=name: preprocess(image, spec, name),  # type: ignore[misc]
                lambda image=image, name=name: with_opencv(image, spec, name),  # type: ignore[misc]
            ),
        )
    logits, chosen = discs(letterbox), np.arange(DISCS)
    scores = np.linspace(1, 0.8, DISCS, dtype=np.float32)
    planes = np.random.default_rng(0).normal(0, 1, (3, SIDE, SIDE)).astype(np.float32)
    yield (
        f"{DISCS} masks",
        (
            lambda: masks_to_image(logits, chosen, letterbox),
            lambda: reference.masks_to_image(logits, chosen, letterbox),
        ),
    )
    yield (
        f"panoptic merge of {DISCS}",
        (
            lambda: compete(logits, scores, chosen, letterbox),
            lambda: reference.compete(logits, scores, chosen, letterbox),
        ),
    )
    yield (
        "values",
        (
            lambda: map_to_image(planes[0], letterbox),
            lambda: letterbox.map_to_image(planes[0], "bilinear"),
        ),
    )
    yield (
        "normals",
        (
            lambda: normals_to_image(planes, letterbox),
            lambda: reference.normals_to_image(planes, letterbox),
        ),
    )


def measure(pair: Pair, rounds: int) -> dict[str, float]:
    """The medians [ms] of ours and of the other, and how many times faster ours is."""
    times: tuple[list[float], list[float]] = ([], [])
    for round_ in range(WARM_UP + rounds):
        for run, taken in zip(pair, times, strict=True):
            start = time.thread_time()
            run()
            if round_ >= WARM_UP:
                taken.append(1e3 * (time.thread_time() - start))
    ours, other = map(np.array, times)
    return {
        "ours_ms": round(float(np.median(ours)), 3),
        "other_ms": round(float(np.median(other)), 3),
        "times": round(float(np.median(other / ours)), 2),
    }


def share_of_frame(runtime: Runtime, size: tuple[int, int], rounds: int) -> dict[str, float]:
    """The median frame [ms], and what part of it is spent before and after the graphs."""
    video = cv2.VideoCapture(str(CLIP))
    timings: list[Mapping[str, float]] = []
    while len(timings) < WARM_UP + rounds:
        read, image = video.read()
        if not read:
            video.set(cv2.CAP_PROP_POS_FRAMES, 0)
            continue
        resized = np.asarray(cv2.resize(image, size[::-1]), np.uint8)
        timings.append(runtime(resized[:, :, ::-1]).timings)
    totals = np.array([each["total"] for each in timings[WARM_UP:]])
    before = np.array([each["preprocess"] for each in timings[WARM_UP:]])
    after = np.array([sum(each[f"{t}.decode"] for t in runtime.tasks) for each in timings[WARM_UP:]])
    return {
        "frame_ms": round(float(np.median(totals)), 2),
        "preprocess_ms": round(float(np.median(before)), 2),
        "results_ms": round(float(np.median(after)), 2),
        "share": round(float(np.median((before + after) / totals)), 4),
    }


def parser() -> argparse.ArgumentParser:
    """Options of the benchmark."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("package", type=Path, help="NAME.argus to run whole frames of")
    p.add_argument("--tasks", default="det,seg,depth", help="of it (default: %(default)s)")
    p.add_argument("--rounds", type=int, default=20, help="(default: %(default)s)")
    p.add_argument(
        "--threads", type=int, default=default_threads(), help="of the engine (default: every core)"
    )
    p.add_argument("--json", action="store_true", help="print the JSON line alone")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; 0 where every frame leaves the graphs the time that is wanted."""
    options = parser().parse_args(argv)
    cv2.setNumThreads(1)  # as the extension's functions, which run beside one another
    pieces = Table("what", "image", "ours", "OpenCV, numpy", "times", title="by itself, p50 \\[ms]")
    wholes = Table("image", "frame", "preprocess", "results", "share", title=f"{options.tasks}, p50 \\[ms]")
    rows: dict[str, dict[str, float]] = {}
    for height, width in SIZES:
        for name, pair in questions(height, width):
            row = rows[f"{name}, {width}x{height}"] = measure(pair, options.rounds)
            shown = (f"{row['ours_ms']:.2f}", f"{row['other_ms']:.2f}", f"{row['times']:.1f}")
            pieces.add_row(name, f"{width}x{height}", *shown)
    shares: dict[str, dict[str, float]] = {}
    with Runtime(options.package, tasks=options.tasks.split(","), threads=options.threads) as runtime:
        for height, width in SIZES:
            row = shares[f"{width}x{height}"] = share_of_frame(runtime, (height, width), options.rounds)
            times = (f"{row[key]:.2f}" for key in ("frame_ms", "preprocess_ms", "results_ms"))
            wholes.add_row(f"{width}x{height}", *times, f"{row['share']:.1%}")
        engine = f"{runtime.engine} {runtime.engine_version}, {runtime.precision}"
    if not options.json:
        Console().print(pieces, wholes)
    settings = {
        "rounds": options.rounds,
        "threads": options.threads,
        "tasks": options.tasks,
        "engine": engine,
    }
    print(json.dumps({"machine": this_machine().to_json(), **settings, "pieces": rows, "frames": shares}))
    return 0 if all(row["share"] <= WANTED for row in shares.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
