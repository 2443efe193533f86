"""Data sets of a published layout whose labels of one of our tasks are those of a task from outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from argus_edge.train.data.dataset import LabelledImages
from argus_edge.train.data.example import Example, truth_of
from argus_edge.train.data.problems import Problems
from argus_edge.train.data.readers.reader import Reader
from argus_edge.train.metrics import TaskMetric


def as_task(reader: Reader, told: str, task: str) -> Reader:
    """The reader `reader`, whose labels of `told` become those of the task `task`, its only one.

    `told` is a task whose labels are a map or a class: seg, depth, normal, cls ...
    """

    def opened(
        path: Path, split: str, _: tuple[str, ...], problems: Problems, names: tuple[str, ...] | None = None
    ) -> LabelledImages:
        if names is not None and reader.open_named is not None:
            return _OfTask(reader.open_named(path, split, (told,), problems, names), told, task)
        return _OfTask(reader.open(path, split, (told,), problems), told, task)

    return replace(
        reader, tasks=(task,), open=opened, open_named=opened if reader.open_named is not None else None
    )


@dataclass(frozen=True)
class _OfTask:
    """A `LabelledImages` of which one label goes by the name of another task."""

    images: LabelledImages
    told: str
    task: str

    @property
    def title(self) -> str:
        return self.images.title

    @property
    def classes(self) -> Mapping[str, tuple[str, ...]]:
        return {self.task: self.images.classes[self.told]} if self.told in self.images.classes else {}

    @property
    def tasks(self) -> tuple[str, ...]:
        return (self.task,) if self.told in self.images.tasks else ()

    @property
    def metrics(self) -> Mapping[str, TaskMetric]:
        return {}

    @property
    def problems(self) -> Problems:
        return self.images.problems

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Example | None:
        example = self.images[index]
        if example is None:
            return None
        return Example(example.name, example.image, custom={self.task: truth_of(self.told, example)})
