"""How training pictures of each task are looked at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

from argus_edge.train.data.augment.colours import Colours

Framing = Literal["fit", "fill", "area"]


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What may happen to a picture on its way into the network.

    `framing` says what scale 1 is; `scales` is the range of the factor drawn on top of it, evenly:

    - "fit": the whole picture just fits, as the letterbox of the runtime has it;
    - "fill": the picture just covers the whole input; one longer than four times the input is made smaller;
    - "area": a part of the picture with a share in `scales` of its area and an aspect in `aspects` fills the
      input, whatever its aspect.

    What is larger than the input is cropped at random; what is smaller lies at the top left, padded. Depth is
    told as the letterboxed picture would have it: what is shown twice as large as there is told to be at half
    its distance.
    """

    framing: Framing = "fit"
    scales: tuple[float, float] = (1.0, 1.0)
    aspects: tuple[float, float] = (3 / 4, 4 / 3)  # width by height; "area" only
    flip: float = 0.5  # chance of being mirrored
    turn: float = 0.0  # [deg], each way, in the image's plane
    cat_max_ratio: float = 1.0  # no class is to cover more of a crop, of what is labelled; 1 = any may
    colours: Colours | None = None
    sensor: float = 0.0  # chance of being taken by another camera: its exposure, blur and noise


_COLOURS: Final = Colours()
_LARGE_SCALE_JITTER: Final = Augmentation("fit", (0.1, 2.0))  # arXiv 2012.07177
_CONTEXT: Final = Augmentation("fill", (0.5, 2.0), cat_max_ratio=0.75, colours=_COLOURS)
_INDOORS: Final = Augmentation("fit", (1.0, 1.5), colours=_COLOURS)

AUGMENTATIONS: Final[dict[str, Augmentation]] = {
    "det": _LARGE_SCALE_JITTER,
    "inst": _LARGE_SCALE_JITTER,
    "pan": Augmentation("fill", (0.5, 2.0), colours=_COLOURS),  # Mask2Former, arXiv 2112.01527
    "seg": _CONTEXT,  # mmsegmentation's for ADE20K
    "parse": _CONTEXT,
    "sal": _CONTEXT,
    "edge": _INDOORS,
    "normal": _INDOORS,
    # Larger is nearer, up to 1.5 times, as in Eigen et al. (arXiv 1406.2283); turned as in AdaBins (arXiv
    # 2011.14141), whose crops of the unscaled picture tell other distances than the letterbox measures.
    "depth": replace(_INDOORS, turn=2.5),
    # For regions of shared features; `pose_samples` crops people one by one.
    "pose": Augmentation("fit", (0.5, 1.5), colours=_COLOURS),
    "cls": Augmentation("area", (0.08, 1.0)),  # arXiv 1409.4842
    # Nothing at random, as in SimpleNet (arXiv 2303.15140), and the whole picture, as the runtime shows it;
    # SimpleNet itself resizes to 329 px and cuts out the middle 288, in training and after.
    "anom": Augmentation(flip=0.0),
}
"""By task, as published, or as the published code of its closest relative has it, where not noted."""
