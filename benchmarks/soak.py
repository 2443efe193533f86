"""Asks whether the runtime can run for days: does it grow, leak, hang, or lose count.

    python benchmarks/soak.py nano.argus --minutes 20

A camera that is lost now and then feeds a runtime at full rate while rates, priorities and deadlines change
at random (and, with --fragile, a graph fails now and then); a second thread submits frames and leaves most of
them. Every second the memory of the process is noted. Prints a table, then one JSON line; 0 where memory grew
by less than 2 MiB after the first minute, no thread is left, and every frame is accounted for.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from argus_edge.command import run_command
from argus_edge.errors import EngineError, SourceError
from argus_edge.runtime import graphs
from argus_edge.runtime.engines import Array, Engine, open_engine
from argus_edge.runtime.machine import this_machine
from argus_edge.runtime.session import Runtime

MOST_GROWTH: Final = 2.0  # [MiB]
PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Fragile:
    """An engine that fails once in so many runs."""

    def __init__(self, engine: Engine, once_in: int, seed: int) -> None:
        self._engine, self._once_in, self._random = engine, once_in, random.Random(seed)  # noqa: S311

    def run(self, inputs: Any) -> dict[str, Array]:
        """See `Engine.run`."""
        if self._random.randrange(self._once_in) == 0:
            raise EngineError("failed on purpose")
        return self._engine.run(inputs)

    def close(self) -> None:
        """See `Engine.close`."""
        self._engine.close()


def camera(until: float, rate: float, seed: int) -> Iterator[NDArray[np.uint8]]:
    """Noise, `rate` frames a second, until the camera is lost or time is up."""
    numbers = np.random.default_rng(seed)
    while time.monotonic() < until:
        time.sleep(1 / rate)
        yield numbers.integers(0, 255, (240, 320, 3), np.uint8)
        if numbers.random() < 0.002:
            raise SourceError("lost on purpose")


def resident_mib() -> float:
    """Memory of this process [MiB]."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 2**20


def threads_and_files() -> tuple[int, int]:
    """How many of each this process has open."""
    return threading.active_count(), sum(1 for _ in Path("/proc/self/fd").iterdir())


def soak(runtime: Runtime, until: float, rate: float) -> tuple[Counter[str], list[float]]:
    """Run until then. Returns what happened, and the memory of every second [MiB]."""
    happened: Counter[str] = Counter()
    memory: list[float] = []
    threads = [
        threading.Thread(target=_submit, args=(runtime, until, happened)),
        threading.Thread(target=_change, args=(runtime, until, happened)),
        threading.Thread(target=_note, args=(until, memory)),
    ]
    for thread in threads:
        thread.start()
    seed = 0
    while time.monotonic() < until:
        seed += 1
        try:
            for _, frame in runtime.stream(camera(until, rate, seed), overflow="latest"):
                happened["frames"] += 1
                happened["failed tasks"] += sum(why.startswith("failed") for why in frame.missing.values())
        except SourceError:
            happened["lost cameras"] += 1
    for thread in threads:
        thread.join()
    return happened, memory


def _submit(runtime: Runtime, until: float, happened: Counter[str]) -> None:
    """Hand in frames, wait for some, and forget the others."""
    image = np.zeros((120, 160, 3), np.uint8)
    while time.monotonic() < until:
        pending = runtime.submit(image)
        happened["submitted"] += 1
        if happened["submitted"] % 3 == 0:
            try:
                pending.result()
            except EngineError:
                happened["submitted and lost"] += 1
        time.sleep(0.02)


def _change(runtime: Runtime, until: float, happened: Counter[str]) -> None:
    choose = random.Random(0)  # noqa: S311
    while time.monotonic() < until:
        task = choose.choice(runtime.tasks)
        runtime.set_rate(task, choose.choice([None, 0.5, 5.0, 50.0]))
        runtime.set_priority(task, choose.randrange(3))
        runtime.set_deadline(task, choose.choice([None, 1000.0, 100.0]))
        happened["changes"] += 1
        time.sleep(0.1)


def _note(until: float, memory: list[float]) -> None:
    while time.monotonic() < until:
        memory.append(resident_mib())
        time.sleep(1)


def grown(memory: Sequence[float]) -> float:
    """Between the medians of the first and of the last half minute of a memory noted by the second [MiB]."""
    return float(np.median(memory[-30:]) - np.median(memory[:30]))


def parser() -> argparse.ArgumentParser:
    """Options of the benchmark."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("package", type=Path, help="folder NAME.argus")
    p.add_argument("--engine", default="openvino", help="(default: %(default)s)")
    p.add_argument("--minutes", type=float, default=20, help="(default: %(default)s)")
    p.add_argument("--rate", type=float, default=60, help="of the camera [frames/s] (default: %(default)s)")
    p.add_argument(
        "--fragile", action="store_true", help="graphs fail now and then; frames pass through Python"
    )
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; 0 where the runtime held."""
    options = parser().parse_args(argv)
    if options.fragile:
        vars(graphs)["open_engine"] = lambda name, file, **settings: Fragile(
            open_engine(name, file, **settings), 500, 0
        )
    before = threads_and_files()
    with Runtime(options.package, options.engine, cache=not options.fragile) as runtime:
        happened, memory = soak(runtime, time.monotonic() + 60 * options.minutes, options.rate)
    stats = runtime.stats()
    del runtime
    gc.collect()
    after = threads_and_files()
    growth = grown(memory[min(60, len(memory) // 4) :])
    lost = stats.offered - sum(stats.frames.values())
    found = {
        "minutes": options.minutes,
        "memory_mib": round(memory[-1], 1),
        "growth_mib": round(growth, 2),
        "growth_after_a_quarter_mib": round(grown(memory[len(memory) // 4 :]), 2),
        "threads_left": after[0] - before[0],
        "files_left": after[1] - before[1],
        "offered": stats.offered,
        "frames": dict(stats.frames),
        "not_accounted_for": lost,
        **happened,
    }
    table = Table("what", "found", title=f"{options.package}, {options.engine}, {options.minutes:g} minutes")
    for name, value in found.items():
        table.add_row(name.replace("_", " "), str(value))
    Console().print(table)
    print(json.dumps({**found, "machine": this_machine().to_json()}))
    held = growth < MOST_GROWTH and after[0] == before[0] and lost == 0
    return 0 if held else 1


if __name__ == "__main__":
    run_command(main, Path(__file__).name)
