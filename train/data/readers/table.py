"""Which layouts can be read, by what, and for which tasks."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Final

from argus_edge.errors import DatasetError, TaskError
from argus_edge.train.data.dataset import LabelledImages
from argus_edge.train.data.problems import Problems
from argus_edge.train.data.readers.reader import Reader

# A layout's name on the command line -> its reader.
READERS: Final[dict[str, Reader]] = {}


def open_data(
    text: str, split: str | None, tasks: Collection[str], problems: Problems | None = None
) -> LabelledImages:
    """The data set named by "LAYOUT:PATH", as in "coco:/data/coco", for those of `tasks` it tells about.

    Args:
        text: layout, colon, folder (for some layouts: a file).
        split: "train", "val" or as the data set calls it; None for the one that evaluation takes.
        tasks: wanted; those the layout cannot tell about are left out.
        problems: collects what is wrong; by default a collection that is not strict.

    Raises:
        DatasetError: no such layout or folder, or something the layout requires is missing, all of it named.
        TaskError: the layout tells about none of `tasks`.
    """
    name, colon, path = text.partition(":")
    reader = READERS.get(name)
    if not colon or not path or reader is None:
        raise DatasetError(
            f"data {text!r}: expected LAYOUT:PATH with one of the layouts {', '.join(READERS)}, "
            f"for example coco:/data/coco"
        )
    told = tuple(task for task in tasks if task in reader.tasks)
    if not told:
        raise TaskError(
            f"{reader.title} tells about {', '.join(reader.tasks)}, none of which is among the tasks "
            f"{', '.join(tasks)}"
        )
    folder = Path(path).expanduser()
    if not folder.exists():
        raise DatasetError(f"{folder}: no such folder; expected {reader.title}: {reader.layout}")
    return reader.open(folder, split or reader.splits[-1], told, Problems() if problems is None else problems)
