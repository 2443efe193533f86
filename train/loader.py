"""Batches of any data set, read and augmented in worker processes.

What a step sees is computed from (seed, step) alone, so that a resumed run sees the very same data.
"""

from __future__ import annotations

import atexit
import dataclasses
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from multiprocessing import active_children

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from argus_edge.errors import DatasetError, ImageError, InputError, TaskError
from argus_edge.train.batches import Batch, StepBatches, check_shares, collate, positions_of, view_chance
from argus_edge.train.custom import origins
from argus_edge.train.data.augment import Augmentation, make_training_sample, untold
from argus_edge.train.data.dataset import LabelledImages
from argus_edge.train.data.example import Example
from argus_edge.train.data.problems import Problem
from argus_edge.train.data.transforms import Sample
from argus_edge.train.processes import Place
from argus_edge.train.recipe import Phase


@dataclass(frozen=True)
class Drawn:
    """One training sample, and what was found wrong on the way to it."""

    sample: Sample | None  # None where the data set must not be used any further
    problems: tuple[Problem, ...] = ()
    failure: str = ""


@dataclass(frozen=True)
class Loaded:
    """The batches of a step, and what was found wrong on the way to them."""

    batches: list[Batch]
    problems: tuple[tuple[Problem, ...], ...] = ()  # of each data set
    failure: str = ""


class ExampleSamples:
    """The samples that a run draws from a data set: epoch after epoch, each in its own order.

    An image that cannot be used is replaced by the next one of its epoch that can, and is in the sample's
    problems; one of which its data set says nothing about a task is replaced, too. Errors of a data set are
    told with the sample: a worker's exception would lose its message.

    Args:
        images: the data set; a worker process gets a copy of it.
        tasks: to be learnt from it.
        seed: of the run.
        settings: what may happen to a picture; by default as `make_training_sample` has it.
        stream: number of this data set among those of the run, so that each has its own chance.
        views: random views that each image is seen in, in turn; 0 for a new one every time.

    Raises TaskError for a task that the data set does not tell about, InputError for one without images.
    """

    def __init__(
        self,
        images: LabelledImages,
        tasks: Sequence[str],
        seed: int,
        settings: Augmentation | None = None,
        stream: int = 0,
        views: int = 0,
    ) -> None:
        unknown = [task for task in tasks if task not in images.tasks]
        if unknown or not tasks:
            raise TaskError(
                f"{images.title} tells about {', '.join(images.tasks)}; "
                f"asked for was {', '.join(unknown) or 'no task at all'}"
            )
        if len(images) == 0:
            raise InputError(f"{images.title} has no images; nothing can be learnt from it")
        self.images, self.tasks, self.settings = images, tuple(tasks), settings
        self.views, self._seeds = views, (seed, stream)
        self._order: tuple[int, NDArray[np.int64]] | None = None  # epoch and its order

    def draw(self, position: int, size: tuple[int, int]) -> Drawn:
        """The sample at `position`, counted from the run's start, of size (H, W) [px]."""
        epoch, place = divmod(position, len(self.images))
        rng = np.random.default_rng((*self._seeds, epoch, place))
        noted = len(self.images.problems)
        sample, failure = None, ""
        try:
            sample = self._sample(epoch, place, rng, size)
        except DatasetError as error:
            failure = str(error)
        return Drawn(sample, tuple(islice(self.images.problems, noted, None)), failure)

    def _sample(self, epoch: int, place: int, rng: np.random.Generator, size: tuple[int, int]) -> Sample:
        order = self._epoch_order(epoch)
        for step in range(len(order)):
            index = int(order[(place + step) % len(order)])
            example = self.images[index]
            example = None if example is None else self._with_category(example)
            if example is None or untold(example, self.tasks):
                continue
            if self.views:
                rng = view_chance(self._seeds, index, epoch, self.views)
            try:
                return make_training_sample(example, size, rng, self.tasks, self.settings)
            except ImageError as error:  # a side longer than any the runtime takes
                self.images.problems.add(example.name, str(error), "image")
        raise DatasetError(f"{self.images.title}: not one of its {len(order)} images can be used")

    def _epoch_order(self, epoch: int) -> NDArray[np.int64]:
        if self._order is None or self._order[0] != epoch:
            rng = np.random.default_rng((*self._seeds, epoch))
            self._order = epoch, rng.permutation(len(self.images))
        return self._order[1]

    def _with_category(self, example: Example) -> Example:
        """For anomaly detection the image's class is its category."""
        if "anom" not in self.tasks or example.anomaly is None:
            return example
        category = self.images.classes["anom"].index(example.anomaly.category)
        return dataclasses.replace(example, image_class=category)


