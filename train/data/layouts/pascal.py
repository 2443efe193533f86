"""PASCAL-Context as PASCAL_MT has it: parts of people and what stands out, as pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from argus_edge.train.data.layouts.files import Files, png
from argus_edge.train.data.layouts.layout import Entry, Layout, Row


def _add(entry: Entry, files: Files) -> Row:
    example = entry.example
    assert example.saliency is not None
    parts = np.zeros_like(example.saliency) if example.parts is None else example.parts
    entry.write_picture(files, f"JPEGImages/{entry.name}.jpg")
    files.write(f"human_parts_png/{entry.name}.png", png(parts))
    files.write(f"sal_distill/{entry.name}.png", png(example.saliency * np.uint8(255)))
    return {"name": entry.name, "people": example.parts is not None}


def _finish(rows: Mapping[str, list[Row]], files: Files) -> None:
    for split, entries in rows.items():
        files.write_lines(f"ImageSets/Context/{split}.txt", [entry["name"] for entry in entries])
        with_people = [entry["name"] for entry in entries if entry["people"]]
        files.write_lines(f"ImageSets/Parts/{split}.txt", with_people)


PASCAL: Final = Layout(("parse", "sal"), _add, _finish)
