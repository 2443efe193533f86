"""What a model is measured on: data sets in their published layouts, or rendered scenes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

from argus_edge.errors import DatasetError, InputError, TaskError, shown
from argus_edge.train.data.classes import SCENE_CLASSES
from argus_edge.train.data.dataset import LabelledImages, all_images
from argus_edge.train.data.example import Example
from argus_edge.train.data.problems import Problems
from argus_edge.train.data.readers import open_data, parse_data
from argus_edge.train.metrics import PROTOCOLS, TASK_METRICS, TaskMetric
from argus_edge.train.relabel import ClassTable, listed, match_classes

SIZE: Final = 320  # [px], side of the scenes


@dataclass(frozen=True)
class EvaluationSet:
    """Images, and the tasks that are measured on them."""

    title: str
    tasks: tuple[str, ...]
    classes: Mapping[str, Sequence[str]]  # of the truth
    count: int  # images to be read, broken ones included
    read: Callable[[], Iterable[Example | None]]  # the images in order; None for one that is broken
    data: str | None = None  # LAYOUT:PATH; None for scenes
    split: str | None = None  # None where the data has no splits
    problems: Problems = field(default_factory=Problems)
    metrics: Mapping[str, TaskMetric] = field(default_factory=lambda: TASK_METRICS)

    def tables(
        self, classes: Mapping[str, Sequence[str]], rename: Mapping[str, str], shared: bool
    ) -> dict[str, ClassTable]:
        """How truth and a model of `classes` come together, for each task that has classes.

        Raises InputError as `match_classes` does, naming this set.
        """
        try:
            return {
                task: match_classes(task, classes.get(task, ()), self.classes[task], rename, shared)
                for task in self.tasks
                if self.classes.get(task)
            }
        except InputError as error:
            raise InputError(f"{self.title}: {error}") from error


def rendered_sets(
    tasks: Sequence[str],
    first_seed: int,
    count: int,
    cache: Path | None,
    size: int = SIZE,
    processes: int = 0,
    progress: bool = True,
) -> list[EvaluationSet]:
    """`count` scenes from `first_seed` on and, for anom, as many surfaces, which no other task is run on.

    Args:
        tasks: to be measured.
        first_seed: of scenes and surfaces.
        count: of each of the two.
        cache: folder that keeps scenes for the next time.
        size: of a side [px].
        processes: that render the scenes before the first is asked for, into the cache; 0: one by one.
        progress: show how far they are.
    """
    from argus_edge.train.data.rendered import scene_examples, surface_examples
    from argus_edge.train.data.scenes.dataset import SceneDataset

    on_scenes = tuple(task for task in tasks if task != "anom")

    def scenes() -> Iterable[Example]:
        if cache is not None and processes:
            SceneDataset(first_seed, count, size, cache).prerender(processes, progress=progress)
        return scene_examples(on_scenes, first_seed, count, size, cache)

    title = f"{first_seed} to {first_seed + count - 1}, {size}x{size}"
    sets = []
    if on_scenes:
        sets.append(EvaluationSet(f"scenes {title}", on_scenes, SCENE_CLASSES, count, scenes))
    if "anom" in tasks:
        surfaces = partial(surface_examples, first_seed, count, size)
        sets.append(EvaluationSet(f"surfaces {title}", ("anom",), SCENE_CLASSES, count, surfaces))
    return sets


def open_sets(
    texts: Sequence[str],
    split: str | None,
    tasks: Sequence[str],
    limit: int | None = None,
    strict: bool = False,
) -> list[EvaluationSet]:
    """Data sets named by "LAYOUT:PATH", each with the tasks of `tasks` that none before it tells about.

    Those left without a task are not among them; `tells_about` knows why.

    Args:
        texts: the data sets' names, see `open_data`.
        split: of each of them; None for the one that evaluation takes.
        tasks: to be measured.
        limit: number of images of each, from the first one on.
        strict: whether the first thing that is wrong with a data set ends the reading.

    Raises DatasetError as `open_data` does, TaskError when none of them tells about any of `tasks`.
    """
    if not any(tells_about(text, tasks) for text in texts):
        check_tells(texts, tasks)
    sets = []
    left = list(tasks)
    for text in texts:
        if not tells_about(text, left):
            continue
        images = open_data(text, split, left, Problems(strict))
        told = tuple(task for task in left if task in images.tasks)
        if told:
            reader, path, _ = parse_data(text)
            alone = path.is_file() and path.suffix == ".json"
            sets.append(
                _evaluation_set(images, told, limit, text, None if alone else split or reader.splits[-1])
            )
        left = [task for task in left if task not in told]
    return sets


def tells_about(text: str, tasks: Collection[str]) -> bool:
    """Whether the layout of the data set "LAYOUT:PATH" has labels for any of `tasks`.

    Raises DatasetError as `parse_data` does.
    """
    return not set(tasks).isdisjoint(parse_data(text)[0].tasks)


def check_tells(texts: Sequence[str], tasks: Collection[str]) -> None:
    """Raise TaskError unless each data set's layout has labels for some of `tasks`."""
    for text in texts:
        if not tells_about(text, tasks):
            reader = parse_data(text)[0]
            raise TaskError(
                f"{shown(text)}: {reader.title} tells about {', '.join(reader.tasks)}, none of which is "
                f"among the tasks {', '.join(tasks)}; leave it out or name other tasks"
            )


