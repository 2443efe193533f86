"""Boxes as YOLO trainers take them: a text file for each image, and data.yaml.

A line is class, x and y of the middle, width, height, as shares of the picture's sides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from argus_edge.train.data.layouts.files import Files
from argus_edge.train.data.layouts.layout import Entry, Layout, Row
from argus_edge.train.data.scenes.scene import DET_CLASSES


def _add(entry: Entry, files: Files) -> Row:
    example = entry.example
    assert example.objects is not None
    height, width = example.image.shape[:2]
    lines = []
    for thing in example.objects:
        x0, y0, x1, y1 = thing.box
        shares = ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height)
        lines.append(f"{thing.class_id} {' '.join(f'{share:.9f}' for share in shares)}")
    entry.write_picture(files, f"images/{entry.split}/{entry.name}.jpg")
    files.write_lines(f"labels/{entry.split}/{entry.name}.txt", lines)


def _finish(rows: Mapping[str, list[Row]], files: Files) -> None:
    lines = ["path: .", *(f"{split}: images/{split}" for split in rows), f"nc: {len(DET_CLASSES)}", "names:"]
    lines += [f"  {number}: {name}" for number, name in enumerate(DET_CLASSES)]
    files.write_lines("data.yaml", lines)


YOLO: Final = Layout(("det",), _add, _finish)
