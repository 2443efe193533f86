"""Which layouts can be read, by what, and for which tasks."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Final

from argus_edge.errors import DatasetError, TaskError, shown
from argus_edge.train.data.dataset import LabelledImages
from argus_edge.train.data.problems import Problems
from argus_edge.train.data.readers.ade20k import ADE20K
from argus_edge.train.data.readers.coco import COCO
from argus_edge.train.data.readers.imagenet import IMAGENET
from argus_edge.train.data.readers.label_maps import LABEL_MAPS
from argus_edge.train.data.readers.mvtec import MVTEC
from argus_edge.train.data.readers.nyuv2 import NYUV2
from argus_edge.train.data.readers.pascal import PASCAL
from argus_edge.train.data.readers.reader import Reader
from argus_edge.train.data.readers.yolo import YOLO

# A layout's name on the command line -> its reader.
READERS: Final[dict[str, Reader]] = {
    "ade20k": ADE20K,
    "coco": COCO,
    "imagenet": IMAGENET,
    "maps": LABEL_MAPS,
    "mvtec": MVTEC,
    "nyuv2": NYUV2,
    "pascal": PASCAL,
    "yolo": YOLO,
}


def open_data(
    text: str, split: str | None, tasks: Collection[str], problems: Problems | None = None
) -> LabelledImages:
    """The data set named by "LAYOUT:PATH", as in "coco:/data/coco", for those of `tasks` it tells about.

    Where the layout has no names of classes, they may follow: "maps:/data/camvid#sky,building,pole".

    Args:
        text: layout, colon, folder (for some layouts: a file).
        split: "train", "val" or as the data set calls it; None for the one that evaluation takes.
        tasks: wanted; those the layout cannot tell about are left out.
        problems: collects what is wrong; by default a collection that is not strict.

    Raises:
        DatasetError: no such layout or folder, or something the layout requires is missing, all of it named.
        TaskError: the layout tells about none of `tasks`.
    """
    reader, path, names = parse_data(text)
    told = tuple(task for task in tasks if task in reader.tasks)
    if not told:
        raise TaskError(
            f"{reader.title} tells about {', '.join(reader.tasks)}, none of which is among the tasks "
            f"{', '.join(tasks)}"
        )
    problems = Problems() if problems is None else problems
    split = split or reader.splits[-1]
    if names is not None and reader.open_named is not None:
        return reader.open_named(path, split, told, problems, names)
    return reader.open(path, split, told, problems)


def parse_data(text: str) -> tuple[Reader, Path, tuple[str, ...] | None]:
    """What "LAYOUT:PATH" stands for: reader, folder or file, and the names of classes where they follow.

    Raises DatasetError when there is no such layout or nothing at the path.
    """
    name, colon, path = text.partition(":")
    reader = READERS.get(name)
    if not colon or not path or reader is None:
        raise DatasetError(
            f"data {text!r}: expected LAYOUT:PATH with one of the layouts {', '.join(READERS)}, "
            f"for example coco:/data/coco"
        )
    folder, names = _expanded(path), None
    before, mark, behind = path.rpartition("#")
    if mark and before and reader.open_named is not None and not _exists(folder):
        folder, names = _expanded(before), tuple(name.strip() for name in behind.split(","))
    if not _exists(folder):
        raise DatasetError(f"{shown(folder)}: no such folder; expected {reader.title}: {reader.layout}")
    return reader, folder, names


def _exists(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110  (Path.exists raises where a folder may not be looked into)


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:  # no such user
        return Path(path)
