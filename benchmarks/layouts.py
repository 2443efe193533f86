"""Asks what it costs to keep backbone and decoders apart, where every decoder runs on every frame anyway.

The graphs of a package are run one after another, as the runtime does, and joined in one graph
(`argus-export --layout fused`), frame by frame in turn; the cost is the median over the frames of the time of
the split graphs by that of the one. Wanted: at most 1.05. Prints a table, then one JSON line.

    argus-export --precision fp32,int8
    python benchmarks/layouts.py nano.argus --precision int8
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from rich.console import Console
from rich.table import Table

from argus_edge.command import run_command
from argus_edge.errors import InputError
from argus_edge.export.fuse import fuse
from argus_edge.package import ModelPackage
from argus_edge.runtime.engines import Array, available_engines, default_threads, open_engine
from argus_edge.runtime.graphs import Graphs
from argus_edge.runtime.machine import this_machine
from argus_edge.runtime.timing import Times, engine_run, interleaved, median_ratio, noise
from argus_edge.spec import IMAGE_TENSOR, PERSONS_TENSOR, PRECISIONS, Precision

WANTED: Final = 1.05


def measure(
    package: ModelPackage, engine: str, precision: Precision, threads: int, rounds: int
) -> dict[str, Times]:
    """Layout, "split" or "fused" -> time of each frame [ms]."""
    golden = package.golden()
    if golden is None:
        raise InputError(f"{package.path}: holds no golden sample to run on; export it again")
    graphs = {name: onnx.load(package.model_file(name, precision)) for name in package.spec.components}
    inputs: dict[str, Array] = {IMAGE_TENSOR: golden.image}
    for persons in golden.inputs.values():  # pose reads them, and no other task anything but features
        inputs[PERSONS_TENSOR] = persons
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        file = Path(folder) / "fused.onnx"
        onnx.save(fuse(graphs), file)
        one = stack.enter_context(closing(open_engine(engine, file, threads=threads, precision=precision)))
        several = stack.enter_context(
            closing(Graphs(package, tuple(package.spec.tasks), engine, precision, threads))
        )

        def split(_: int) -> None:
            for _answer in several.run_all(golden.image, golden.inputs):
                pass

        return interleaved({"split": split, "fused": engine_run(one, inputs)}, rounds)


def parser() -> argparse.ArgumentParser:
    """Options of the benchmark."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("package", type=Path, help="folder NAME.argus")
    p.add_argument("--precision", choices=PRECISIONS, default="fp32", help="(default: %(default)s)")
    p.add_argument("--rounds", type=int, default=50, help="frames (default: %(default)s)")
    p.add_argument("--threads", type=int, default=default_threads(), help="(default: every core)")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; 0 where split graphs are as fast as wanted on every engine."""
    options = parser().parse_args(argv)
    package = ModelPackage.open(options.package)
    table = Table("engine", r"split p50 \[ms]", r"fused p50 \[ms]", "split / fused", title=str(package.path))
    found: dict[str, Any] = {}
    noises: list[str] = []
    for status in available_engines():
        if status.available:
            times = measure(package, status.name, options.precision, options.threads, options.rounds)
            split, fused = times["split"], times["fused"]
            cost = median_ratio(split, fused)
            if (noisy := noise(times)) is not None:
                noises.append(f"{status.name}: {noisy}")
            found[status.name] = {
                "split_p50_ms": round(float(np.median(split)), 2),
                "fused_p50_ms": round(float(np.median(fused)), 2),
                "cost": round(cost, 4),
            }
            table.add_row(status.name, f"{np.median(split):.1f}", f"{np.median(fused):.1f}", f"{cost:.3f}")
    Console().print(table, *noises, sep="\n")
    settings = {name: getattr(options, name) for name in ("precision", "rounds", "threads")}
    tasks = list(package.spec.tasks)
    print(
        json.dumps(
            {
                "machine": this_machine().to_json(),
                "tasks": tasks,
                **settings,
                "noise": noises,
                "engines": found,
            }
        )
    )
    return 0 if all(row["cost"] <= WANTED for row in found.values()) else 1


if __name__ == "__main__":
    run_command(lambda: main(sys.argv[1:]), "layouts")
