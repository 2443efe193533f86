"""Errors of metric depth.

Eigen et al., "Depth Map Prediction from a Single Image", NIPS 2014; range, clamping and the mean over images
as Bhat et al., "AdaBins", CVPR 2021 report them for NYU Depth V2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import InputError
from argus_edge.results import DenseMap

EIGEN_CROP: Final = (slice(45, 471), slice(41, 601))  # rows, columns of the 480x640 NYU frame
EIGEN_SIZE: Final = (480, 640)


@dataclass(frozen=True)
class DepthProtocol:
    """The choices that move depth figures more than most models do.

    `average`: "image" takes each figure per image and then the mean over images (NYU's published way),
    "pixel" pools the pixels of all images. `crop` "eigen" keeps the usual part of 480x640 NYU frames.
    """

    minimum: float = 1e-3  # [m], exclusive
    maximum: float = 10.0  # [m], exclusive
    average: Literal["image", "pixel"] = "image"
    crop: Literal["none", "eigen"] = "none"

    def __str__(self) -> str:
        mean = "mean over images" if self.average == "image" else "pixels pooled"
        crop = "Eigen crop" if self.crop == "eigen" else "no crop"
        return f"depth in ({self.minimum:g}, {self.maximum:g}) m, {mean}, {crop}"


NYU: Final = DepthProtocol(crop="eigen")
SCENES: Final = DepthProtocol(maximum=80.0)  # rendered scenes: everything but the sky


class DepthMetrics:
    """RMSE [m], abs_rel, log10, and delta1..3: the fraction of pixels within a ratio of 1.25, 1.25^2, 1.25^3.

    Only pixels whose truth lies strictly inside the range count; predictions are clamped to it (NaN becomes
    its lower end), so that logarithms exist. Images without a valid pixel count as images, not in the means;
    where no image has one only the counts remain.
    """

    def __init__(self, protocol: DepthProtocol | None = None) -> None:
        self.settings = protocol or DepthProtocol()
        self._images = 0
        self._pixels: list[int] = []
        self._means: list[NDArray[np.float64]] = []

    @property
    def protocol(self) -> str:
        """Names the protocol."""
        return str(self.settings)

    def update(self, result: DenseMap, truth: NDArray[Any]) -> None:
        """Add one image: predicted and true z-depth (H, W) [m]; 0, infinite or NaN where there is no truth.

        Raises InputError when the sizes differ, or the Eigen crop is asked of frames that are not 480x640.
        """
        predicted, true = np.asarray(result.values), np.asarray(truth)
        if predicted.shape != true.shape:
            raise InputError(
                f"depth map is {predicted.shape} but the truth {true.shape}; sizes must be equal"
            )
        if self.settings.crop == "eigen":
            if true.shape != EIGEN_SIZE:
                raise InputError(
                    f"the Eigen crop is for {EIGEN_SIZE} frames, got {true.shape}; "
                    f"choose a protocol without a crop"
                )
            predicted, true = predicted[EIGEN_CROP], true[EIGEN_CROP]
        low, high = self.settings.minimum, self.settings.maximum
        valid = (true > low) & (true < high)
        self._images += 1
        if valid.any():
            clamped = np.clip(np.nan_to_num(predicted[valid].astype(np.float64), nan=low), low, high)
            self._means.append(_pixel_means(clamped, true[valid].astype(np.float64)))
            self._pixels.append(int(valid.sum()))

    def result(self) -> dict[str, float]:
        """`RMSE` [m], `abs_rel`, `log10`, `delta1`, `delta2`, `delta3` and the counts."""
        figures: dict[str, float] = {}
        if self._means:
            means = np.stack(self._means)  # (images, 6), the first one squared error
            if self.settings.average == "pixel":
                means = np.average(means, axis=0, weights=self._pixels)[None]
            means[:, 0] = np.sqrt(means[:, 0])
            names = ("RMSE", "abs_rel", "log10", "delta1", "delta2", "delta3")
            figures = dict(zip(names, map(float, means.mean(0)), strict=True))
        return figures | {"images": float(self._images), "pixels": float(sum(self._pixels))}


def _pixel_means(predicted: NDArray[np.float64], true: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) and (N,) [m] -> means over the pixels: squared error, abs_rel, log10, delta1..3."""
    error = predicted - true
    ratio = np.maximum(predicted / true, true / predicted)
    return np.array(
        [
            np.mean(error**2),
            np.mean(np.abs(error) / true),
            np.mean(np.abs(np.log10(predicted / true))),
            *(np.mean(ratio < 1.25**power) for power in (1, 2, 3)),
        ]
    )
