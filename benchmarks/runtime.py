"""Asks what the runtime adds to its engine.

To one call, to a stream, beside a thread that holds the interpreter, and at the start of a process:

    argus-export --tasks det,seg,depth --precision int8
    python benchmarks/runtime.py nano.argus

The bare engine is the same graphs on the same engine with as many threads, called one after another from
Python. Calls and bare frames take turns; a stream of N frames takes turns with N bare frames. Prints a table,
then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from argus_edge.command import name_list, run_command
from argus_edge.package import ModelPackage
from argus_edge.runtime.engines import default_threads
from argus_edge.runtime.graphs import Graphs
from argus_edge.runtime.machine import this_machine
from argus_edge.runtime.preprocess import preprocess
from argus_edge.runtime.session import Runtime
from argus_edge.runtime.sources import open_source
from argus_edge.runtime.timing import interleaved, median_ratio, noise

START: Final = """
import json, sys, time
begin = time.perf_counter()
import numpy as np
from argus_edge.runtime.session import Runtime
package, engine, tasks, threads = sys.argv[1:]
runtime = Runtime(package, engine, tasks=tasks.split(","), threads=int(threads))
runtime(np.zeros((480, 640, 3), np.uint8))
seconds = time.perf_counter() - begin
# What getrusage tells a process has in it what started it.
lines = open("/proc/self/status").read().splitlines()
memory = next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))
print(json.dumps({"seconds": round(seconds, 3), "memory_mib": round(memory, 1)}))
runtime.close()
"""


def bare_frame(package: ModelPackage, graphs: Graphs, tasks: Sequence[str]) -> Callable[[NDArray[Any]], None]:
    """What an engine does for one frame: the backbone, and each task's decoder once."""
    decoders = dict.fromkeys(package.spec.tasks[task].component for task in tasks)

    def run(tensor: NDArray[Any]) -> None:
        features = graphs.features(tensor)
        for component in decoders:
            graphs.decode(component, features)

    return run


def measure_calls(
    runtime: Runtime, bare: Callable[[NDArray[Any]], None], image: NDArray[np.uint8], rounds: int
) -> dict[str, Any]:
    """One call against the bare engine; pre- and postprocessing are told apart."""
    tensor, _ = preprocess(image, runtime.package.spec.input)
    around: list[float] = []

    def call(_: int) -> None:
        timings = runtime(image).timings
        outside = [ms for stage, ms in timings.items() if stage.endswith(".decode") or stage == "preprocess"]
        around.append(sum(outside))

    times = interleaved({"call": call, "bare": lambda _: bare(tensor)}, rounds)
    outside = np.array(around[-rounds:])
    return {
        "call_p50_ms": float(np.median(times["call"])),
        "bare_p50_ms": float(np.median(times["bare"])),
        "call_without_pre_and_post_by_bare": median_ratio(times["call"] - outside, times["bare"]),
        "pre_and_post_by_call": float(np.median(outside / times["call"])),
        "noise": noise(times),
    }


def measure_stream(
    runtime: Runtime, bare: Callable[[NDArray[Any]], None], image: NDArray[np.uint8], frames: int, rounds: int
) -> dict[str, Any]:
    """Frames per second of a stream by those of the bare engine that never waits."""
    tensor, _ = preprocess(image, runtime.package.spec.input)

    def stream(_: int) -> None:
        assert sum(1 for _ in runtime.stream([image] * frames)) == frames

    def saturate(_: int) -> None:
        for _frame in range(frames):
            bare(tensor)

    times = interleaved({"stream": stream, "bare": saturate}, rounds)
    return {
        "stream_fps": 1e3 * frames / float(np.median(times["stream"])),
        "bare_fps": 1e3 * frames / float(np.median(times["bare"])),
        "throughput_by_bare": median_ratio(times["bare"], times["stream"]),
        "noise": noise(times),
    }


