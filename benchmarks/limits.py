"""Asks how near a package comes to what this machine can do.

The machine's peak is measured through the engines themselves: a large product of matrices with constant
weights, as MatMul and as Conv, in fp32 and in the int8 that export writes (u8 by s8, Q/DQ), and a copy in
memory on all cores; the fastest run of each counts. Of every graph of the package the operations of its
products (two for each multiply-add) and the bytes that have to move at least (weights, inputs, outputs) are
counted. Attainable is the greater of the time for the operations at the peak of their type and that for the
bytes (the roofline: Williams et al., CACM 2009). Everything is run in turn, round after round.

Wanted: the int8 backbone of nano at 35 % of the int8 peak or more; where it is below, OpenVINO's own profile
says what stands in the way. Prints tables, then one JSON line.

    python benchmarks/limits.py nano.argus
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console
from rich.table import Table

from argus_edge.command import positive_number, run_command
from argus_edge.errors import InputError
from argus_edge.export.operations import Work, work_of
from argus_edge.export.precision import to_int8
from argus_edge.package import ModelPackage
from argus_edge.runtime.engines import Array, Engine, available_engines, default_threads, open_engine
from argus_edge.runtime.engines.openvino_engine import openvino_package, respell
from argus_edge.runtime.machine import this_machine
from argus_edge.runtime.timing import Times, engine_run, interleaved, noise
from argus_edge.spec import BACKBONE, IMAGE_TENSOR, Precision

PRODUCTS: Final = frozenset({"MatMul", "FullyConnected", "Convolution", "GroupConvolution"})
WIDTH: Final = 120  # of the tables
PROFILED: Final = 10  # runs
SHOWN: Final = 15  # of its operations
WANTED: Final = 0.35  # of the int8 peak, by the int8 backbone of nano on OpenVINO
SIDE: Final = 1536  # of the matrices
PEAK: Final = "peak, "
COPIED: Final = 2**27  # bytes, far more than caches hold
PRECISIONS: Final[tuple[Precision, ...]] = ("fp32", "int8")

Key = tuple[str, Precision, str]  # engine, precision, stage
Inputs = Mapping[str, Array]


def products() -> dict[str, tuple[onnx.ModelProto, Array]]:
    """One product of matrices with constant weights in two spellings, and what it reads."""
    random = np.random.default_rng(0)
    weights = random.normal(size=(SIDE, SIDE)).astype(np.float32)
    cells = (1, SIDE, SIDE // 32, 32)
    shapes = {"MatMul": ((SIDE, SIDE), weights), "Conv": (cells, weights[:, :, None, None])}
    found = {}
    for op, (shape, constant) in shapes.items():
        node = helper.make_node(op, ["x", "w"], ["y"], name=f"product/{op}")
        x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy")
        graph = helper.make_graph([node], "product", [x], [y], [numpy_helper.from_array(constant, "w")])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
        found[op] = model, random.normal(size=shape).astype(np.float32)
    return found


def copy_run(threads: int) -> Callable[[int], None]:
    """What copies COPIED bytes on so many threads."""
    source, target = np.ones((2, COPIED), np.uint8)
    parts = list(zip(np.array_split(source, threads), np.array_split(target, threads), strict=True))
    pool = ThreadPoolExecutor(threads)

    def run(_: int) -> None:
        list(pool.map(lambda part: np.copyto(part[1], part[0]), parts))

    return run


def opened(stack: ExitStack, engine: str, file: Path, threads: int, precision: Precision) -> Engine:
    return stack.enter_context(closing(open_engine(engine, file, threads=threads, precision=precision)))


def stage_inputs(package: ModelPackage, engines: Mapping[str, Engine]) -> dict[str, Inputs]:
    """What each graph reads when the package's recorded input is run. Raises InputError without one."""
    golden = package.golden()
    if golden is None:
        raise InputError(f"{package.path}: holds no golden sample to run on; export it again")
    known: dict[str, Array] = {IMAGE_TENSOR: golden.image}
    known |= {name: np.array(v) for name, v in engines[BACKBONE].run({IMAGE_TENSOR: golden.image}).items()}
    extra = {package.spec.extra_inputs[name].name: value for name, value in golden.inputs.items()}
    return {
        name: {tensor.name: {**known, **extra}[tensor.name] for tensor in component.inputs}
        for name, component in package.spec.components.items()
    }


