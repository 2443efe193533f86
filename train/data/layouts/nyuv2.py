"""NYU Depth V2 as NYUD_MT has it: depth, normals and boundaries as pictures.

Depth is 16 bits in mm, 0 for sky and what is beyond 65.535 m. Normals are 8 bits a component,
255 (n + 1) / 2, to within 0.4 degrees; those of sky are grey, which is too short for one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from argus_edge.train.data.layouts.files import Files, png
from argus_edge.train.data.layouts.layout import Entry, Layout, Row

_DEEPEST: Final = np.float32(65_535)  # [mm]


def _add(entry: Entry, files: Files) -> Row:
    example = entry.example
    assert example.depth is not None
    assert example.normals is not None
    assert example.edges is not None
    entry.write_picture(files, f"images/{entry.name}.jpg")
    depth = np.rint(example.depth * np.float32(1000))
    normals = np.rint((example.normals + np.float32(1)) * np.float32(127.5))
    files.write(f"depth/{entry.name}.png", png(np.where(depth <= _DEEPEST, depth, 0).astype(np.uint16)))
    files.write(f"normals/{entry.name}.png", png(np.clip(normals, 0, 255).astype(np.uint8)))
    files.write(f"edge/{entry.name}.png", png(example.edges * np.uint8(255)))
    return entry.name


def _finish(rows: Mapping[str, list[Row]], files: Files) -> None:
    for split, names in rows.items():
        files.write_lines(f"gt_sets/{split}.txt", names)


NYUV2: Final = Layout(("depth", "normal", "edge"), _add, _finish)
