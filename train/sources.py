"""Where the tasks of a run learn from: data sets that the recipe names, and rendered scenes for the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import DatasetError, InputError, TaskError, shown
from argus_edge.tasks import TASKS
from argus_edge.train.batches import StepBatches, scene_source
from argus_edge.train.data.classes import SCENE_CLASSES, THINGS
from argus_edge.train.data.dataset import LabelledImages
from argus_edge.train.data.problems import Problems
from argus_edge.train.data.readers import READERS, open_data
from argus_edge.train.data.scene_labels import CUSTOM_SCENE_LABELS
from argus_edge.train.data.scenes.dataset import SceneDataset
from argus_edge.train.evaluation_sets import EvaluationSet, open_sets
from argus_edge.train.loader import ExampleSamples, Steps
from argus_edge.train.model.argus import decoder_of, decoders_of
from argus_edge.train.processes import Place
from argus_edge.train.recipe import Recipe, phases_of


@dataclass(frozen=True)
class Sources:
    """What a run learns from, and what it calls the classes of its tasks."""

    scenes: SceneDataset | None  # None where every task has data of its own
    sets: Mapping[str, LabelledImages]  # decoder -> its data set
    classes: Mapping[str, tuple[str, ...]]  # of each task that has classes
    things: int  # of the classes of pan the first so many are countable; 0 without pan

    def steps(self, recipe: Recipe, place: Place) -> Steps:
        """The batches of the run. Raises InputError as `Steps` does."""
        scenes = StepBatches(recipe, self.scenes, place) if self.scenes is not None else None
        stream = count(len(scenes.groups) if scenes is not None else 0)
        sets = [
            (
                ExampleSamples(images, (task,), recipe.seed, stream=next(stream), views=recipe.views),
                phases_of(recipe, task),
            )
            for task, images in self.sets.items()
        ]
        return Steps(scenes, sets, place, recipe.accumulate)

    def pictures(self, number: int) -> Iterator[NDArray[np.uint8]]:
        """Images (H, W, 3) uint8 RGB that the run learns from, one size each: scenes where there are any."""
        if self.scenes is not None:
            yield from (self.scenes[i].image for i in range(min(number, len(self.scenes))))
            return
        (task, images), *_ = self.sets.items()
        samples = ExampleSamples(images, (task,), 0)
        for position in range(min(number, len(images))):
            sample = samples.draw(position, (320, 320)).sample
            if sample is not None:
                yield sample.image


def open_sources(recipe: Recipe, cache: Path) -> Sources:
    """The data sets that the recipe names, opened; `cache` keeps rendered scenes.

    Raises DatasetError and TaskError as `open_data` does, InputError where two tasks of one decoder have
    other data.
    """
    if {"det", "inst"} <= set(recipe.tasks) and recipe.data.get("det") != recipe.data.get("inst"):
        raise InputError(
            f"det and inst share a decoder, so they learn from the same data; got "
            f"{recipe.data.get('det', 'scenes')} for det, {recipe.data.get('inst', 'scenes')} for inst"
        )
    decoders = decoders_of(recipe.tasks)
    for task in decoders:
        if task not in recipe.data and task not in TASKS and task not in CUSTOM_SCENE_LABELS:
            raise InputError(
                f"task {task!r} does not say what scenes tell about it; name a data set with --data "
                f"LAYOUT:PATH"
            )
    sets = {task: open_part(recipe.data[task], (task,)) for task in decoders if task in recipe.data}
    classes = {}
    for task in recipe.tasks:
        decoder = decoder_of(task, recipe.tasks)
        names = sets[decoder].classes if decoder in sets else SCENE_CLASSES
        if decoder in names:
            classes[task] = tuple(names[decoder])
    things = THINGS if "pan" in recipe.tasks else 0
    if "pan" in sets:
        things = int(getattr(sets["pan"], "things", 0))
    return Sources(scene_source(recipe, cache), sets, classes, things)


def validation_sets(recipe: Recipe, sources: Sources) -> tuple[list[EvaluationSet], list[str]]:
    """The parts of the data sets that evaluation takes, each of `recipe.validate_scenes` images at most; and
    what is not validated, for people: data sets without such a part, and those of which it is learnt from.
    """
    sets, notes = [], []
    tasks_of: dict[str, list[str]] = {}
    for task, text in recipe.data.items():
        tasks_of.setdefault(text, []).append(task)
    for text, tasks in tasks_of.items():
        titles = {sources.sets[t].title for t in decoders_of(tasks) if t in sources.sets}
        try:
            found = open_sets([data_and_split(text)[0]], None, tasks, recipe.validate_scenes)
        except (DatasetError, TaskError) as error:
            notes.append(f"{', '.join(tasks)}: not validated ({error})")
            continue
        for each in found:
            if any(each.title.startswith(title) for title in titles):
                notes.append(
                    f"{', '.join(tasks)}: not validated, as {text} has no part that is not learnt from"
                )
            else:
                sets.append(each)
    return sets, notes


def assign_data(texts: Sequence[str], tasks: Sequence[str]) -> dict[str, str]:
    """Which of `tasks` learns from which of the data sets "LAYOUT:PATH[@SPLIT]": the first that tells of it.

    Raises DatasetError and TaskError as `open_data` does, and TaskError for one that serves no task.
    """
    assigned: dict[str, str] = {}
    for text in texts:
        left = [task for task in tasks if task not in assigned]
        reader = READERS.get(text.partition(":")[0])
        if reader is not None and not set(left) & set(reader.tasks) and set(tasks) & set(reader.tasks):
            told: tuple[str, ...] = ()
        else:
            told = open_part(text, left).tasks
        if not told:
            raise TaskError(
                f"--data {shown(text)}: no task of {', '.join(tasks)} is left for it, as those before tell "
                f"of {', '.join(assigned)}"
            )
        assigned |= dict.fromkeys(told, text)
    return assigned


def data_and_split(text: str) -> tuple[str, str | None]:
    """The two of "LAYOUT:PATH@SPLIT"; the split is None where none is named, as in a path with an @."""
    data, mark, split = text.rpartition("@")
    path = Path(text.partition(":")[2]).expanduser()
    if not mark or not split or set(split) & set("/#,") or path.exists():
        return text, None
    return data, split


def open_part(text: str, tasks: Sequence[str]) -> LabelledImages:
    """The part of the data set "LAYOUT:PATH[@SPLIT]" to learn from, for the `tasks` that it tells about.

    Raises DatasetError and TaskError as `open_data` does.
    """
    data, split = data_and_split(text)
    reader = READERS.get(data.partition(":")[0])
    return open_data(data, split or (reader.splits[0] if reader is not None else None), tasks, Problems())
