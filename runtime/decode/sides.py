"""Where the image lies in the network's input, in the words of the compiled extension."""

from __future__ import annotations

from argus_edge.geometry import Letterbox

Sides = tuple[int, int]


def sides(letterbox: Letterbox) -> tuple[Sides, Sides, Sides]:
    """(height, width) [px] of the network input, of the image inside it, and of the image itself."""
    return (
        (letterbox.input_height, letterbox.input_width),
        (letterbox.resized_height, letterbox.resized_width),
        (letterbox.image_height, letterbox.image_width),
    )