def measure_lock(runtime: Runtime, image: NDArray[np.uint8], frames: int, blocks: int) -> dict[str, Any]:
    """p99 of calls beside a thread that spins in Python, against without it; blocks of each take turns."""
    quiet: list[float] = []
    beside: list[float] = []
    for block in range(2 * blocks):
        with spinning() if block % 2 else nothing():
            for _ in range(frames):
                start = time.perf_counter()
                runtime(image)
                (beside if block % 2 else quiet).append((time.perf_counter() - start) * 1e3)
    p99 = {name: float(np.percentile(each, 99)) for name, each in (("quiet", quiet), ("beside", beside))}
    p50 = {name: float(np.median(each)) for name, each in (("quiet", quiet), ("beside", beside))}
    return {
        "quiet_p50_ms": p50["quiet"],
        "beside_p50_ms": p50["beside"],
        "quiet_p99_ms": p99["quiet"],
        "beside_p99_ms": p99["beside"],
        "p99_beside_by_quiet": p99["beside"] / p99["quiet"],
    }


@contextmanager
def spinning() -> Iterator[None]:
    """A thread that counts in Python and never waits for anything."""
    stop = threading.Event()

    def spin() -> None:
        count = 0
        while not stop.is_set():
            for _ in range(1000):
                count += 1

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def nothing() -> Iterator[None]:
    """No such thread."""
    yield


def measure_start(package: Path, engine: str, tasks: Sequence[str], threads: int) -> dict[str, Any]:
    """A fresh process from its first import to its first result, the engine's cache being warm: best of 3."""
    command = [sys.executable, "-c", START, str(package), engine, ",".join(tasks), str(threads)]
    told = [
        json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # noqa: S603
        for _ in range(3)
    ]
    return dict(min(told, key=lambda each: each["seconds"]))


def parser() -> argparse.ArgumentParser:
    """Options of the benchmark."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("package", type=Path, help="folder NAME.argus")
    p.add_argument("--engine", default="openvino", help="(default: %(default)s)")
    p.add_argument(
        "--tasks", type=name_list, default=("det", "seg", "depth"), help="(default: det,seg,depth)"
    )
    p.add_argument("--threads", type=int, default=default_threads(), help="(default: every core)")
    p.add_argument("--source", default="examples/scenes.mp4", help="its first frame is run (%(default)s)")
    p.add_argument("--rounds", type=int, default=60, help="calls (default: %(default)s)")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; 0 where the runtime adds as little as is wanted."""
    options = parser().parse_args(argv)
    package = ModelPackage.open(options.package)
    with open_source(options.source) as source:
        image = next(iter(source)).image
    precision = package.spec.precisions[-1]
    found: dict[str, dict[str, Any]] = {}
    with (
        Runtime(package, options.engine, tasks=options.tasks, threads=options.threads) as runtime,
        closing(Graphs(package, options.tasks, options.engine, precision, options.threads)) as graphs,
    ):
        bare = bare_frame(package, graphs, options.tasks)
        found["call"] = measure_calls(runtime, bare, image, options.rounds)
        found["stream"] = measure_stream(runtime, bare, image, 10, max(options.rounds // 10, 4))
    with Runtime(package, options.engine, tasks=options.tasks, threads=1) as runtime:
        runtime(image)
        found["lock"] = measure_lock(runtime, image, max(options.rounds // 3, 10), 5)
    found["start"] = measure_start(options.package, options.engine, options.tasks, options.threads)
    wanted: dict[tuple[str, str], tuple[str, float]] = {
        ("call", "call_without_pre_and_post_by_bare"): ("<=", 1.03),
        ("call", "pre_and_post_by_call"): ("<=", 0.08),
        ("stream", "throughput_by_bare"): (">=", 0.97),
        ("lock", "p99_beside_by_quiet"): ("<=", 1.3),
        ("start", "seconds"): ("<=", 1.5),
        ("start", "memory_mib"): ("<=", 350),
    }
    table = Table(
        "what", "figure", "found", "wanted", title=f"{options.package}, {options.engine}, {precision}"
    )
    missed = 0
    for part, figures in found.items():
        for figure, value in figures.items():
            sign, limit = wanted.get((part, figure), ("", 0.0))
            if sign:
                missed += value > limit if sign == "<=" else value < limit
            if value is not None:
                shown = f"{value:.3f}" if isinstance(value, float) else str(value)
                table.add_row(part, figure.replace("_", " "), shown, f"{sign} {limit:g}" if sign else "")
    Console().print(table)
    facts = {"package": str(options.package), "engine": options.engine, "precision": precision}
    settings = {"tasks": list(options.tasks), "threads": options.threads, "rounds": options.rounds}
    print(json.dumps({**facts, **settings, "found": found, "machine": this_machine().to_json()}))
    return 1 if missed else 0


if __name__ == "__main__":
    run_command(main, Path(__file__).name)