def measure(package: ModelPackage, engines: Sequence[str], threads: int, rounds: int) -> dict[Key, Times]:
    """Times [ms] of every stage, of the products ("peak, ...") and of the copy ("copy"), all in turn."""
    runs: dict[Key, Any] = {("", "fp32", "copy"): copy_run(threads)}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        for op, (model, values) in products().items():
            for precision in PRECISIONS:
                graph = model if precision == "fp32" else to_int8(model, [{"x": values}])
                onnx.save(graph, file := Path(folder) / f"{op}.{precision}.onnx")
                for engine in engines:
                    peak = opened(stack, engine, file, threads, precision)
                    runs[engine, precision, f"{PEAK}{op}"] = engine_run(peak, {"x": values})
        for engine in engines:
            for precision in (p for p in PRECISIONS if p in package.spec.precisions):
                stages = {
                    name: opened(stack, engine, package.model_file(name, precision), threads, precision)
                    for name in package.spec.components
                }
                for name, inputs in stage_inputs(package, stages).items():
                    runs[engine, precision, name] = engine_run(stages[name], inputs)
        named = {"/".join(key): run for key, run in runs.items()}
        times = interleaved(named, rounds)
    return {key: times["/".join(key)] for key in runs}


def judged(
    times: Mapping[Key, Times], works: Mapping[tuple[Precision, str], Work]
) -> tuple[dict[str, Any], float, dict[str, Any]]:
    """Peaks [GFLOP/s], copy bandwidth [GB/s], and engine -> precision -> stage -> what it reaches."""
    bandwidth = 2 * COPIED / float(times["", "fp32", "copy"].min()) / 1e6
    peaks: dict[str, dict[str, float]] = {}
    for (engine, precision, stage), each in times.items():
        if stage.startswith(PEAK):
            of_engine, speed = peaks.setdefault(engine, {}), 2 * SIDE**3 / float(each.min()) / 1e6
            of_engine[precision] = round(max(speed, of_engine.get(precision, 0.0)), 1)
    stages: dict[str, dict[str, dict[str, Any]]] = {}
    for (engine, precision, stage), each in times.items():
        if (precision, stage) in works:
            row = reached(
                works[precision, stage], float(np.median(each)), peaks[engine], bandwidth, precision
            )
            stages.setdefault(engine, {}).setdefault(precision, {})[stage] = row
    return peaks, round(bandwidth, 1), stages


def reached(
    work: Work, ms: float, peaks: Mapping[str, float], bandwidth: float, precision: Precision
) -> dict[str, float]:
    """One stage: its work, the least time for it, its time, and the shares of what was attainable."""
    products = work.float_flop / peaks["fp32"] + work.int8_flop / peaks["int8"]
    attainable = max(products, work.bytes / bandwidth) / 1e6
    return {
        "gflop": round(work.flop / 1e9, 4),
        "int8_gflop": round(work.int8_flop / 1e9, 4),
        "mb": round(work.bytes / 1e6, 3),
        "attainable_ms": round(attainable, 3),
        "p50_ms": round(ms, 3),
        "of_attainable": round(attainable / ms, 4),
        "of_peak": round(work.flop / ms / 1e6 / peaks[precision], 4),
    }


def profiled(file: Path, inputs: Inputs, threads: int, runs: int) -> list[tuple[str, str, float]]:
    """(operation, how it is computed, time of a frame [ms]) of what OpenVINO runs, the longest first."""
    core = openvino_package().Core()
    model = core.read_model(file)
    respell(model)
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "PERF_COUNT": True}
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    spent: dict[tuple[str, str], float] = {}
    for run in range(runs + 1):
        request.infer(inputs)
        for each in request.profiling_info if run else ():
            key = each.node_type, each.exec_type
            spent[key] = spent.get(key, 0.0) + each.real_time.total_seconds() * 1e3 / runs
    rows = [(*key, ms) for key, ms in spent.items()]
    return sorted(rows, key=lambda row: -row[2])


