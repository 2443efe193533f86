"""MVTec AD: surfaces instead of scenes, a folder for each category; only sound ones to train on."""

from __future__ import annotations

from typing import Final

import numpy as np

from argus_edge.train.data.layouts.files import Files, png
from argus_edge.train.data.surfaces import render_surface

MVTEC: Final = "mvtec"


def write_surface(
    split: str, seed: int, category: str, defective: bool, size: tuple[int, int], files: Files
) -> None:
    """Write one surface, and the mask of its defect. `size` is (height, width) [px]."""
    surface = render_surface(seed, category, defective, size)
    folder, kind = "train" if split == "train" else "test", surface.defect or "good"
    files.write(f"{category}/{folder}/{kind}/{seed:012d}.png", png(surface.image))
    if surface.defect is not None:
        mask = surface.mask.astype(np.uint8) * np.uint8(255)
        files.write(f"{category}/ground_truth/{kind}/{seed:012d}_mask.png", png(mask))
