"""Asks what it gains to spell graphs as OpenVINO is fast at: int8 products as convolutions, regions of maps
by our operation, the place of the greatest without a sort, features with their channels last.

Each stage of a package runs in int8 as our engine spells it on this CPU (docs/openvino.md), in int8 as the
package has it, but for deformable attention (benchmarks/deformable.py), and in fp32 as spelled, run by run in
turn; SQNR is of the worst output against fp32, and should be the same for both forms of int8. Prints a
table, then one JSON line.

    argus-export --precision fp32,int8
    python benchmarks/spellings.py nano.argus
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
from rich.console import Console
from rich.table import Table

from argus_edge.command import run_command
from argus_edge.errors import InputError
from argus_edge.package import ModelPackage
from argus_edge.runtime.engines import Array, Engine, default_threads, open_engine, openvino_engine
from argus_edge.runtime.engines.openvino_layout import as_given
from argus_edge.runtime.graphs import Graphs
from argus_edge.runtime.machine import this_machine
from argus_edge.runtime.numerics import sqnr_db
from argus_edge.runtime.timing import Times, engine_run, interleaved, median_ratio, noise
from argus_edge.spec import IMAGE_TENSOR, PERSONS_TENSOR, Precision

SPELLED, PLAIN, FLOAT = RUNS = "int8, spelled", "int8", "fp32"


@contextmanager
def as_in_the_package() -> Iterator[None]:
    """Engines that are opened meanwhile keep all but deformable attention as it is."""
    with ExitStack() as stack:
        for name in ("spell_products", "replace_regions", "spell_argmax", "features_last"):
            stack.enter_context(mock.patch.object(openvino_engine, name, return_value=set()))
        yield


def stage_inputs(package: ModelPackage) -> dict[str, dict[str, Array]]:
    """Stage -> what it reads on the recorded image."""
    golden = package.golden()
    if golden is None:
        raise InputError(f"{package.path}: holds no golden sample to run on; export it again")
    with closing(Graphs(package, tuple(package.spec.tasks), "openvino", "fp32", 1)) as graphs:
        features = {
            name: np.array(values, order="C") for name, values in graphs.features(golden.image).items()
        }
    found: dict[str, dict[str, Array]] = {}
    for name, component in package.spec.components.items():
        known = {IMAGE_TENSOR: golden.image, **features}
        if name in golden.inputs:
            known[PERSONS_TENSOR] = golden.inputs[name]
        found[name] = {tensor.name: known[tensor.name] for tensor in component.inputs}
    return found


def measure(
    package: ModelPackage, stage: str, inputs: Mapping[str, Array], threads: int, rounds: int
) -> tuple[dict[str, Times], dict[str, float]]:
    """Run -> its times [ms], and the SQNR [dB] of the two in int8 against fp32."""
    with ExitStack() as stack:

        def opened(precision: Precision) -> Engine:
            file = package.model_file(stage, precision)
            engine = open_engine("openvino", file, threads=threads, precision=precision)
            return stack.enter_context(closing(engine))

        engines = {SPELLED: opened("int8"), FLOAT: opened("fp32")}
        with as_in_the_package():
            engines[PLAIN] = opened("int8")
        read = {run: inputs if run == PLAIN else as_given(inputs) for run in RUNS}
        answers = {
            run: {name: np.array(values) for name, values in engine.run(read[run]).items()}
            for run, engine in engines.items()
        }
        fits = {
            run: min(sqnr_db(answers[FLOAT][name], values) or np.inf for name, values in answers[run].items())
            for run in (SPELLED, PLAIN)
        }
        times = interleaved({run: engine_run(engines[run], read[run]) for run in RUNS}, rounds)
    return times, fits


def parser() -> argparse.ArgumentParser:
    """Options of the benchmark."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("package", type=Path, help="folder NAME.argus, with fp32 and int8")
    p.add_argument("--rounds", type=int, default=20, help="runs of each (default: %(default)s)")
    p.add_argument("--threads", type=int, default=default_threads(), help="(default: every core)")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; 0 where no stage is over 10 % slower as our engine spells it."""
    options = parser().parse_args(argv)
    package = ModelPackage.open(options.package)
    ratios = ("spelled / int8", "spelled / fp32", r"SQNR \[dB], spelled", "int8")
    table = Table("stage", *(rf"{run} p50 \[ms]" for run in RUNS), *ratios)
    found: dict[str, dict[str, float]] = {}
    noises: list[str] = []
    for stage, inputs in stage_inputs(package).items():
        times, fits = measure(package, stage, inputs, options.threads, options.rounds)
        by_int8, by_fp32 = (median_ratio(times[SPELLED], times[run]) for run in (PLAIN, FLOAT))
        row = {run: round(float(np.median(times[run])), 2) for run in RUNS}
        found[stage] = {**row, "by_int8": round(by_int8, 3), "by_fp32": round(by_fp32, 3)}
        found[stage] |= {f"sqnr_db, {run}": round(fit, 1) for run, fit in fits.items() if np.isfinite(fit)}
        table.add_row(
            stage,
            *(f"{ms:.1f}" for ms in row.values()),
            f"{by_int8:.2f}",
            f"{by_fp32:.2f}",
            *(f"{fit:.1f}" for fit in fits.values()),
        )
        if (noisy := noise(times)) is not None:
            noises.append(f"{stage}: {noisy}")
    Console().print(table, *noises, sep="\n")
    settings = {name: getattr(options, name) for name in ("rounds", "threads")}
    print(json.dumps({"machine": this_machine().to_json(), **settings, "noise": noises, "stages": found}))
    return 0 if all(row["by_int8"] <= 1.1 for row in found.values()) else 1


if __name__ == "__main__":
    run_command(lambda: main(sys.argv[1:]), "spellings")
