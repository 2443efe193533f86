"""F-measure of saliency maps at their best threshold, in the three ways it is published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import InputError
from argus_edge.results import DenseMap

IGNORE: Final = 255


@dataclass(frozen=True)
class SaliencyProtocol:
    """The choices that move maxF by more than most models do.

    `average`: "set" pools the counts of all images, "image" takes precision and recall per image and then
    their means. `inclusive` counts a pixel at a threshold as above it. `squash` puts the probabilities
    through another sigmoid before they are compared.
    """

    name: str
    beta_squared: float  # weight of precision; 1 is the harmonic mean
    thresholds: tuple[float, ...]  # ascending
    average: Literal["set", "image"]
    inclusive: bool = True
    squash: bool = False

    def __str__(self) -> str:
        average = "counts pooled" if self.average == "set" else "mean precision and recall over images"
        squash = ", on sigmoid(probability)" if self.squash else ""
        first, last = self.thresholds[0], self.thresholds[-1]
        return (
            f"maxF as {self.name}: beta^2 {self.beta_squared:g}, {len(self.thresholds)} thresholds in "
            f"[{first:g}, {last:g}], {average}{squash}"
        )


_TWENTIETHS: Final = tuple(i / 20 for i in range(1, 20))
ATRC: Final = SaliencyProtocol("ATRC", 0.3, _TWENTIETHS, "set")
"""Brüggemann et al., ICCV 2021, on logits; here on the probabilities they stand for."""
INVPT: Final = SaliencyProtocol("InvPT", 0.3, _TWENTIETHS, "set", squash=True)
"""Ye and Xu, ECCV 2022: the same code given probabilities, of which it takes the sigmoid once more."""
MTI_NET: Final = SaliencyProtocol(
    "MTI-Net", 1.0, tuple(np.linspace(0.2, 0.9, 15).tolist()), "image", inclusive=False
)
"""Vandenhende et al., ECCV 2020, after ASTMT."""
SOD: Final = SaliencyProtocol("SOD", 0.3, tuple(i / 255 for i in range(256)), "image")
"""Achanta et al., CVPR 2009 and salient object detection since; maps are not stretched to [0, 1]."""


class SaliencyMetrics:
    """maxF, the precision and recall that go with it and the threshold, as fractions in [0, 1].

    F = (1 + beta^2) P R / (beta^2 P + R), the highest over the thresholds, which are the same for all
    images. Pixels whose truth is 255 do not count. Precision without a predicted pixel is 0. Images without
    a salient pixel count when counts are pooled; in means over images they do not, as nothing could be right
    there. Without any salient pixel only the counts remain.
    """

    def __init__(self, protocol: SaliencyProtocol = ATRC) -> None:
        self.settings = protocol
        self._images = 0
        self._measured = 0  # images with a salient pixel
        self._pixels = 0
        # Per threshold, sums over images: matched, predicted and true pixels; precision and recall.
        self._counts: NDArray[np.int64] = np.zeros((len(protocol.thresholds), 3), np.int64)
        self._rates: NDArray[np.float64] = np.zeros((len(protocol.thresholds), 2))

    @property
    def protocol(self) -> str:
        """Names the protocol."""
        return str(self.settings)

    def update(self, result: DenseMap, truth: NDArray[Any]) -> None:
        """Add one image: probability (H, W) in [0, 1], and truth (H, W): 1 salient, 0 not, 255 unknown.

        Raises InputError when the sizes differ or the truth holds something else.
        """
        predicted, true = np.asarray(result.values, np.float64), np.asarray(truth)
        if predicted.shape != true.shape:
            raise InputError(
                f"saliency map is {predicted.shape} but the truth {true.shape}; sizes must be equal"
            )
        kept = true != IGNORE
        predicted, true = np.nan_to_num(predicted[kept]), true[kept]
        if not np.isin(true, (0, 1)).all():
            raise InputError(f"saliency truth must be 0, 1 or {IGNORE}, got {np.unique(true)[:5].tolist()}")
        counts = self._threshold(predicted, true.astype(bool))
        self._images += 1
        self._pixels += true.size
        self._counts += counts
        if counts[0, 2]:
            self._measured += 1
            self._rates += _rates(counts)

    def result(self) -> dict[str, float]:
        """`maxF`, `precision`, `recall`, `threshold`, and the counts."""
        figures: dict[str, float] = {}
        if self._measured:
            pooled = self.settings.average == "set"
            precision, recall = (_rates(self._counts) if pooled else self._rates / self._measured).T
            weight = self.settings.beta_squared
            below = weight * precision + recall
            scores = np.divide(
                (1 + weight) * precision * recall, below, out=np.zeros_like(below), where=below > 0
            )
            best = int(scores.argmax())
            figures = {
                "maxF": float(scores[best]),
                "precision": float(precision[best]),
                "recall": float(recall[best]),
                "threshold": self.settings.thresholds[best],
            }
        return figures | {"images": float(self._images), "pixels": float(self._pixels)}

    def _threshold(self, predicted: NDArray[np.float64], true: NDArray[np.bool_]) -> NDArray[np.int64]:
        """(N,) and (N,) -> matched, predicted and true pixels at each threshold (T, 3)."""
        if self.settings.squash:
            predicted = 1 / (1 + np.exp(-predicted))
        count = len(self.settings.thresholds)
        side = "right" if self.settings.inclusive else "left"
        # How many thresholds each pixel is above; then, from the highest threshold on, how many pixels.
        passed = np.searchsorted(np.array(self.settings.thresholds), predicted, side=side)  # type: ignore[call-overload]
        above = [np.bincount(p, minlength=count + 1)[:0:-1].cumsum()[::-1] for p in (passed[true], passed)]
        return np.stack([*above, np.full(count, np.count_nonzero(true))], axis=1)


def _rates(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Counts (T, 3) of matched, predicted and true pixels -> precision and recall (T, 2)."""
    return counts[:, :1] / np.maximum(counts[:, 1:], 1)
