"""How training pictures of each task are looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from argus_edge.train.data.augment.colours import Colours

Framing = Literal["fit", "fill", "native", "sides", "area", "centre"]


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What may happen to a picture on its way into the network.

    `framing` says what scale 1 is; `scales` is the range of the factor drawn on top of it, evenly:

    - "fit": the whole picture just fits, as the letterbox of the runtime has it;
    - "fill": the picture just covers the whole input; one longer than four times the input is made smaller;
    - "native": pixels stay as they are;
    - "sides": the short side becomes one of `short_sides`, the long one at most `longest`;
    - "area": a part of the picture with a share in `scales` of its area and an aspect in `aspects` fills the
      input, whatever its aspect;
    - "centre": as "fill", but the middle is cut out and the lowest of `scales` holds: nothing is random.

    What is larger than the input is cropped at random; what is smaller lies at the top left, padded.
    """

    framing: Framing = "fit"
    scales: tuple[float, float] = (1.0, 1.0)
    aspects: tuple[float, float] = (3 / 4, 4 / 3)  # width by height; "area" only
    short_sides: tuple[int, ...] = ()  # [px]; "sides" only
    longest: int = 1333  # [px]; "sides" only
    flip: float = 0.5  # chance of being mirrored
    turn: float = 0.0  # [deg], each way, in the image's plane
    cat_max_ratio: float = 1.0  # no class is to cover more of a crop, of what is labelled; 1 = any may
    colours: Colours | None = None
    depth_follows_scale: bool = False  # True: what is shown half as large is told to be twice as far


_COLOURS: Final = Colours()
_LARGE_SCALE_JITTER: Final = Augmentation("fit", (0.1, 2.0))  # arXiv 2012.07177
_CONTEXT: Final = Augmentation("fill", (0.5, 2.0), cat_max_ratio=0.75, colours=_COLOURS)
_INDOORS: Final = Augmentation("fit", (1.0, 1.5), colours=_COLOURS)

MULTI_SCALE: Final = Augmentation("sides", short_sides=tuple(range(480, 801, 32)))
"""Detection's older recipe (arXiv 2005.12872), for inputs of 800 x 1333 px and the like."""

AUGMENTATIONS: Final[Mapping[str, Augmentation]] = {
    "det": _LARGE_SCALE_JITTER,
    "inst": _LARGE_SCALE_JITTER,
    "pan": Augmentation("fill", (0.5, 2.0), colours=_COLOURS),  # Mask2Former, arXiv 2112.01527
    "seg": _CONTEXT,  # mmsegmentation's for ADE20K
    "parse": _CONTEXT,
    "sal": _CONTEXT,
    "edge": _INDOORS,
    "normal": _INDOORS,
    # Crops of 416 x 544 px from NYU's 480 x 640. Depth is told as labelled: so is the one that it is
    # measured by. AdaBins (arXiv 2011.14141) also turns by up to 2.5 degrees.
    "depth": Augmentation("native", colours=_COLOURS),
    # People are cropped one by one by `pose_samples`; this is for regions of shared features.
    "pose": Augmentation("fit", (0.5, 1.5), colours=_COLOURS),
    "cls": Augmentation("area", (0.08, 1.0)),  # arXiv 1409.4842
    "anom": Augmentation("centre", (329 / 288, 329 / 288), flip=0.0),  # SimpleNet, arXiv 2303.15140
}
"""By task, as published, or as the published code of its closest relative has it."""
