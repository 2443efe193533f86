"""Angular errors of surface normals.

Eigen and Fergus, "Predicting Depth, Surface Normals and Semantic Labels", ICCV 2015; the mean over all valid
pixels of the set as Ye and Xu, "InvPT", ECCV 2022 report it for NYU Depth V2.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import InputError
from argus_edge.results import NormalMap

LIMITS: Final = (11.25, 22.5, 30.0)  # [deg], exclusive
BINS: Final = 180_000  # of 0.001 deg, for the median


class NormalMetrics:
    """Mean, RMS and median angle [deg], and the fraction of pixels within 11.25, 22.5 and 30 deg.

    Pixels are pooled over the set; only those count whose truth has a direction (0 or NaN has none). Lengths
    do not matter. A prediction without a direction counts as 90 deg. The median is read off a histogram of
    0.001 deg, so memory does not grow; the other figures are exact. Where no pixel is valid only the counts
    remain.
    """

    def __init__(self) -> None:
        self._images = 0
        self._pixels = 0
        self._sum = 0.0
        self._squares = 0.0
        self._within: NDArray[np.int64] = np.zeros(len(LIMITS), np.int64)
        self._histogram: NDArray[np.int64] = np.zeros(BINS, np.int64)

    @property
    def protocol(self) -> str:
        """Names the protocol."""
        return "angle between normals [deg], valid pixels pooled over the set"

    def update(self, result: NormalMap, truth: NDArray[Any]) -> None:
        """Add one image: predicted and true normals (H, W, 3) in the same frame, 0 where there is none.

        Raises InputError when the sizes differ.
        """
        predicted, true = np.asarray(result.normals), np.asarray(truth)
        if predicted.shape != true.shape:
            raise InputError(
                f"normal map is {predicted.shape} but the truth {true.shape}; sizes must be equal"
            )
        true, valid = _unit(true)
        angles = _angles(_unit(predicted)[0][valid], true[valid])
        self._images += 1
        self._pixels += angles.size
        self._sum += float(angles.sum())
        self._squares += float((angles**2).sum())
        self._within += [int((angles < limit).sum()) for limit in LIMITS]
        bins = np.minimum((angles * (BINS / 180)).astype(np.int64), BINS - 1)
        self._histogram += np.bincount(bins, minlength=BINS)

    def result(self) -> dict[str, float]:
        """`mean_angle`, `median_angle`, `rms_angle` [deg], `within_11.25`, `_22.5`, `_30`, and the counts."""
        figures: dict[str, float] = {}
        if self._pixels:
            figures = {
                "mean_angle": self._sum / self._pixels,
                "median_angle": self._median(),
                "rms_angle": (self._squares / self._pixels) ** 0.5,
            }
            for limit, count in zip(LIMITS, self._within, strict=True):
                figures[f"within_{limit:g}"] = float(count / self._pixels)
        return figures | {"images": float(self._images), "pixels": float(self._pixels)}

    def _median(self) -> float:
        # Of an even number of pixels the mean of the middle two; each to the lower edge of its bin, so that
        # a perfect map has the median 0.
        ranks = np.array([(self._pixels - 1) // 2, self._pixels // 2])
        places = np.searchsorted(self._histogram.cumsum(), ranks, side="right")
        return float(places.mean() * (180 / BINS))


def _unit(normals: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Vectors (H, W, 3) -> the same with length 1, or 0 where there is no direction; and where there is."""
    vectors = normals.astype(np.float64)
    vectors[~np.isfinite(vectors).all(axis=-1)] = 0
    length = np.linalg.norm(vectors, axis=-1)
    valid: NDArray[np.bool_] = length > 1e-6
    return np.divide(vectors, length[..., None], out=np.zeros_like(vectors), where=valid[..., None]), valid


def _angles(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vectors (N, 3) and (N, 3) -> angles (N,) [deg] in [0, 180]."""
    # Not arccos of the product, which cannot tell small angles apart (Kahan 2006, "How Futile...").
    apart = np.linalg.norm(first - second, axis=-1)
    together = np.linalg.norm(first + second, axis=-1)
    angles: NDArray[np.float64] = np.degrees(2 * np.arctan2(apart, together))
    return angles
