"""How long a fresh process takes to its first results, and what memory it needs.

    python -m argus_edge.runtime.bench.start PACKAGE ENGINE PRECISION TASKS THREADS STARTED

runs in that process and prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from argus_edge.command import run_command
from argus_edge.errors import EngineError
from argus_edge.package import ModelPackage
from argus_edge.runtime.session import Runtime
from argus_edge.spec import Precision

__all__ = ["evict", "measure_start"]

FRAME: Final = (480, 640)  # of the first image (H, W) [px]


def measure_start(runtime: Runtime, *, cold: bool) -> dict[str, Any]:
    """Open the package of `runtime` as `runtime` has it, in a fresh process.

    `cold`: after the system was asked to forget the package's files (it may refuse: "evicted" is False then);
    libraries and built engines stay as they are.

    Returns "ready_ms" (interpreter and imports), "open_ms" (reading, checking, loading), "first_ms" (the
    first image), "total_ms" and "peak_mib" (of resident memory). Raises EngineError when it fails.
    """
    evicted = evict(runtime.package) if cold else False
    command = [
        sys.executable, "-m", "argus_edge.runtime.bench.start", str(runtime.package.path), runtime.engine,
        runtime.precision, ",".join(runtime.tasks), str(runtime.threads), str(time.monotonic_ns()),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise EngineError(f"{runtime.package.path}: a fresh process could not run it: {last}")
    return {**json.loads(done.stdout.splitlines()[-1]), "evicted": evicted}


def evict(package: ModelPackage) -> bool:
    """Ask the system to forget the package's files, so that they come from the disk; whether one can ask."""
    if not hasattr(os, "posix_fadvise"):
        return False
    for name in package.files:
        descriptor = os.open(package.path / name, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
    return True


def main(arguments: Sequence[str]) -> int:
    """What the fresh process does. Returns its exit code."""
    path, engine, precision, tasks, threads, started = arguments
    ready = time.monotonic_ns()
    with Runtime(
        Path(path), engine, cast(Precision, precision), tuple(tasks.split(",")), int(threads)
    ) as runtime:
        opened = time.monotonic_ns()
        runtime(np.zeros((*FRAME, 3), np.uint8))
        first = time.monotonic_ns()
    moments = (int(started), ready, opened, first)
    laps = [(after - before) / 1e6 for before, after in pairwise(moments)]
    names = ("ready_ms", "open_ms", "first_ms")
    found = {name: round(lap, 2) for name, lap in zip(names, laps, strict=True)}
    print(json.dumps({**found, "total_ms": round(sum(laps), 2), "peak_mib": _peak_memory()}))  # noqa: T201
    return 0


def _peak_memory() -> float | None:
    """The most memory of this process that was resident at once [MiB]; None where the system does not tell.

    getrusage also counts the process that this one was forked from.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((round(int(line.split()[1]) / 1024, 1) for line in lines if line.startswith("VmHWM:")), None)


if __name__ == "__main__":
    run_command(lambda: main(sys.argv[1:]), "argus-bench")
