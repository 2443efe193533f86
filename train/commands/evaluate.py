"""argus-eval: measures a checkpoint or a model package on data sets, or on scenes it has not seen.

argus-eval nano.argus --scenes 500 --precision fp32,int8
argus-eval train/checkpoints/nano --data coco:/data/coco --data ade20k:/data/ade20k --tasks det,seg
argus-eval nano.argus --data "maps:/data/street#sky,road,car" --rename road=ground --shared-classes
argus-eval nano.argus --data nyuv2:/data/nyuv2 --tasks depth --worst 20 --pictures worst
argus-eval runs/own/checkpoint --data pascal:/data/PASCAL_MT --tasks sal --protocol sal=mti-net
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NoReturn, TextIO

from argus_edge.command import name_list, positive_number, run_command
from argus_edge.dependencies import require
from argus_edge.errors import InputError, TaskError, shown
from argus_edge.runtime.engines import default_threads
from argus_edge.tasks import get_task
from argus_edge.train.custom import (
    HINT,
    add_task_option,
    find_task,
    is_known,
    load_installed,
    load_task_files,
)
from argus_edge.train.data.readers import READERS, parse_data
from argus_edge.train.data.scenes.splits import get_split
from argus_edge.train.evaluation_sets import (
    SIZE,
    EvaluationSet,
    check_renames,
    check_tells,
    check_told,
    check_used,
    choose_protocols,
    open_sets,
    rendered_sets,
    tells_about,
    with_protocols,
)
from argus_edge.train.metrics import PROTOCOLS
from argus_edge.train.pictures import Picture, WorstImages, prepare_folder, write_pictures
from argus_edge.train.relabel import ClassTable
from argus_edge.train.report import Measurement, print_tables, problem_lines, problem_rows, to_json
from argus_edge.train.subjects import ENGINES, Model, check_tasks, find_model
from argus_edge.train.truth import true_people
from argus_edge.train.validate import evaluate, make_metric


def main() -> NoReturn:
    """The console script."""
    run_command(lambda: run(sys.argv[1:]), "argus-eval")


def run(arguments: Sequence[str]) -> int:
    """Run the command line; returns its exit code. Raises ArgusError for anything the user can put right."""
    options = _parse(arguments)
    load_task_files(options.task_file)
    _check(options)
    protocols, rename = choose_protocols(options.protocol or ()), _together(options.rename or ())
    require("rich", "train")
    with _open_text(options.problems) as problems:
        if options.pictures is not None:
            prepare_folder(options.pictures)
        model = find_model(options.path, options.engine, options.precision, options.threads)
        check_tasks(options.path, model, options.tasks or ())
        sets = with_protocols(_sets(options, model), protocols)
        check_renames(rename, sets, model.classes)
        _check_true_boxes(options, model, sets)
        measurements, pictures = [], []
        for each, tables in [
            (each, each.tables(model.classes, rename, options.shared_classes)) for each in sets
        ]:
            try:
                measurement, worst = _measure(each, tables, model, options)
            finally:
                if problems is not None:
                    problems.writelines(problem_rows(each.title, each.problems))
            measurements.append(measurement)
            pictures += worst
    _print(options, measurements)
    if options.pictures is not None:
        write_pictures(options.pictures, pictures)
        _note(f"{len(pictures)} pictures in {options.pictures}")
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="argus-eval",
        description="Measure a checkpoint or a model package on data sets, or on scenes it has not seen.",
    )
    add = parser.add_argument
    add("path", type=Path, help="checkpoint folder, or model package (NAME.argus)")
    add("--tasks", type=name_list, help="for example det,seg (all of the model, as far as the data tells)")
    add_task_option(add)
    add("--engine", choices=ENGINES, default="auto", help="(%(default)s)")
    add("--precision", type=name_list, help="fp32,int8: both run on every frame, compared with the first")
    add("--threads", type=positive_number, help="of a package's engine (every core)")
    add("--per-class", action="store_true", help="show figures of single classes too")
    add("--per-size", action="store_true", help="show figures of small, medium and large objects too")
    add("--json", action="store_true", help="print one JSON object, with all figures, instead of tables")
    add(
        "--worst", type=positive_number, metavar="N", help="write the N worst images of each task as pictures"
    )
    add("--pictures", type=Path, metavar="DIR", help="folder for them, made if missing")
    data = parser.add_argument_group("data sets").add_argument
    data("--data", action="append", metavar="LAYOUT:PATH", help="for example coco:/data/coco; repeatable")
    data("--split", help="val, test ... (the one that evaluation takes)")
    data("--limit", type=positive_number, metavar="N", help="only the first N images of each data set")
    data(
        "--rename",
        action="append",
        type=_renames,
        metavar="DATA=MODEL,...",
        help="classes of the data as the model calls them; repeatable, for names with commas one by one",
    )
    data("--shared-classes", action="store_true", help="measure only classes that data and model both have")
    names = "; ".join(f"{task}={'|'.join(known)}" for task, known in PROTOCOLS.items())
    data("--protocol", action="append", metavar="TASK=NAME", help=f"another protocol: {names}; repeatable")
    data("--true-boxes", action="store_true", help="look for keypoints in the data's boxes of people")
    data("--problems", type=Path, metavar="FILE", help="write what is wrong with the data, as lines of JSON")
    data("--strict", action="store_true", help="end at the first thing that is wrong with the data")
    scenes = parser.add_argument_group("rendered scenes, where there is no --data").add_argument
    scenes("--scenes", type=positive_number, default=500, help="number of scenes (%(default)s)")
    first = get_split("val").first
    scenes("--first-seed", type=_seed, default=first, help="seed of the first one (%(default)s)")
    scenes("--cache", type=Path, help="folder that keeps rendered scenes for the next time")
    return parser.parse_args(arguments)


def _check(options: argparse.Namespace) -> None:
    """Raise ArgusError for what cannot be meant or is not there, before anything slow is loaded."""
    if options.split is not None and not options.data:
        raise InputError("--split names a part of a data set; name that with --data LAYOUT:PATH")
    if (options.worst is None) != (options.pictures is None):
        raise InputError("--worst N and --pictures DIR go together: how many to write, and where")
    for task in options.tasks or ():
        find_task(task)
    if any(text.partition(":")[0] not in READERS for text in options.data or ()):
        load_installed()  # the model's tasks, and the readers they have, are not known yet
    for text in options.data or ():
        parse_data(text)
    if options.tasks:
        check_tells(options.data or (), options.tasks)


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, got {text!r}")
    return int(text)


def _renames(text: str) -> dict[str, str]:
    single = text.count("=") == 1  # then commas belong to the names
    pairs = [
        tuple(name.strip() for name in pair.split("=")) for pair in ([text] if single else text.split(","))
    ]
    names = [pair[0] for pair in pairs]
    if not all(len(pair) == 2 and all(pair) for pair in pairs) or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"expected DATA=MODEL,... with each DATA once, got {text!r}")
    return {pair[0]: pair[1] for pair in pairs}


def _together(renames: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """What all --rename options say. Raises InputError where two speak of one class."""
    together: dict[str, str] = {}
    for each in renames:
        if twice := each.keys() & together.keys():
            raise InputError(
                f"--rename: {min(twice)!r} is renamed twice; expected each class of the data once"
            )
        together |= each
    return together


@contextmanager
def _open_text(path: Path | None) -> Iterator[TextIO | None]:
    """The file of problems, opened before any work is done."""
    try:
        opened = nullcontext() if path is None else path.open("w", encoding="ascii")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error
    with opened as file:
        yield file


def _sets(options: argparse.Namespace, model: Model) -> list[EvaluationSet]:
    """What to measure on; what the user has not asked for by name may be missing, which is said."""
    tasks = options.tasks or _measurable(options.path, model.tasks)
    if not options.data:
        count = min(options.scenes, options.limit or options.scenes)
        return rendered_sets(tasks, options.first_seed, count, options.cache, processes=default_threads())
    sets = open_sets(options.data, options.split, tasks, options.limit, options.strict)
    if options.tasks is not None:
        check_told(sets, options.data, tasks)
    if missing := [task for task in tasks if not any(task in each.tasks for each in sets)]:
        _note(f"not measured, as no data set tells about it: {', '.join(missing)}")
    unused = [text for text in options.data if not any(each.data == text for each in sets)]
    if others := [text for text in unused if not tells_about(text, tasks)]:
        _note(f"not used, as the model has no task of theirs: {', '.join(map(shown, others))}")
    if late := [text for text in unused if text not in others]:
        _note(f"not used, as those before tell about the same tasks: {', '.join(map(shown, late))}")
    return sets


def _measurable(path: Path, tasks: Sequence[str]) -> tuple[str, ...]:
    """Those of a model's tasks that are known here; a package runs others, too, but nothing can judge them.

    Raises TaskError where none is left.
    """
    known = tuple(task for task in tasks if is_known(task))
    if unknown := [task for task in tasks if task not in known]:
        _note(f"not measured: {', '.join(unknown)} of {path}; {HINT}")
    if not known:
        raise TaskError(f"{path}: none of its tasks can be measured; {HINT}")
    return known


def _check_true_boxes(options: argparse.Namespace, model: Model, sets: Collection[EvaluationSet]) -> None:
    """Raise InputError where --true-boxes asks for what there is not."""
    if not options.true_boxes:
        return
    if not model.takes_people:
        raise InputError(
            f"--true-boxes: {options.path} is a package, which looks for people with its own detector; "
            f"evaluate the checkpoint it was exported from"
        )
    if not any("pose" in each.tasks for each in sets):
        raise InputError("--true-boxes: is for task 'pose', which is not measured here; leave it out")


def _measure(
    each: EvaluationSet, tables: Mapping[str, ClassTable], model: Model, options: argparse.Namespace
) -> tuple[Measurement, list[Picture]]:
    """Run the model on one set of images; the worst of them where they are asked for."""
    names = {**each.classes, **{task: table.names for task, table in tables.items()}}
    worst = None
    if options.worst is not None:
        worst = WorstImages(
            options.worst, each.metrics, names, lambda t: make_metric(t, each.metrics, names, tables.get(t))
        )
    with model.load(each.tasks) as subject, _progress(each.title, each.count) as step:
        evaluations = evaluate(
            subject.predictors,
            each.read(),
            each.tasks,
            step,
            each.classes,
            metrics=each.metrics,
            tables=tables,
            people=true_people if options.true_boxes and "pose" in each.tasks else None,
            watch=worst.add if worst is not None else None,
            notes=subject.notes,
        )
    measurement = Measurement(each, subject.engine, evaluations)
    for line in problem_lines(each.title, each.problems):
        _note(line)
    check_used(each, measurement.images)
    for task, figures in measurement.first.metrics.items():
        if not figures.get("images"):
            _note(f"{each.title}: no image says anything about task {task!r}")
    if worst is None:
        return measurement, []
    for task, count in worst.without.items():
        _note(f"{get_task(task).title}: {count} images have no figure of their own, and no picture")
    return measurement, worst.pictures()


@contextmanager
def _progress(label: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar on stderr; the value is called for every image, broken ones included."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    text = TextColumn("{task.description}", markup=False)
    columns = text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    # It is drawn between frames only: a bar that redraws by itself would disturb the timing.
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True) as bar:
        task = bar.add_task(label, total=total)

        def step() -> None:
            bar.advance(task)
            bar.refresh()

        yield step


def _print(options: argparse.Namespace, measurements: Sequence[Measurement]) -> None:
    from rich.console import Console

    if options.json:
        scenes = None
        if not options.data:
            count = min(options.scenes, options.limit or options.scenes)
            scenes = {"first_seed": options.first_seed, "count": count, "size": SIZE}
        print(json.dumps(to_json(options.path, scenes, measurements), indent=2, allow_nan=False))
    else:
        console = Console(highlight=False, markup=False, soft_wrap=True)
        print_tables(console, options.path, measurements, options.per_class, options.per_size)


def _note(text: str) -> None:
    print(f"argus-eval: {text}", file=sys.stderr)


if __name__ == "__main__":
    main()
