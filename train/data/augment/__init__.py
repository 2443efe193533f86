"""Training samples from labelled images: one random placement per picture, and its colours changed."""

from argus_edge.train.data.augment.colours import Colours, distort
from argus_edge.train.data.augment.draw import draw_placement
from argus_edge.train.data.augment.placement import Placement
from argus_edge.train.data.augment.samples import make_training_sample, pose_samples, untold
from argus_edge.train.data.augment.settings import AUGMENTATIONS, Augmentation

__all__ = [
    "AUGMENTATIONS",
    "Augmentation",
    "Colours",
    "Placement",
    "distort",
    "draw_placement",
    "make_training_sample",
    "pose_samples",
    "untold",
]