def obstacles(rows: Sequence[tuple[str, str, float]], work: Work, peak: float) -> list[str]:
    """What stands between an int8 graph and the int8 `peak` [GFLOP/s]: where its time goes.

    Float products are not told apart: attention's are one operation with the softmax between them.
    """
    whole = sum(ms for _, _, ms in rows)
    in_int8 = {f"{kind} {form}": ms for kind, form, ms in rows if kind in PRODUCTS and form.endswith("I8")}
    spent = sum(in_int8.values())
    lines = [f"everything else: {whole - spent:.1f} ms, {100 * (1 - spent / whole):.0f} % of the time"]
    if in_int8:
        speed, slowest = work.int8_flop / spent / 1e6, max(in_int8, key=in_int8.__getitem__)
        lines = [
            f"products in int8: {spent:.1f} ms, {100 * spent / whole:.0f} % of the time, "
            f"at {speed:.0f} GFLOP/s, {100 * speed / peak:.0f} % of the peak; "
            f"{slowest} takes {in_int8[slowest]:.1f} ms of it",
            *lines,
        ]
    return lines


def rows_of(stages: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for engine, precisions in stages.items():
        for precision, rows in precisions.items():
            for stage, r in rows.items():
                numbers = (
                    f"{r['gflop']:.2f}",
                    f"{r['mb']:.1f}",
                    f"{r['attainable_ms']:.2f}",
                    f"{r['p50_ms']:.2f}",
                )
                shares = f"{100 * r['of_attainable']:.0f} %", f"{100 * r['of_peak']:.0f} %"
                yield (stage, precision, engine, *numbers, *shares)


def print_profile(console: Console, profile: Mapping[str, Any]) -> None:
    console.print(f"int8 backbone below {100 * WANTED:.0f} % of the int8 peak on OpenVINO:")
    for line in profile["summary"]:
        console.print(f"  {line}", markup=False)
    table = Table("operation", "computed as", r"ms of a frame")
    for kind, form, ms in profile["operations"]:
        table.add_row(kind, form, f"{ms:.2f}")
    console.print(table)


def parser() -> argparse.ArgumentParser:
    """Options of the benchmark."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("package", type=Path, help="folder NAME.argus")
    p.add_argument("--rounds", type=positive_number, default=20, help="(default: %(default)s)")
    p.add_argument("--threads", type=positive_number, default=default_threads(), help="(default: every core)")
    p.add_argument("--json", action="store_true", help="print the JSON line alone")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; 0 where the int8 backbone on OpenVINO is as near to the peak as wanted."""
    options = parser().parse_args(argv)
    package = ModelPackage.open(options.package)
    engines = {s.name: s.version for s in available_engines() if s.available and s.name != "tensorrt"}
    times = measure(package, list(engines), options.threads, options.rounds)
    works = {
        (precision, name): work_of(onnx.load(package.model_file(name, precision)))
        for precision in PRECISIONS
        if precision in package.spec.precisions
        for name in package.spec.components
    }
    peaks, bandwidth, stages = judged(times, works)
    noisy = noise({"/".join(key): each for key, each in times.items()})
    backbone = stages.get("openvino", {}).get("int8", {}).get(BACKBONE)
    profile: dict[str, Any] | None = None
    if backbone is not None and backbone["of_peak"] < WANTED:
        file, golden = package.model_file(BACKBONE, "int8"), package.golden()
        assert golden is not None  # it was measured with
        rows = profiled(file, {IMAGE_TENSOR: golden.image}, options.threads, PROFILED)
        profile = {
            "summary": obstacles(rows, works["int8", BACKBONE], peaks["openvino"]["int8"]),
            "operations": [[kind, form, round(ms, 2)] for kind, form, ms in rows[:SHOWN]],
        }
    if not options.json:
        console = Console(highlight=False, width=WIDTH)
        table = Table("stage", "precision", "engine", "GFLOP", "MB", r"attainable \[ms]", r"p50 \[ms]",
                      "reached", "of the peak")  # fmt: skip
        for row in rows_of(stages):
            table.add_row(*row)
        console.print(f"peaks [GFLOP/s]: {peaks}; copy {bandwidth} GB/s", markup=False)
        console.print(table)
        if profile is not None:
            print_profile(console, profile)
        if noisy:
            console.print(noisy, markup=False)
    found = {
        "machine": this_machine().to_json(),
        "package": {"name": package.spec.name, "sha256": package.sha256},
        "engines": engines,
        "threads": options.threads,
        "rounds": options.rounds,
        "noise": [noisy] if noisy else [],
        "peaks": peaks,
        "copy_gb_s": bandwidth,
        "stages": stages,
        "backbone_profile": profile,
    }
    print(json.dumps(found))
    return 0 if backbone is None or backbone["of_peak"] >= WANTED else 1


if __name__ == "__main__":
    run_command(lambda: main(sys.argv[1:]), "limits")
