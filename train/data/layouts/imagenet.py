"""A folder of images for each class, as ImageNet is usually kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from argus_edge.train.data.layouts.files import Files
from argus_edge.train.data.layouts.layout import Entry, Layout, Row
from argus_edge.train.data.scenes.targets import IMAGE_CLASSES


def _add(entry: Entry, files: Files) -> Row:
    assert entry.example.image_class is not None
    name = IMAGE_CLASSES[entry.example.image_class]
    entry.write_picture(files, f"{entry.split}/{name}/{entry.name}.jpg")


def _finish(rows: Mapping[str, list[Row]], files: Files) -> None:
    """Every class has its folder in every split; classes.txt has their order, which is not the alphabet's."""
    for split in rows:
        for name in IMAGE_CLASSES:
            files.make_folder(f"{split}/{name}")
    files.write_lines("classes.txt", IMAGE_CLASSES)


IMAGENET: Final = Layout(("cls",), _add, _finish)
