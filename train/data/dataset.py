"""What every data set is to training and evaluation, wherever its images come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from argus_edge.train.data.example import Example
from argus_edge.train.data.problems import Problems
from argus_edge.train.metrics import TaskMetric


class LabelledImages(Protocol):
    """Images with labels, in a fixed order, each read when asked for.

    Safe to hand to worker processes: it can be pickled, holds no open files, and item `i` is the same each
    time.
    """

    @property
    def title(self) -> str:
        """What it is, for people: "COCO val2017 in /data/coco"."""
        ...

    @property
    def classes(self) -> Mapping[str, tuple[str, ...]]:
        """Class names of each of its tasks that has classes; pose has the names of its keypoints."""
        ...

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that it says something about."""
        ...

    @property
    def metrics(self) -> Mapping[str, TaskMetric]:
        """Where its published protocol is another than `TASK_METRICS` has."""
        ...

    @property
    def problems(self) -> Problems:
        """What was found wrong so far: with the whole when it was opened, with an image when it was read."""
        ...

    def __len__(self) -> int:
        """Number of images that are listed: those that can be used, and those of which item `i` is None.

        Images that are not listed may be among the problems too: of two files of one name the second, a
        picture that is in no class's folder, a line of a list that leads out of the folder. All that was met
        is `len(images)` and those.
        """
        ...

    def __getitem__(self, index: int) -> Example | None:
        """Image `index` with its labels; None if it cannot be used, which is then among the problems.

        Raises IndexError beyond the last one, DatasetError if problems are strict.
        """
        ...


def all_images(images: LabelledImages, count: int | None = None) -> Iterator[Example | None]:
    """The images in order, the first `count` or all; None for one that cannot be used."""
    return (images[index] for index in range(len(images) if count is None else count))