def choose_protocols(choices: Sequence[str]) -> dict[str, TaskMetric]:
    """Task -> how it is to be measured, from "TASK=NAME" of PROTOCOLS.

    Raises InputError for an unknown task or name, which lists the known ones, or a task chosen twice.
    """
    chosen: dict[str, TaskMetric] = {}
    for choice in choices:
        task, _, name = choice.partition("=")
        if task not in PROTOCOLS:
            raise InputError(f"--protocol {choice}: expected TASK=NAME with a task of {', '.join(PROTOCOLS)}")
        if name not in PROTOCOLS[task]:
            raise InputError(
                f"--protocol {choice}: expected {task}= with one of {', '.join(PROTOCOLS[task])}"
            )
        if task in chosen:
            raise InputError(f"--protocol {choice}: another one is chosen for {task}; give one for each task")
        chosen[task] = PROTOCOLS[task][name]
    return chosen


def with_protocols(sets: Sequence[EvaluationSet], chosen: Mapping[str, TaskMetric]) -> list[EvaluationSet]:
    """The sets with the metrics of `chosen` in place of their own.

    Raises InputError for a task that none of them measures.
    """
    for task in chosen:
        if not any(task in each.tasks for each in sets):
            raise InputError(f"--protocol {task}=...: task {task!r} is not measured here; leave it out")
    return [replace(each, metrics={**each.metrics, **chosen}) for each in sets]


def check_renames(
    rename: Mapping[str, str], sets: Collection[EvaluationSet], model: Mapping[str, Sequence[str]]
) -> None:
    """Raise InputError unless `rename` goes from classes of the data sets to those of the model."""
    data = {name for each in sets for task in each.tasks for name in each.classes.get(task, ())}
    predicted = {name for each in sets for task in each.tasks for name in model.get(task, ())}
    for names, known, whose in ((rename, data, "data"), (rename.values(), predicted, "model")):
        for name in names:
            if name not in known:
                raise InputError(
                    f"--rename: {name!r} is no class of the {whose}, which has: "
                    f"{listed(sorted(known)) or 'none'}; expected DATA=MODEL,..."
                )


def check_told(sets: Collection[EvaluationSet], texts: Sequence[str], tasks: Sequence[str]) -> None:
    """Raise TaskError, telling which data set tells what, unless each of `tasks` is measured on one."""
    missing = [task for task in tasks if not any(task in each.tasks for each in sets)]
    if missing:
        by_text = {each.data: each.tasks for each in sets}
        told = (f"{shown(text)}: {', '.join(by_text.get(text, ())) or 'nothing more'}" for text in texts)
        raise TaskError(
            f"no data set tells about {', '.join(missing)}; of the tasks asked for, {'; '.join(told)}; "
            f"leave them out of --tasks or add a data set with --data"
        )


def _evaluation_set(
    images: LabelledImages, tasks: tuple[str, ...], limit: int | None, text: str, split: str | None
) -> EvaluationSet:
    count = len(images) if limit is None else min(limit, len(images))
    title = shown(images.title)
    if count < len(images):
        title += f"; the first {count} only"
    metrics = {**TASK_METRICS, **images.metrics}
    return EvaluationSet(
        title,
        tasks,
        images.classes,
        count,
        lambda: all_images(images, count),
        text,
        split,
        images.problems,
        metrics,
    )


def check_used(measured: EvaluationSet, images: int) -> None:
    """Raise DatasetError if not one image could be used."""
    if not images:
        first = next((f"; first of {len(measured.problems)} problems: {p}" for p in measured.problems), "")
        raise DatasetError(f"{measured.title}: none of its {measured.count} images could be used{first}")
