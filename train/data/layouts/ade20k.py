"""ADE20K as released for the scene parsing challenge of 2016: semantic maps and the list of classes.

In the maps 0 is what belongs to no class; classes count from 1 in the order of objectInfo150.txt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from argus_edge.train.data.layouts.files import Files, png
from argus_edge.train.data.layouts.layout import Entry, Layout, Row
from argus_edge.train.data.scenes.scene import FIRST_THING, SEG_CLASSES

_FOLDERS: Final = {"train": "training", "val": "validation"}


def _add(entry: Entry, files: Files) -> Row:
    labels = entry.example.labels
    assert labels is not None
    folder = _FOLDERS[entry.split]
    entry.write_picture(files, f"images/{folder}/{entry.name}.jpg")
    files.write(f"annotations/{folder}/{entry.name}.png", png(labels + np.uint8(1)))
    return np.bincount(labels.ravel(), minlength=len(SEG_CLASSES)).tolist()


def _finish(rows: Mapping[str, list[Row]], files: Files) -> None:
    """The list of classes: share of all pixels, and number of images of each split that show it."""
    counts = {split: np.array(rows[split], np.int64) for split in _FOLDERS}
    pixels = sum(count.sum(axis=0) for count in counts.values())
    shown = [(count > 0).sum(axis=0) for count in counts.values()]
    lines = ["Idx\tRatio\tTrain\tVal\tStuff\tName"]
    for label, name in enumerate(SEG_CLASSES):
        ratio, (train, val) = pixels[label] / pixels.sum(), (split[label] for split in shown)
        lines.append(f"{label + 1}\t{ratio:.4f}\t{train}\t{val}\t{int(label < FIRST_THING)}\t{name}")
    files.write_lines("objectInfo150.txt", lines)


ADE20K: Final = Layout(("seg",), _add, _finish)
