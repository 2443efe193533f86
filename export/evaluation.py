"""What the gate measures tasks on: data sets or scenes, with labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from argus_edge.errors import TaskError
from argus_edge.export.calibration import SCENES
from argus_edge.runtime.engines import default_threads
from argus_edge.tasks import TASKS
from argus_edge.train.data.scene_labels import CUSTOM_SCENE_LABELS
from argus_edge.train.data.scenes.splits import get_split
from argus_edge.train.evaluation_sets import EvaluationSet, open_sets, rendered_sets
from argus_edge.train.sources import data_and_split

__all__ = ["EVALUATION_SCENES", "find_evaluation"]

EVALUATION_SCENES: Final = 200


def find_evaluation(
    texts: Sequence[str],
    classes: Mapping[str, Sequence[str]],
    images: int | None,
    cache: Path,
) -> list[EvaluationSet]:
    """What --eval-data names: "scenes" of the validation split, or LAYOUT:PATH[@SPLIT]; for the gate.

    A task is measured on the first of them that tells about it.

    Args:
        texts: the names.
        classes: of each task, as the model has them; all its tasks.
        images: most of each set; None: all of a data set, `EVALUATION_SCENES` scenes.
        cache: folder that scenes are kept in, as they are measured on more than once.

    Raises DatasetError, TaskError and InputError as argus-eval does, TaskError for one that is left without a
    task.
    """
    sets: list[EvaluationSet] = []
    for text in texts:
        left = [task for task in classes if not any(task in each.tasks for each in sets)]
        if text == SCENES:
            left = [task for task in left if task in TASKS or task in CUSTOM_SCENE_LABELS]
        if not left:
            raise TaskError(f"--eval-data {text}: those before it tell about all tasks; leave it out")
        if text == SCENES:
            first, count = get_split("val").first, images or EVALUATION_SCENES
            sets += rendered_sets(left, first, count, cache, processes=default_threads(), progress=False)
        else:
            data, split = data_and_split(text)
            sets += open_sets([data], split, left, images)
    for each in sets:
        each.tables(classes, {}, shared=False)  # here, before any work, names of classes are found to differ
    return sets
