"""What a reader of one published layout is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from argus_edge.train.data.dataset import LabelledImages
from argus_edge.train.data.problems import Problems

Open = Callable[[Path, str, tuple[str, ...], Problems], LabelledImages]
"""(folder or file, split, tasks, problems) -> the data set, with the labels that those tasks need."""


OpenNamed = Callable[[Path, str, tuple[str, ...], Problems, tuple[str, ...]], LabelledImages]
"""The same, with the names of the classes."""


@dataclass(frozen=True)
class Reader:
    """One layout."""

    title: str  # "COCO instances"
    tasks: tuple[str, ...]  # that it can tell about; a folder may hold fewer
    splits: tuple[str, ...]  # usual names, the one for evaluation last
    layout: str  # the paths it expects below the folder, for messages and docs
    open: Open
    open_named: OpenNamed | None = None  # where the user may name the classes