class Steps(Dataset[Loaded]):
    """Item `step` is that step's batches of all tasks, scenes first.

    Args:
        scenes: batches of scenes; None where every task has data of its own.
        sets: each with the phases in which it is learnt from.
        place: of this process among those that train together; each gets its share of the images.
        parts: in which each batch comes, as `Batch.share` tells.

    Raises InputError where the batches are too small for that.
    """

    def __init__(
        self,
        scenes: StepBatches | None,
        sets: Sequence[tuple[ExampleSamples, Sequence[Phase]]],
        place: Place | None = None,
        parts: int = 1,
    ) -> None:
        # First, so that a worker that unpickles this knows the tasks from outside before it meets their data.
        self.origins = origins()
        self.scenes, self.sets, self.place, self.parts = scenes, tuple(sets), place or Place(), parts
        for _, phases in self.sets:
            check_shares(phases, self.place, parts)

    def __getitem__(self, step: int) -> Loaded:
        try:
            return self._load(step)
        except TaskError as error:  # a task from outside does not work; a worker's exception would lose that
            return Loaded([], failure=str(error))

    def _load(self, step: int) -> Loaded:
        batches = [] if self.scenes is None else self.scenes[step]
        problems: list[tuple[Problem, ...]] = []
        for samples, phases in self.sets:
            found: list[Problem] = []
            for positions, size in positions_of(step, phases, self.place, self.parts):
                drawn = [samples.draw(position, (size, size)) for position in positions]
                found += [problem for item in drawn for problem in item.problems]
                failure = next((item.failure for item in drawn if item.failure), "")
                if failure:
                    return Loaded([], (*problems, tuple(found)), failure)
                usable = [item.sample for item in drawn if item.sample is not None]
                batches.append(collate(samples.tasks, usable, 1 / self.parts))
            problems.append(tuple(found))
        return Loaded(batches, tuple(problems))


def load_steps(items: Steps, steps: range, workers: int = 0) -> Iterator[list[Batch]]:
    """The batches of `steps`, in order; problems that workers find are noted with their data set.

    Args:
        items: what the run draws from.
        steps: numbers of the steps, such as range(first, last).
        workers: processes that read and augment, each with one thread; 0 for this process itself.

    Raises DatasetError for what cannot be gone on with: strict problems, no usable image, or a task from
    outside whose labels or targets cannot be made.
    """
    if workers:
        atexit.register(_end_workers)
    loader = DataLoader(
        items,
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        worker_init_fn=_start_worker,
        # A fork would copy the locks that other threads of this process hold, and wait for them for ever.
        multiprocessing_context="spawn" if workers else None,
        prefetch_factor=4 if workers else None,
    )
    for loaded in loader:
        for (samples, _), problems in zip(items.sets, loaded.problems, strict=False):
            for problem in problems:
                samples.images.problems.add(problem.path, problem.what, problem.lost)
        if loaded.failure:
            raise DatasetError(loaded.failure)
        yield loaded.batches


def _start_worker(_: int) -> None:
    """Workers share the cores among themselves, and leave it to the run to end them: a signal to stop goes to
    all processes of a group, and the run still wants the batch of its last step.
    """
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, lambda *_: os._exit(0))


def _end_workers() -> None:
    """At the end of a run: workers that an exception has left running. Python would send them SIGTERM, which
    they do not heed, and wait for ever; killed ones make torch raise an error of its own.
    """
    for worker in active_children():
        if worker.daemon and worker.pid is not None:
            os.kill(worker.pid, signal.SIGUSR1)
