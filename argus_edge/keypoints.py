"""The seventeen keypoints of a person, in COCO's order: names, mirror pairs, the lines drawn between them.

Names, skeleton and sigmas are those of the COCO keypoint challenge (Lin et al. 2014, annotations of 2017 and
pycocotools' `Params.kpt_oks_sigmas`); indices count from 0. Left and right are the person's own.
"""

from __future__ import annotations

from typing import Final

__all__ = ["FLIP_PAIRS", "KEYPOINT_NAMES", "OKS_SIGMAS", "SKELETON"]

KEYPOINT_NAMES: Final = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip",
    "left_knee", "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip

FLIP_PAIRS: Final = ((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16))
"""(left, right): what changes places when an image is mirrored. The nose stays."""

SKELETON: Final = (
    (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (7, 9),
    (6, 8), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
)  # fmt: skip
"""Pairs of keypoints joined by a line in a drawing."""

OKS_SIGMAS: Final = (
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107,
    0.087, 0.087, 0.089, 0.089,
)  # fmt: skip
"""How far annotators differ, per keypoint, as a share of the square root of the person's area."""
