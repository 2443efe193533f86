"""The colour of each class, the same in every result of a frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from argus_edge.results import Classification, Detections, Frame, LabelMap, PanopticMap

Color: TypeAlias = tuple[int, int, int]
Colors: TypeAlias = Mapping[str, Color]
Pixels: TypeAlias = NDArray[np.uint8]

PALETTE: Final[tuple[Color, ...]] = (
    (66, 165, 245), (124, 179, 66), (255, 167, 38), (171, 71, 188), (239, 83, 80), (0, 188, 172),
    (255, 235, 59), (121, 85, 72), (236, 64, 152), (92, 107, 192), (192, 202, 51), (0, 131, 143),
    (255, 138, 101), (149, 117, 205), (46, 125, 50), (176, 190, 197), (198, 40, 40), (129, 212, 250),
    (255, 204, 188), (40, 53, 147),
)  # fmt: skip
"""RGB, neighbours far apart in hue; classes beyond its length start again."""


def class_colors(frame: Frame) -> Colors:
    """The colour of every class that a result of the frame names.

    It goes by the place of the name among all names of the frame's results, so that it depends on the tasks
    that were run, never on what was found.
    """
    order = (LabelMap, Detections, Classification)
    named = [r for kind in order for r in frame.results.values() if isinstance(r, kind)]
    names = dict.fromkeys(name for result in named for name in result.class_names)
    colors = {name: PALETTE[index % len(PALETTE)] for index, name in enumerate(names)}
    # A panoptic map names only the classes that it found: those of no other result go by their class index.
    for result in frame.results.values():
        if isinstance(result, PanopticMap):
            for segment in result.segments:
                free = PALETTE[(len(names) + segment.class_id) % len(PALETTE)]
                colors.setdefault(segment.class_name, free)
    return colors


def ink_on(background: Color) -> Color:
    """Black or white, whichever stands out from the background."""
    red, green, blue = ((level / 255) ** 2.2 for level in background)
    # Relative luminance 0.18 is where both stand out equally (WCAG 2, contrast ratio).
    return (0, 0, 0) if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.18 else (255, 255, 255)
