"""Asks what it gains to run the frames of several cameras at once.

    argus-export --tasks det,seg --batch 2
    python benchmarks/cameras.py nano.argus

Cameras that are never waited for, each in a thread of its own, feed two runtimes of the same package in
turn: one that runs frames one by one, and one that may run as many at once as there are cameras. The second
finds out whether that pays, stage by stage, and leaves it where it does not. Prints a table of frames per
second and of each stage's time for a frame, then one JSON line; 0 where no frames per second were lost.
"""

from __future__ import annotations

import argparse
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from argus_edge.command import name_list, positive_number, run_command
from argus_edge.package import ModelPackage
from argus_edge.runtime.engines import default_threads
from argus_edge.runtime.machine import this_machine
from argus_edge.runtime.session import Runtime
from argus_edge.runtime.sources import open_source
from argus_edge.runtime.timing import interleaved, median_ratio, noise

NOTHING_LOST: Final = 0.97  # of the frames per second one by one


def feed(runtime: Runtime, image: NDArray[np.uint8], cameras: int, frames: int) -> None:
    """`frames` frames of each of so many cameras, to the last result."""

    def stream() -> None:
        for _ in runtime.stream([image] * frames):
            pass

    threads = [threading.Thread(target=stream) for _ in range(cameras)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def measure(
    one: Runtime, several: Runtime, image: NDArray[np.uint8], cameras: int, frames: int, rounds: int
) -> dict[str, Any]:
    """Frames per second one by one and several at once, by turns, and the time of a frame in each stage."""
    times = interleaved(
        {
            "one": lambda _: feed(one, image, cameras, frames),
            "several": lambda _: feed(several, image, cameras, frames),
        },
        rounds,
    )
    stats = several.stats()
    alone, stages = one.stats().stages, stats.stages
    return {
        "one_by_one_fps": 1e3 * frames * cameras / float(np.median(times["one"])),
        "at_once_fps": 1e3 * frames * cameras / float(np.median(times["several"])),
        "gain": median_ratio(times["one"], times["several"]),
        "age_p50_ms": {"one_by_one": one.stats().age.p50_ms, "at_once": stats.age.p50_ms},
        "stage_ms": {name: alone[name].p50_ms for name in alone if f"{name} x{cameras}" in stages},
        "stage_at_once_ms": {
            name: stages[f"{name} x{cameras}"].p50_ms / cameras
            for name in alone
            if f"{name} x{cameras}" in stages
        },
        "runs_at_once": {name: each.count for name, each in stages.items() if f" x{cameras}" in name},
        "noise": noise(times),
    }


def parser() -> argparse.ArgumentParser:
    """Options of the benchmark."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("package", type=Path, help="folder NAME.argus, exported with --batch")
    p.add_argument("--cameras", type=positive_number, default=2, help="of them (default: %(default)s)")
    p.add_argument("--engine", default="auto", help="(default: %(default)s)")
    p.add_argument("--tasks", type=name_list, help="(default: all of the package)")
    p.add_argument("--threads", type=positive_number, default=default_threads(), help="(default: every core)")
    p.add_argument("--source", default="examples/scenes.mp4", help="its first frame is run (%(default)s)")
    p.add_argument("--frames", type=positive_number, default=5, help="of a camera in a round (%(default)s)")
    p.add_argument("--rounds", type=positive_number, default=10, help="(default: %(default)s)")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    options = parser().parse_args(argv)
    package = ModelPackage.open(options.package)
    with open_source(options.source) as source:
        image = next(iter(source)).image
    settings: dict[str, Any] = {"tasks": options.tasks, "threads": options.threads}
    with (
        Runtime(package, options.engine, **settings) as one,
        Runtime(package, options.engine, **settings, batch=options.cameras) as several,
    ):
        found = measure(one, several, image, options.cameras, options.frames, options.rounds)
        engine, precision = one.engine, one.precision
    table = Table("what", "one by one", "at once", title=f"{options.package}, {engine}, {precision}")
    table.add_row("frames/s", f"{found['one_by_one_fps']:.2f}", f"{found['at_once_fps']:.2f}")
    for stage, alone in found["stage_ms"].items():
        at_once, runs = found["stage_at_once_ms"][stage], found["runs_at_once"][f"{stage} x{options.cameras}"]
        table.add_row(f"{stage} \\[ms/frame]", f"{alone:.1f}", f"{at_once:.1f} ({runs} runs)")
    Console().print(table)
    facts = {"package": str(options.package), "engine": engine, "precision": precision}
    arguments = {name: getattr(options, name) for name in ("cameras", "threads", "frames", "rounds")}
    print(json.dumps({**facts, **arguments, "found": found, "machine": this_machine().to_json()}))
    return 0 if found["gain"] >= NOTHING_LOST else 1


if __name__ == "__main__":
    run_command(main, Path(__file__).name)
