"""Batches of any data set, read and augmented in worker processes.

What a step sees is computed from (seed, step) alone, so that a resumed run sees the very same data.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from argus_edge.errors import DatasetError, ImageError, InputError, TaskError
from argus_edge.train.batches import Batch, collate
from argus_edge.train.data.augment import Augmentation, make_training_sample
from argus_edge.train.data.dataset import LabelledImages
from argus_edge.train.data.example import Example
from argus_edge.train.data.problems import Problem
from argus_edge.train.data.transforms import Sample
from argus_edge.train.processes import Place


@dataclass(frozen=True)
class Drawn:
    """One training sample, and what was found wrong on the way to it."""

    sample: Sample | None  # None where the data set must not be used any further
    problems: tuple[Problem, ...] = ()
    failure: str = ""


@dataclass(frozen=True)
class Loaded:
    """One batch, and what was found wrong on the way to it."""

    batch: Batch | None
    problems: tuple[Problem, ...]
    failure: str


class ExampleSamples(Dataset[Drawn]):
    """Item `position` is the sample that a run draws there: epoch after epoch, each in its own order.

    An image that cannot be used is replaced by the next one of its epoch that can, and is in the problems of
    the item. Errors of a data set are told in the item, too: a worker's exception would lose its message.

    Args:
        images: the data set; a worker process gets a copy of it.
        tasks: to be learnt from it.
        size: (H, W) [px] of the samples.
        seed: of the run.
        settings: what may happen to a picture; by default as `make_training_sample` has it.
        stream: number of this data set among those of the run, so that each has its own chance.

    Raises TaskError for a task that the data set does not tell about, InputError for one without images.
    """

    def __init__(
        self,
        images: LabelledImages,
        tasks: Sequence[str],
        size: tuple[int, int],
        seed: int,
        settings: Augmentation | None = None,
        stream: int = 0,
    ) -> None:
        unknown = [task for task in tasks if task not in images.tasks]
        if unknown or not tasks:
            raise TaskError(
                f"{images.title} tells about {', '.join(images.tasks)}; "
                f"asked for was {', '.join(unknown) or 'no task at all'}"
            )
        if len(images) == 0:
            raise InputError(f"{images.title} has no images; nothing can be learnt from it")
        self.images, self.tasks, self.size, self.settings = images, tuple(tasks), size, settings
        self._seeds = (seed, stream)
        self._order: tuple[int, NDArray[np.int64]] | None = None  # epoch and its order

    def __len__(self) -> int:
        """Images of an epoch; positions go on beyond it."""
        return len(self.images)

    def __getitem__(self, position: int) -> Drawn:
        epoch, place = divmod(position, len(self.images))
        rng = np.random.default_rng((*self._seeds, epoch, place))
        noted = len(self.images.problems)
        sample, failure = None, ""
        try:
            sample = self._sample(epoch, place, rng)
        except DatasetError as error:
            failure = str(error)
        return Drawn(sample, tuple(islice(self.images.problems, noted, None)), failure)

    def _sample(self, epoch: int, place: int, rng: np.random.Generator) -> Sample:
        order = self._epoch_order(epoch)
        for step in range(len(order)):
            example = self.images[int(order[(place + step) % len(order)])]
            if example is None:
                continue
            try:
                return make_training_sample(
                    self._with_category(example), self.size, rng, self.tasks, self.settings
                )
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


def load_batches(
    samples: ExampleSamples, batch: int, steps: range, workers: int = 0, place: Place | None = None
) -> Iterator[Batch]:
    """The batches of `steps`, in order; problems that workers find are noted in `samples.images.problems`.

    Args:
        samples: what the run draws from.
        batch: images of a step, over all training processes.
        steps: numbers of the steps, such as range(first, last).
        workers: processes that read and augment, each with one thread; 0 for this process itself.
        place: of this process among those that train together; each gets its share of the images.

    Raises DatasetError for what cannot be gone on with: strict problems, or no usable image.
    """
    loader = DataLoader(
        samples,
        batch_sampler=_Positions(batch, steps, place or Place()),
        num_workers=workers,
        collate_fn=partial(_collated, samples.tasks),
        worker_init_fn=_one_thread,
        prefetch_factor=4 if workers else None,
    )
    for loaded in loader:
        for problem in loaded.problems:
            samples.images.problems.add(problem.path, problem.what, problem.lost)
        if loaded.batch is None:
            raise DatasetError(loaded.failure)
        yield loaded.batch


class _Positions:
    """The positions that each step draws."""

    def __init__(self, batch: int, steps: range, place: Place) -> None:
        if batch < place.count:
            raise InputError(
                f"{place.count} processes need batches of at least {place.count} images, got {batch}"
            )
        self.batch, self.steps, self.place = batch, steps, place

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[int]]:
        for step in self.steps:
            first = step * self.batch
            yield list(range(first + self.place.rank, first + self.batch, self.place.count))


def _collated(tasks: tuple[str, ...], drawn: Sequence[Drawn]) -> Loaded:
    problems = tuple(problem for item in drawn for problem in item.problems)
    failure = next((item.failure for item in drawn if item.failure), "")
    samples = [item.sample for item in drawn if item.sample is not None]
    return Loaded(None if failure else collate(tasks, samples), problems, failure)


def _one_thread(_: int) -> None:
    """Workers share the cores among themselves."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
