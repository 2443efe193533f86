"""argus-bench: how fast model packages run on this machine, and how sure that is.

    argus-bench nano.argus                               # tables, every precision, on the best engine here
    argus-bench nano.argus --engine openvino,onnxruntime --out bench    # bench/result.json, bench/report.html
    argus-bench old.argus new.argus --precision int8     # two packages in turn, compared
    argus-bench monday/result.json friday/result.json    # two results, compared

Scenarios after MLPerf Inference: SingleStream, MultiStream, Offline, and `camera`, a frame every period.
Ctrl-C ends a run; what was measured until then is shown, and marked as partial.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn, cast

import argus_edge
from argus_edge.command import name_list, positive_number, run_command, terminated_as_interrupted
from argus_edge.errors import EngineMissingError, InputError
from argus_edge.package import ModelPackage
from argus_edge.runtime.bench.conditions import conditions, pinned, versions
from argus_edge.runtime.bench.images import bench_images, describe_images
from argus_edge.runtime.bench.measure import Plan, Subject, measure
from argus_edge.runtime.bench.power import Meters, open_meters
from argus_edge.runtime.bench.result import FORMAT, joined, read_result, with_findings, write_folder
from argus_edge.runtime.bench.scenarios import SCENARIOS, Scenario, SystemClock
from argus_edge.runtime.bench.start import measure_start
from argus_edge.runtime.bench.table import aligned, comparison_lines, facts, tables
from argus_edge.runtime.commands.progress import progress
from argus_edge.runtime.engines import ENGINES
from argus_edge.runtime.session import Runtime
from argus_edge.spec import Precision

BLOCKS: Final = 10


def main() -> NoReturn:
    """The command: see `run`."""
    run_command(lambda: run(sys.argv[1:]), "argus-bench")


def run(argv: Sequence[str]) -> int:
    """Run the command with the given arguments. Returns its exit code, 130 where it was interrupted; raises
    ArgusError for bad input.
    """
    options = _parser().parse_args(argv)
    if len(options.what) > 2:
        raise InputError(f"expected one or two packages or result files, got {len(options.what)}")
    files = [path.is_file() for path in options.what]
    if any(files) and not all(files):
        raise InputError("expected packages or result files, got one of each; give two of a kind")
    result = _from_files(options) if all(files) else _measured(options, argv)
    if options.out is not None:
        write_folder(options.out, result)
    print(json.dumps(result, allow_nan=False) if options.json else _page(result))
    return 0 if all(files) or result["complete"] else 130


def _from_files(options: argparse.Namespace) -> dict[str, Any]:
    results = [read_result(path) for path in options.what]
    if len(results) == 1:
        return results[0]
    return joined(results, [str(path) for path in options.what], options.seed)


def _measured(options: argparse.Namespace, argv: Sequence[str]) -> dict[str, Any]:
    plan = Plan(options.scenarios, options.seconds, BLOCKS, options.rate)
    with ExitStack() as stack:
        cpus = stack.enter_context(pinned(options.cpus))
        stack.enter_context(terminated_as_interrupted())
        subjects, not_measured, what = _open(options, stack)
        meters = stack.enter_context(open_meters())
        before = conditions()
        complete = _run(plan, subjects, meters, options.no_start)
        return with_findings(
            {
                "format": FORMAT,
                "complete": complete,
                "command": shlex.join(["argus-bench", *argv]),
                "before": before,
                "after": conditions(),
                "versions": versions(),
                "settings": {
                    "scenarios": list(plan.scenarios),
                    "seconds": plan.seconds,
                    "blocks": plan.blocks,
                    "rate": plan.rate,
                    "seed": options.seed,
                    "cpus": cpus,
                    "frames": describe_images(what, subjects[0].images),
                },
                "energy_missing": list(meters.missing),
                "not_measured": not_measured,
                "subjects": [subject.to_json() for subject in subjects],
            },
            options.seed,
        )


def _open(options: argparse.Namespace, stack: ExitStack) -> tuple[list[Subject], list[str], str]:
    """Every package on every engine in every precision; what could not be opened and why; the frames.

    Raises what the last of them raised where none could be opened.
    """
    packages = [ModelPackage.open(path) for path in options.what]
    what, images = bench_images(packages[0], options.source, options.seed)
    subjects: list[Subject] = []
    missing: list[EngineMissingError] = []
    for package in packages:
        name = str(package.path) if len(packages) > 1 else package.path.name
        for precision in options.precision or package.spec.precisions:
            for engine in options.engine:
                opened = _opened(package, engine, precision, options)
                if isinstance(opened, EngineMissingError):
                    missing.append(opened)
                else:
                    runtime = stack.enter_context(opened)
                    subjects.append(Subject(f"{name} {precision} {runtime.engine}", runtime, images))
    if missing and not subjects:
        raise missing[-1]
    return subjects, list(dict.fromkeys(map(str, missing))), what


def _opened(
    package: ModelPackage, engine: str, precision: Precision, options: argparse.Namespace
) -> Runtime | EngineMissingError:
    """A missing engine is no error while there are others."""
    try:
        return Runtime(package, engine, precision, options.tasks, options.threads)
    except EngineMissingError as error:
        return error


def _run(plan: Plan, subjects: Sequence[Subject], meters: Meters, no_start: bool) -> bool:
    """Measure; whether it came to its end."""
    starts = () if no_start else ("cold", "warm")
    steps = len(subjects) * (plan.turns + len(starts))
    with _until_interrupted() as ended, progress("measuring", steps) as step:
        measure(plan, subjects, meters, SystemClock(), step)
        for kind in starts:
            for subject in subjects:
                subject.starts[kind] = measure_start(subject.runtime, cold=kind == "cold")
                step()
        ended.append(True)
    return bool(ended)


@contextmanager
def _until_interrupted() -> Iterator[list[bool]]:
    """Ctrl-C ends what is within, not the command: what was measured is still to be told."""
    ended: list[bool] = []
    try:
        yield ended
    except KeyboardInterrupt:
        ended.clear()


def _page(result: dict[str, Any]) -> str:
    lines = [f"{name:<14}{value}" for name, value in facts(result).items()]
    lines += ["", *(f"{aligned(table)}\n" for table in tables(result)), *comparison_lines(result)]
    lines += [f"warning: {line}" for line in result["noise"]]
    lines += [f"not measured: {line}" for line in result["not_measured"]]
    if not result["complete"]:
        lines.append("PARTIAL: the run was interrupted")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="argus-bench",
        description="Measure how fast model packages run here: latency with its tail, throughput, frame age, "
        "energy, memory and start. Two packages are measured in turn and compared; two results are compared.",
        epilog="The scenarios follow MLPerf Inference (arXiv 1911.02549); these are no MLPerf results.",
    )
    add = parser.add_argument
    add(
        "what",
        type=Path,
        nargs="+",
        metavar="PACKAGE",
        help="folder NAME.argus, or a result.json; one or two",
    )
    add("--engine", type=_engines, default=("auto",), metavar="A,B", help="default: the best of this machine")
    add("--precision", type=name_list, metavar="A,B", help="default: all of the package")
    add("--tasks", type=name_list, metavar="A,B", help="default: all of the package")
    add("--threads", type=positive_number, metavar="N", help="default: one for each core")
    add("--cpus", type=_cpus, metavar="0,1", help="keep the process on these CPUs")
    add("--scenarios", type=_scenarios, default=SCENARIOS, metavar="A,B", help="default: all four")
    add("--seconds", type=_positive, default=10.0, metavar="S",
        help="of each scenario, for each package, precision and engine (default: %(default)s)")  # fmt: skip
    add("--rate", type=_positive, default=30.0, metavar="HZ", help="of the camera (default: %(default)s)")
    add("--source", help="image, folder, video or camera number to take frames from (default: the package's "
        "recorded input, else noise)")  # fmt: skip
    add("--no-start", action="store_true", help="leave out the start of fresh processes, and their memory")
    add("--seed", type=int, default=0, help="of noise and of the resampling (default: %(default)s)")
    add("--out", type=Path, metavar="DIR", help="folder for result.json and report.html")
    add("--json", action="store_true", help="print the result as JSON on stdout")
    add("--version", action="version", version=f"%(prog)s {argus_edge.__version__}")
    return parser


def _engines(text: str) -> tuple[str, ...]:
    return _known(text, ("auto", *ENGINES))


def _scenarios(text: str) -> tuple[Scenario, ...]:
    return cast(tuple[Scenario, ...], _known(text, SCENARIOS))


def _known(text: str, known: Sequence[str]) -> tuple[str, ...]:
    names = name_list(text)
    if strange := [name for name in names if name not in known]:
        raise argparse.ArgumentTypeError(f"expected some of {', '.join(known)}, got {strange[0]!r}")
    return names


def _cpus(text: str) -> tuple[int, ...]:
    if not all(part.isdecimal() for part in text.split(",")):
        raise argparse.ArgumentTypeError(f"expected numbers of CPUs such as 0,1, got {text!r}")
    return tuple(dict.fromkeys(int(part) for part in text.split(",")))


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


if __name__ == "__main__":
    main()
