"""argus-eval: measures a checkpoint or a model package on scenes it has not seen."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from argus_edge.command import run_command
from argus_edge.dependencies import require
from argus_edge.errors import InputError
from argus_edge.package import ModelPackage
from argus_edge.runtime.engines import default_threads
from argus_edge.runtime.session import Runtime
from argus_edge.spec import PRECISIONS, Precision
from argus_edge.tasks import TASKS
from argus_edge.train.data.scenes.splits import get_split
from argus_edge.train.metrics import COUNTS, TASK_METRICS
from argus_edge.train.validate import Evaluation, Predict, evaluate, time_ratio

SIZE: Final = 320  # [px], side of the scenes
ENGINES: Final = ("auto", "openvino", "onnxruntime", "torch")


@dataclass(frozen=True)
class Subject:
    """What is measured: one predictor per precision, all with the same tasks."""

    engine: str
    tasks: tuple[str, ...]
    predictors: Mapping[str, Predict]


@dataclass(frozen=True)
class Comparison:
    """One precision against the first one, from the same frames."""

    kept: dict[str, dict[str, float]]  # task -> headline figure -> share kept, more is better
    frame_time_ratio: float  # median over the frames


def main() -> NoReturn:
    """The console script."""
    run_command(lambda: run(sys.argv[1:]), "argus-eval")


def run(arguments: Sequence[str]) -> int:
    """Run the command line; returns its exit code. Raises ArgusError for anything the user can put right."""
    options = _parse(arguments)
    require("rich", "train")
    from argus_edge.train.data.rendered import examples_for
    from argus_edge.train.data.scenes.dataset import SceneDataset

    with ExitStack() as stack:
        subject = stack.enter_context(_open(options))
        tasks, seed = subject.tasks, options.first_seed
        if options.cache is not None and set(tasks) != {"anom"}:
            SceneDataset(seed, options.scenes, SIZE, options.cache).prerender(default_threads())
        samples, count = examples_for(tasks, seed, options.scenes, SIZE, options.cache)
        step = stack.enter_context(_progress(" / ".join(subject.predictors), count))
        evaluations = evaluate(subject.predictors, samples, tasks, step)
    comparisons = _compare(evaluations)
    if options.json:
        print(json.dumps(_report(options, subject, evaluations, comparisons), indent=2))
    else:
        _print_tables(options, subject, evaluations, comparisons)
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="argus-eval", description="Measure a checkpoint or a model package on scenes it has not seen."
    )
    add = parser.add_argument
    add("path", type=Path, help="checkpoint folder, or model package (NAME.argus)")
    add("--scenes", type=_positive, default=500, help="number of scenes (%(default)s)")
    add(
        "--first-seed", type=_seed, default=get_split("val").first, help="seed of the first one (%(default)s)"
    )
    add("--tasks", type=_names, help="for example det,seg (all of the model)")
    add("--engine", choices=ENGINES, default="auto", help="(%(default)s)")
    add("--precision", type=_names, help="fp32,int8: both run on every frame, compared with the first")
    add("--threads", type=_positive, help="of a package's engine (every core)")
    add("--cache", type=Path, help="folder that keeps rendered scenes for the next time")
    add("--per-class", action="store_true", help="show figures of single classes too")
    add("--json", action="store_true", help="print one JSON object instead of tables")
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, got {text!r}")
    return int(text)


def _names(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if not all(names):
        raise argparse.ArgumentTypeError(f"expected names with commas between them, got {text!r}")
    return names


@contextmanager
def _open(options: argparse.Namespace) -> Iterator[Subject]:
    path = options.path
    with ExitStack() as stack:
        if (path / "model.json").is_file():
            yield _open_checkpoint(options)
        elif path.is_dir():
            yield _open_package(options, stack)
        else:
            raise InputError(f"{path}: expected a checkpoint or model package, which are folders; got none")


def _open_checkpoint(options: argparse.Namespace) -> Subject:
    if options.engine not in ("auto", "torch"):
        raise InputError(f"{options.path} is a checkpoint, run by torch; export it to use {options.engine}")
    if options.precision not in (None, ("fp32",)):
        raise InputError(f"{options.path} is a checkpoint, run in fp32; export it for other precisions")
    require("torch", "train")
    from argus_edge.train.model.checkpoint import load_checkpoint
    from argus_edge.train.predict import TorchPredictor

    predictor = TorchPredictor(*load_checkpoint(options.path), options.tasks)
    return Subject("torch", predictor.tasks, {"fp32": predictor})


def _open_package(options: argparse.Namespace, stack: ExitStack) -> Subject:
    if options.engine == "torch":
        raise InputError(f"{options.path} is not a checkpoint, and only those run on torch")
    package = ModelPackage.open(options.path)
    runtimes = [
        stack.enter_context(
            Runtime(
                package,
                options.engine,
                precision,
                tasks=options.tasks,
                threads=options.threads,
                score_threshold=0.0,
            )
        )
        for precision in map(_precision, options.precision or [None])
    ]
    engine = f"{runtimes[0].engine} {runtimes[0].engine_version}"
    return Subject(engine, runtimes[0].tasks, {runtime.precision: runtime for runtime in runtimes})


def _precision(name: str | None) -> Precision | None:
    for precision in PRECISIONS:
        if name == precision:
            return precision
    if name is None:
        return None
    raise InputError(f"unknown precision {name!r}; expected {', '.join(PRECISIONS)}")


@contextmanager
def _progress(label: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar on stderr; the value is called after every image."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    # It is drawn between frames only: a bar that redraws by itself would disturb the timing.
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True) as bar:
        task = bar.add_task(label, total=total)

        def step() -> None:
            bar.advance(task)
            bar.refresh()

        yield step


def _compare(evaluations: Mapping[str, Evaluation]) -> dict[str, Comparison]:
    reference, *others = evaluations
    first = evaluations[reference]
    return {
        name: Comparison(
            kept={t: TASK_METRICS[t].kept(first.metrics[t], m) for t, m in evaluations[name].metrics.items()},
            frame_time_ratio=time_ratio(first, evaluations[name]),
        )
        for name in others
    }


def _report(
    options: argparse.Namespace,
    subject: Subject,
    evaluations: Mapping[str, Evaluation],
    comparisons: Mapping[str, Comparison],
) -> dict[str, Any]:
    reference = next(iter(evaluations))
    return {
        "path": str(options.path),
        "engine": subject.engine,
        "scenes": {"first_seed": options.first_seed, "count": options.scenes, "size": SIZE},
        "protocols": evaluations[reference].protocols,
        "precisions": {
            name: {"metrics": evaluation.metrics, "frame_ms": evaluation.percentiles()}
            for name, evaluation in evaluations.items()
        },
        "compared_with": reference if comparisons else None,
        "comparisons": {
            name: {"kept": comparison.kept, "frame_time_ratio": comparison.frame_time_ratio}
            for name, comparison in comparisons.items()
        },
    }


def _print_tables(
    options: argparse.Namespace,
    subject: Subject,
    evaluations: Mapping[str, Evaluation],
    comparisons: Mapping[str, Comparison],
) -> None:
    from rich.console import Console
    from rich.table import Column, Table

    console = Console(highlight=False, markup=False, soft_wrap=True)
    last = options.first_seed + options.scenes - 1
    console.print(f"{options.path} on {subject.engine}, scenes {options.first_seed} to {last}, {SIZE}x{SIZE}")
    headings = [*evaluations, *(f"{name} keeps" for name in comparisons)]
    table = Table("task", "figure", *(Column(heading, justify="right") for heading in headings))
    for task in subject.tasks:
        metrics = [evaluation.metrics[task] for evaluation in evaluations.values()]
        for figure in dict.fromkeys(name for each in metrics for name in each):
            if "/" in figure and not options.per_class:
                continue
            shares = [comparison.kept[task].get(figure) for comparison in comparisons.values()]
            table.add_row(
                TASKS[task].title,
                figure,
                *(_cell(figure, each.get(figure)) for each in metrics),
                *("" if share is None else f"{100 * share:.2f} %" for share in shares),
                style="bold" if figure in TASK_METRICS[task].headline else None,
            )
        table.add_section()
    times = [evaluation.percentiles() for evaluation in evaluations.values()]
    for percentile in times[0]:
        table.add_row("frame time [ms]", percentile, *(f"{each[percentile]:.2f}" for each in times))
    console.print(table)
    for task, protocol in next(iter(evaluations.values())).protocols.items():
        console.print(f"{TASKS[task].title}: {protocol}")
    for name, comparison in comparisons.items():
        console.print(f"frame time of {name} by that of {headings[0]}: {comparison.frame_time_ratio:.3f}")


def _cell(figure: str, value: float | None) -> str:
    if value is None:
        return "-"
    return str(int(value)) if figure in COUNTS else f"{value:.4f}"
